"""What a timer is, and the one for the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..records.environment import last_level_cache_bytes

Call = Callable[[], Any]

# A cold CPU sample streams over a buffer of twice the last-level cache, at most this much.
_MOST_FLUSH_BYTES = 64 * 2**20
_UNKNOWN_CACHE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Prepared:
    """A call made ready for its timer.

    how:      what is really timed, for the record's method
    queue_us: host time to queue it, where the device runs behind the host; 0 where it cannot be hidden
    way:      how it is really timed, in a word: cpu, events, graph or cupti
    launches: what it gives the device to do each time, where the timer sees that
    busy:     share of each sample so far in which the device was busy, where the timer sees that
    hidden:   whether each sample so far is without launches, where they are to be hidden
    """

    call: Call
    how: str = ""
    queue_us: float = 0.0
    way: str = ""
    launches: int = 0
    busy: list[float] = field(default_factory=list, compare=False)
    hidden: list[bool] = field(default_factory=list, compare=False)


class Timer(Protocol):
    """Times one call after another; `measure_interleaved` decides which and how often."""

    def seconds(self) -> float:
        """Host time, for limits."""
        ...

    def prepare(self, call: Call) -> Prepared:
        """Make `call` ready, outside any timed region; may run it. Raises what `call` raises."""
        ...

    def sample(self, prepared: Prepared, *, cold: bool) -> float:
        """Microseconds of one call. cold: after the caches were flushed; hot: right after the same call, untimed."""
        ...

    def method(self, prepared: Prepared, *, cold: bool) -> str:
        """How `sample` measures, in words, for the record."""
        ...


class CpuTimer:
    """The monotonic clock around a call that computes on the CPU.

    clock_ns and flush can be replaced by tests; by default flush streams over a buffer larger than the last-level cache
    with all of torch's threads, so that the private caches of every core in use are emptied too.
    """

    def __init__(
        self, *, clock_ns: Callable[[], int] = time.perf_counter_ns, flush: Callable[[], Any] | None = None
    ) -> None:
        self._clock_ns = clock_ns
        self._flush_bytes = flush_bytes()
        self._flush = flush or _streaming_flush(self._flush_bytes)

    def seconds(self) -> float:
        """Host time, for limits."""
        return self._clock_ns() * 1e-9

    def prepare(self, call: Call) -> Prepared:
        """A CPU call is timed as it is."""
        return Prepared(call, way="cpu")

    def sample(self, prepared: Prepared, *, cold: bool) -> float:
        """Microseconds of one call."""
        if cold:
            self._flush()
        else:
            prepared.call()
        start = self._clock_ns()
        prepared.call()
        return (self._clock_ns() - start) * 1e-3

    def method(self, prepared: Prepared, *, cold: bool) -> str:  # noqa: ARG002  (the CPU has one way only)
        """How `sample` measures, in words."""
        if cold:
            return f"monotonic clock, caches flushed by streaming over {self._flush_bytes / 2**20:.0f} MiB"
        return "monotonic clock, right after the same call"


def flush_bytes(last_level: int | None = None) -> int:
    """The buffer a cold CPU sample streams over, in bytes: twice the last-level cache, at most 64 MiB."""
    size = last_level or last_level_cache_bytes() or _UNKNOWN_CACHE_BYTES
    return min(2 * size, _MOST_FLUSH_BYTES)


def _streaming_flush(size: int) -> Callable[[], Any]:
    """A function that reads and writes `size` bytes; the buffer is allocated at its first use."""
    buffer: list[Any] = []

    def flush() -> None:
        import torch

        if not buffer:
            buffer.append(torch.zeros(size // 4, dtype=torch.float32))
        buffer[0].add_(1.0)

    return flush
