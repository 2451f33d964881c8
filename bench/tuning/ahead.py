"""Configurations examined before their turn, in processes of their own, while the device is busy with others."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from ...kernels.tunable import Value
from .outcome import key_of
from .process import TrialProcess

Examine = Callable[[TrialProcess, dict[str, Value]], Any]


class Examiners:
    """`count` worker processes that compile; what one has compiled, the launch finds in the compilers' own caches.

    start:   makes a process, entered as a context manager where it is first needed
    examine: what to ask it about a configuration. When this raises, the process is replaced, and `found` raises too.
    """

    def __init__(self, count: int, start: Callable[[], TrialProcess], examine: Examine) -> None:
        self.count, self._start, self._examine = count, start, examine
        self._threads = ThreadPoolExecutor(max(1, count))
        self._idle: queue.SimpleQueue[TrialProcess] = queue.SimpleQueue()
        self._all: set[TrialProcess] = set()
        self._begun: dict[str, Future[Any]] = {}

    def begin(self, values: Mapping[str, Value]) -> None:
        """Examine a configuration as soon as a process is free, unless it has begun."""
        key = key_of(values)
        if key not in self._begun:
            self._begun[key] = self._threads.submit(self._examined, dict(values))

    def found(self, values: Mapping[str, Value]) -> Any:
        """What `examine` gave, waited for; asked again it is examined again."""
        self.begin(values)
        return self._begun.pop(key_of(values)).result()

    def _examined(self, values: dict[str, Value]) -> Any:
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = self._start()
            self._all.add(process)
            process.__enter__()
        try:
            answer = self._examine(process, values)
        except BaseException:
            self._all.discard(process)
            process.__exit__()
            raise
        self._idle.put(process)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody waits for what was begun: processes at work are killed."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in list(self._all):
            process.kill()
        self._threads.shutdown()
        for process in list(self._all):
            process.__exit__()
