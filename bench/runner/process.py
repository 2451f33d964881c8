"""A worker process: a request goes in, events come out as JSON lines, and what became of it is known.

Nothing here knows what is worked on. Used for the jobs of a run; a worker of any other kind reads its request with
`json.load(sys.stdin)`, prints one JSON object a line, keeps in the one byte of the file named by its last argument what
it is doing (NOBODY while nothing that could be blamed), calls `die_with_parent` first and writes to `event_output`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TextIO

Event = dict[str, Any]
CONTEXT_LOST = 70  # the exit code of a worker whose CUDA context is broken
NOBODY = 255  # the marker's byte while nobody is to blame
# A worker that nobody is to blame for is importing libraries or making weights, and gets at least this long.
START_SILENCE = 180.0
_LOOK_S = 0.1
_GONE_S = 20.0
_DRAIN_S = 5.0
_PR_SET_PDEATHSIG = 1


class StoppedError(Exception):
    """A process was to be started after all of them had been ended."""


class Children:
    """The processes that a run has going, so that all can be ended at once, whichever thread waits for them.

    Each has a process group of its own: a Ctrl-C in the terminal reaches the run alone, which ends them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """As `subprocess.Popen`, in text mode. Raises StoppedError after `stop`."""
        with _interrupts_held_back(), self._lock:
            if self.stopped:
                raise StoppedError
            process = subprocess.Popen([*command], text=True, start_new_session=True, **options)
            self._running.add(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        """Kill what is left of it and of all it has started, and wait for it; not for ever, should it be stuck in the
        driver.
        """
        _kill_group(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GONE_S)
        with self._lock:
            self._running.discard(process)

    def stop(self) -> None:
        """Kill all of them and wait until they are gone; none can be started any more."""
        with self._lock:
            self.stopped = True
            running = list(self._running)
        for process in running:
            _kill_group(process)
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_GONE_S)


class How(StrEnum):
    """How a worker process ended; STOPPED means by `Children.stop`."""

    DONE = "done"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Ending:
    """What became of a worker process. reason: one line;  marker: its last byte, whom to blame."""

    how: How
    reason: str
    marker: int


class WorkerProcess:
    """One worker process, as a context manager: `events()` as they come, then `ending()`.

    command:     starts it; the marker file's name is added
    request:     JSON types for its standard input
    environment: all of its environment variables; None for this process's own
    silence:     seconds without an event or a change of the marker after which it is killed
    limit:       seconds it may take in all, None for no limit
    """

    def __init__(
        self,
        command: Sequence[str],
        request: Any,
        *,
        environment: Mapping[str, str] | None = None,
        silence: float = START_SILENCE,
        limit: float | None = None,
        children: Children | None = None,
    ) -> None:
        self._silence, self._limit, self._overdue = silence, limit, ""
        self._children = children or Children()
        handle, name = tempfile.mkstemp(prefix="mohge-")
        os.write(handle, bytes([NOBODY]))
        os.close(handle)
        self._marker = Path(name)
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed in __exit__)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
        try:
            self._process = self._children.start([*command, name], env=environment, **pipes)
        except BaseException:
            self._errors.close()
            self._marker.unlink(missing_ok=True)
            raise
        self._request = json.dumps(request)

    def __enter__(self) -> Self:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(self._request)
            self._process.stdin.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._children.end(self._process)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
        self._marker.unlink(missing_ok=True)

    def events(self) -> Iterator[Event]:
        """Every event until the process ends by itself or has to be killed."""
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()
        began = heard = time.monotonic()
        marker, ended = self._marked(), None
        while True:
            try:
                line = lines.get(timeout=_LOOK_S)
            except queue.Empty:
                now, seen = time.monotonic(), self._marked()
                if seen != marker:
                    marker, heard = seen, now
                self._overdue = self._too_late(now - began, now - heard, marker)
                if self._overdue:
                    self._children.end(self._process)
                    return
                if self._process.poll() is not None:
                    ended = ended or now
                    if now - ended > _DRAIN_S:  # something it has started keeps its output open
                        return
                continue
            if line is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=_GONE_S)
                return
            heard = time.monotonic()
            if self._limit is not None and heard - began > self._limit:
                self._overdue = self._too_late(heard - began, 0, marker)
                self._children.end(self._process)
                return
            with contextlib.suppress(json.JSONDecodeError):  # killed in the middle of a line
                yield json.loads(line)

    def ending(self) -> Ending:
        """What became of the process, after `events` has ended."""
        code, marker = self._process.poll(), self._marked()
        if self._children.stopped:
            return Ending(How.STOPPED, "stopped", marker)
        if self._overdue:
            return Ending(How.TIMEOUT, self._overdue, marker)
        if code == 0:
            return Ending(How.DONE, "", marker)
        self._errors.seek(0)
        last = [line.strip() for line in self._errors.read().splitlines() if line.strip()][-1:]
        return Ending(How.CRASHED, f"worker ended with {_spoken(code)}" + (f": {last[0]}" if last else ""), marker)

    def _read(self, lines: queue.Queue[str | None]) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # the pipe is closed under us when the worker is abandoned
            for line in self._process.stdout:
                lines.put(line)
        lines.put(None)

    def _marked(self) -> int:
        return self._marker.read_bytes()[0]

    def _too_late(self, running: float, silent: float, marker: int) -> str:
        """Why it has to be killed; empty when it has not."""
        if self._limit is not None and running > self._limit:
            return f"not done within {self._limit:g} s"
        allowed = max(self._silence, START_SILENCE) if marker == NOBODY else self._silence
        return f"no answer for {allowed:g} s" if silent > allowed else ""


def event_output() -> TextIO:
    """In a worker: where its events go. Standard output is theirs alone from now on; whatever a library prints there
    goes to standard error.
    """
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return output


def die_with_parent() -> None:
    """Have this process killed when the one that started it dies, however that ends (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before that
            os.kill(os.getpid(), signal.SIGKILL)


def output_of(
    command: Sequence[str], children: Children, *, seconds: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str] | None:
    """Run a command to its end and return what it printed; None when it took longer than `seconds`.

    Raises StoppedError when it was ended by `Children.stop`.
    """
    process = children.start(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        children.end(process)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    if children.stopped:
        raise StoppedError
    return subprocess.CompletedProcess([*command], process.returncode, out, err)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C and the like wait for the end of the block: a process must not be started without being known."""
    received: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in received:
            signal.raise_signal(number)


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _spoken(code: int | None) -> str:
    if code is None:
        return "no exit code: it could not be killed"
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"signal {name}" + (" (the system ends a process so when memory runs out)" if name == "SIGKILL" else "")
