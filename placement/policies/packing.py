"""Greedy packing: the dearest copy next, to the rank that would be done first among those with room for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks to fill: least, most int64[P] copies; speeds float64[P]; caps float64[P] bytes."""

    least: NDArray[np.int64]
    most: NDArray[np.int64]
    speeds: NDArray[np.float64]
    caps: NDArray[np.float64]


class _Filling:
    """Ranks while they are being filled."""

    def __init__(self, ranks: Ranks, copies: int) -> None:
        self.ranks = ranks
        self.left = copies
        self.held = np.zeros(len(ranks.least), dtype=np.int64)
        self.cost = np.zeros(len(ranks.least))
        self.used = np.zeros(len(ranks.least))

    def room(self) -> NDArray[np.bool_]:
        """Ranks that may take one more, bool[P]: beyond `least` only while enough are left to fill the others up."""
        short = np.maximum(self.ranks.least - self.held, 0)
        return (short > 0) | ((self.held < self.ranks.most) & (self.left > short.sum()))

    def fits(self, size: float) -> NDArray[np.bool_]:
        return self.used + size <= self.ranks.caps

    def add(self, rank: int, cost: float, size: float) -> None:
        self.held[rank] += 1
        self.cost[rank] += cost
        self.used[rank] += size
        self.left -= 1

    def shift(self, source: int, target: int, cost: float, size: float) -> None:
        for rank, sign in ((source, -1), (target, 1)):
            self.held[rank] += sign
            self.cost[rank] += sign * cost
            self.used[rank] += sign * size


def pack(
    costs: NDArray[np.float64], experts: NDArray[np.int64], sizes: NDArray[np.int64], ranks: Ranks
) -> NDArray[np.int64] | None:
    """A rank for every copy, int64[C], or None where none was found that keeps all limits.

    costs float64[C], the expert of each copy int64[C], sizes in bytes int64[C]. Dearest first, ties to the lower copy
    and the lower rank. No rank gets two copies of an expert: a copy that finds only such ranks trades places with
    another. Where memory leaves no rank for a copy, packing starts again with the largest first.
    """
    by_cost = np.argsort(-costs, kind="stable")
    rank_of = _pack_in_order(by_cost, costs, experts, sizes, ranks)
    if rank_of is None and np.isfinite(ranks.caps).any():
        by_size = by_cost[np.argsort(-sizes[by_cost], kind="stable")]
        rank_of = _pack_in_order(by_size, costs, experts, sizes, ranks)
    return rank_of


def _pack_in_order(
    order: NDArray[np.int64],
    costs: NDArray[np.float64],
    experts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    ranks: Ranks,
) -> NDArray[np.int64] | None:
    filling = _Filling(ranks, len(order))
    rank_of = np.full(len(order), -1, dtype=np.int64)
    holds = np.zeros((int(experts.max()) + 1, len(ranks.least)), dtype=bool)
    for copy in order:
        expert, cost, size = experts[copy], float(costs[copy]), float(sizes[copy])
        free = filling.room() & filling.fits(size) & ~holds[expert]
        if free.any():
            # Before it is added, not after: with equal speeds the least loaded rank, and no rounding makes a tie.
            done = filling.cost if np.ptp(ranks.speeds) == 0 else (filling.cost + cost) / ranks.speeds
            rank = int(np.argmin(np.where(free, done, np.inf)))
        else:
            rank = _trade(copy, rank_of, costs, experts, sizes, filling, holds)
            if rank < 0:
                return None
        rank_of[copy] = rank
        holds[expert, rank] = True
        filling.add(rank, cost, size)
    return rank_of


def _trade(
    copy: int,
    rank_of: NDArray[np.int64],
    costs: NDArray[np.float64],
    experts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    filling: _Filling,
    holds: NDArray[np.bool_],
) -> int:
    """Free a place for `copy` by moving another one to a rank with room; the rank that was freed, or -1.

    Of all such moves the one after which the busier of the two ranks is done first.
    """
    ranks = filling.ranks
    best, move = np.inf, None
    for target in np.flatnonzero(filling.room()):
        for other in np.flatnonzero((rank_of >= 0) & (rank_of != target)):
            source = rank_of[other]
            if holds[experts[copy], source] or holds[experts[other], target]:
                continue
            if filling.used[target] + sizes[other] > ranks.caps[target]:
                continue
            if filling.used[source] - sizes[other] + sizes[copy] > ranks.caps[source]:
                continue
            at_source = (filling.cost[source] - costs[other] + costs[copy]) / ranks.speeds[source]
            worst = max(at_source, (filling.cost[target] + costs[other]) / ranks.speeds[target])
            if worst < best:
                best, move = worst, (other, source, target)
    if move is None:
        return -1
    other, source, target = move
    filling.shift(source, target, float(costs[other]), float(sizes[other]))
    holds[experts[other], source] = False
    holds[experts[other], target] = True
    rank_of[other] = target
    return int(source)
