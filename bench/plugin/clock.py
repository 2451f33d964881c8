"""The clock that lets samples taken elsewhere enter pytest-benchmark's statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class ReplayClock:
    """A clock in seconds that stands still until `advance` moves it by the next sample.

    It is the `timer` of one test: for every round pytest-benchmark calls `rewind`, reads the clock, calls `advance` and
    reads the clock again. Rewound to zero each time, two readings differ by exactly the sample; a clock that went on
    would lose its last digits.
    """

    def __init__(self) -> None:
        self.__name__ = "replayed_samples"  # what reports call the timer
        self._now = 0.0
        self._samples: list[float] = []
        self._next = 0
        self._afterwards: Callable[[], Any] = lambda: None

    def __call__(self) -> float:
        """The time, in seconds."""
        return self._now

    def load(self, samples_us: Sequence[float], afterwards: Callable[[], Any] = lambda: None) -> None:
        """Take these samples, in microseconds, as the rounds to come; then `advance` calls `afterwards` instead."""
        self._samples, self._next, self._afterwards = [sample / 1e6 for sample in samples_us], 0, afterwards

    def rewind(self) -> None:
        """Back to zero."""
        self._now = 0.0

    def advance(self) -> Any:
        """Move by the next sample. After the last one, what is called is the real thing: a profiler sees that."""
        if self._next == len(self._samples):
            return self._afterwards()
        self._now += self._samples[self._next]
        self._next += 1
        return None
