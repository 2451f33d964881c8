"""Runs jobs in worker processes, so that a kernel that crashes or hangs becomes a record and not the end of the run."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from ..records import Provenance, Record, Status
from ..records.codec import decode
from .jobs import Job

WORKER = (sys.executable, "-m", "mohge.bench.runner.worker")
# What a worker needs in its environment before anything is imported, and what must not be there otherwise.
STAND_INS = ("TRITON_INTERPRET", "NUMBA_ENABLE_CUDASIM")
MODE_ENVIRONMENT = {
    "measured": {},
    "interpreted": {"TRITON_INTERPRET": "1"},
    "simulated": {"NUMBA_ENABLE_CUDASIM": "1"},
}
Event = dict[str, Any]


def run_job(
    job: Job, on_event: Callable[[Event], None], *, silence: float = 180.0, command: Sequence[str] = WORKER
) -> Iterator[Record]:
    """Yield the job's records as they are finished; a worker silent for `silence` seconds is killed.

    An implementation that takes its worker down, or keeps it silent, gets a record saying so (crashed or timeout) for
    that case and `not_run` for the later ones; the others go on in a fresh worker. `command` starts a worker; the
    marker file's name is added to it.
    """
    while job.cases and job.implementations:
        finished, failure = 0, None
        with _Worker(job, silence, command) as worker:
            for event in worker.events():
                on_event(event)
                if event["event"] == "record":
                    yield decode(Record, event["record"], "record")
                elif event["event"] == "case":
                    finished += 1
            failure = worker.failure()
        if failure is None:
            return
        status, reason, culprit = failure
        left = range(finished, len(job.cases))
        if culprit is None:
            # Nothing was running yet (imports, weights): no implementation is to blame, and trying again is no use.
            for case in left:
                outcome = (status, reason) if case == finished else (Status.NOT_RUN, f"not reached: {reason}")
                yield from (_record(job, name, case, *outcome) for name in job.implementations)
            return
        for case in left:
            later = f"not tried again: {status} at {_title(job, finished)}"
            yield _record(job, culprit, case, *((status, reason) if case == finished else (Status.NOT_RUN, later)))
        job = job.without(culprit, finished)


class _Worker:
    """One worker process: its events as they come, and what became of it."""

    def __init__(self, job: Job, silence: float, command: Sequence[str]) -> None:
        self._job, self._silence, self._timed_out = job, silence, False
        handle, name = tempfile.mkstemp(prefix="mohge-")
        os.write(handle, b"\xff")
        os.close(handle)
        self._marker = Path(name)
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed in __exit__)
        self._process = subprocess.Popen(
            [*command, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=worker_environment(job.mode),
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(self._job.to_dict()))
            self._process.stdin.close()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
        self._marker.unlink(missing_ok=True)

    def events(self) -> Iterator[Event]:
        lines: queue.Queue[str | None] = queue.Queue()

        def read() -> None:
            assert self._process.stdout is not None
            with contextlib.suppress(ValueError):  # the pipe is closed under us when the worker is abandoned
                for line in self._process.stdout:
                    lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=self._silence)
            except queue.Empty:
                self._timed_out = True
                self._process.kill()
                return
            if line is None:
                self._process.wait()
                return
            yield json.loads(line)

    def failure(self) -> tuple[Status, str, str | None] | None:
        """None when the worker ended well; else status, reason and the implementation that was running, if any."""
        code = self._process.poll()
        if code == 0 and not self._timed_out:
            return None
        index = self._marker.read_bytes()[0]
        culprit = self._job.implementations[index] if index < len(self._job.implementations) else None
        if self._timed_out:
            return Status.TIMEOUT, f"no answer for {self._silence:.0f} s", culprit
        self._errors.seek(0)
        last = [line.strip() for line in self._errors.read().splitlines() if line.strip()][-1:]
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return Status.CRASHED, f"worker ended with {how}" + (f": {last[0]}" if last else ""), culprit


def worker_environment(mode: str) -> dict[str, str]:
    """The environment of a worker of this mode: a stand-in the user has switched on must not pass for a measurement."""
    inherited = {key: value for key, value in os.environ.items() if key not in STAND_INS}
    return {**inherited, **MODE_ENVIRONMENT[mode], "PYTHONUNBUFFERED": "1"}


def _title(job: Job, index: int) -> str:
    tokens, source = job.cases[index]
    return f"{tokens} tokens, {source.text}"


def _record(job: Job, implementation: str, case: int, status: Status, reason: str) -> Record:
    return Record(
        implementation=implementation,
        provenance=Provenance(job.mode),
        status=status,
        case=job.case_record(case),
        reason=reason,
    )
