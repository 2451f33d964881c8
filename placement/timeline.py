"""One step of a layer as intervals: route, dispatch, compute, combine, in one go or in overlapping chunks.

An exchange is collective: it begins when every rank is ready and ends on all at once, and exchanges follow each other.
Between exchanges each rank computes on its own. With c chunks the batch is cut into c equal parts, and the exchange of
one part runs while another part is computed:

    exchanges  d0 d1 c0 d2 c1 ... c(c-1)        compute on each rank  x0 x1 x2 ... x(c-1)

A part costs a c-th of the bytes and rows but every start-up again, so chunks can also cost more than they hide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PHASES = ("route", "shared", "dispatch", "compute", "combine")


@dataclass(frozen=True)
class Interval:
    """What one rank did from start_s to end_s; chunk is the part of the batch, waiting is whatever lies between."""

    rank: int
    phase: str
    chunk: int
    start_s: float
    end_s: float


def lay_out(
    route: NDArray[np.float64],
    shared: NDArray[np.float64],
    compute: Callable[[int], NDArray[np.float64]],
    dispatch: Callable[[int], float],
    combine: Callable[[int], float],
    chunks: int = 1,
) -> tuple[Interval, ...]:
    """Intervals of a step on P ranks, in seconds from its start. Raises ValueError for chunks below 1.

    route float64[P]; shared float64[P], the dense expert that every token passes through at home: before the first
    exchange, or with chunks while it runs; compute(c) float64[P], dispatch(c) and combine(c): a c-th part of the batch.
    """
    check_chunks(chunks)
    ranks = len(route)
    steps = _Steps(ranks)
    ready = steps.compute("route", 0, np.zeros(ranks), route)
    begun = ready
    if chunks == 1:
        begun = ready = steps.compute("shared", 0, ready, shared)
    busy, parts = ready, compute(chunks)
    done: list[NDArray[np.float64]] = []
    for chunk in range(chunks):
        arrived = steps.exchange("dispatch", chunk, begun, dispatch(chunks))
        if chunk == 0 and chunks > 1:
            busy = steps.compute("shared", 0, busy, shared)
        if chunk:
            # A part is sent back after the next one is sent out: until then its ranks are still computing.
            steps.exchange("combine", chunk - 1, done[-1], combine(chunks))
        busy = steps.compute("compute", chunk, np.maximum(busy, arrived), parts)
        done.append(busy)
    steps.exchange("combine", chunks - 1, done[-1], combine(chunks))
    return tuple(steps.intervals)


def check_chunks(chunks: int) -> None:
    """Raise ValueError for anything but a whole number of chunks, at least 1."""
    if isinstance(chunks, bool) or not isinstance(chunks, int | np.integer) or chunks < 1:
        raise ValueError(f"chunks: expected a whole number of at least 1, got {chunks!r}")


class _Steps:
    """The intervals so far, and when the network is free again."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.free = 0.0
        self.intervals: list[Interval] = []

    def compute(
        self, phase: str, chunk: int, ready: NDArray[np.float64], seconds: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Every rank on its own, from when it is ready, [P]; returns when each is done."""
        done = ready + seconds
        self._note(phase, chunk, ready, done)
        return done

    def exchange(self, phase: str, chunk: int, ready: NDArray[np.float64], seconds: float) -> float:
        """All ranks together, once the last of them is ready and the network is free; returns when it ends."""
        start = max(float(ready.max()), self.free)
        self.free = start + seconds
        self._note(phase, chunk, np.full(self.ranks, start), np.full(self.ranks, self.free))
        return self.free

    def _note(self, phase: str, chunk: int, start: NDArray[np.float64], end: NDArray[np.float64]) -> None:
        self.intervals += [
            Interval(rank, phase, chunk, float(start[rank]), float(end[rank]))
            for rank in range(self.ranks)
            if end[rank] > start[rank]
        ]
