"""A worker that stays for many trials and is replaced when one of them takes it down."""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from ..runner.process import NOBODY, START_SILENCE, Children, Ending, Event, WorkerProcess
from ..runner.supervisor import worker_environment

WORKER = (sys.executable, "-m", "mohge.bench.tuning.worker")
_LOOK_S = 0.1


class UnusableError(Exception):
    """No trial can be run: the worker does not start, or the current configuration itself fails."""


class DownError(Exception):
    """The worker did not survive the question. ending: what became of it."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


class TrialProcess(WorkerProcess):
    """One worker process that answers questions, one after another: `ask`. Use as a context manager.

    It gets the setup as its first line and says {"event": "ready"}; then a line for each question, which it answers
    with events, the last of them {"event": "answer", ...}.
    """

    def __init__(self, setup: Any, *, command: Sequence[str] = WORKER, children: Children | None = None) -> None:
        super().__init__(command, setup, environment=worker_environment("measured"), children=children)
        self._lines: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> Self:
        threading.Thread(target=self._read, args=(self._lines,), daemon=True).start()
        self._send(self._request)
        try:
            self._until("ready", START_SILENCE, lambda _: None)
        except DownError as down:
            self.__exit__()
            raise UnusableError(f"the worker does not start: {down}") from down
        except BaseException:
            self.__exit__()
            raise
        return self

    def ask(self, question: Event, seconds: float, on_event: Callable[[Event], None]) -> Event:
        """The answer to a question, within `seconds`. Raises DownError when the process dies or has to be killed, and
        UnusableError when it says that nothing can be asked.
        """
        self._send(json.dumps(question))
        return self._until("answer", seconds, on_event)

    def kill(self) -> None:
        """End it from another thread than the one that asks, which finds it down."""
        self._children.end(self._process)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is found where its answer is awaited
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _until(self, last: str, seconds: float, on_event: Callable[[Event], None]) -> Event:
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=_LOOK_S)
            except queue.Empty:
                if time.monotonic() < deadline:
                    continue
                self._overdue = f"not done within {seconds:g} s"
                self._children.end(self._process)
                raise DownError(self.ending()) from None
            if line is None:
                self._children.end(self._process)
                raise DownError(self.ending())
            event: Event = json.loads(line)
            if event["event"] == "unusable":
                raise UnusableError(event["reason"])
            if event["event"] == last:
                return event
            on_event(event)

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        super().__exit__()


__all__ = ["NOBODY", "DownError", "TrialProcess", "UnusableError"]
