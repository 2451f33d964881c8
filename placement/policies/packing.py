"""Greedy packing of many layers at once: the dearest copy next, to the rank with room that would be done first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Room:
    """What ranks have to offer: one line a layer, or L = 1 line for all layers. S classes of copies.

    places:  int64[L, S, P]   the most copies of each class a rank takes
    speeds:  float64[L, P]    a rank is done after its cost over its speed
    least:   int64[L, P]      the fewest copies a rank must hold in the end
    caps:    float64[L, P]    the most bytes a rank holds
    """

    places: NDArray[np.int64]
    speeds: NDArray[np.float64]
    least: NDArray[np.int64]
    caps: NDArray[np.float64]

    def repeated(self, layers: int) -> Room:
        """These lines again for every layer."""
        return Room(
            np.tile(self.places, (layers, 1, 1)),
            np.tile(self.speeds, (layers, 1)),
            np.tile(self.least, (layers, 1)),
            np.tile(self.caps, (layers, 1)),
        )


@dataclass(frozen=True, eq=False)
class Copies:
    """What is to be packed: L layers of C copies.

    costs:    float64[L, C]
    experts:  int64[L, C] the expert that each is a copy of, or None where every copy is of another
    sizes:    float64[L, C] bytes, or None where memory does not matter
    classes:  int64[L, C] the class whose places each takes, or None where there is but one
    """

    costs: NDArray[np.float64]
    experts: NDArray[np.int64] | None = None
    sizes: NDArray[np.float64] | None = None
    classes: NDArray[np.int64] | None = None

    def ordered(self, order: NDArray[np.int64]) -> Copies:
        """The same copies in another order, int64[L, C]."""

        def take(values: Any) -> Any:
            return None if values is None else np.take_along_axis(values, order, axis=1)

        return Copies(take(self.costs), take(self.experts), take(self.sizes), take(self.classes))


def pack(copies: Copies, room: Room) -> NDArray[np.int64]:
    """The rank of every copy, int64[L, C]; -1 all along a layer for which none was found that keeps all limits.

    Dearest first, ties to the lower copy and the lower rank. No rank gets two copies of an expert: a copy that finds
    only such ranks trades places with another. Where memory leaves no rank for a copy, packing starts again with the
    largest.
    """
    rank_of = _packed_by(np.argsort(-copies.costs, axis=1, kind="stable"), copies, room)
    failed = np.flatnonzero(rank_of[:, 0] < 0)
    if len(failed) and copies.sizes is not None:
        again, room = _some(copies, room, failed)
        largest_first = np.lexsort((-again.costs, -copies.sizes[failed]), axis=1)
        rank_of[failed] = _packed_by(largest_first, again, room)
    return rank_of


def _packed_by(order: NDArray[np.int64], copies: Copies, room: Room) -> NDArray[np.int64]:
    """The rank of every copy, int64[L, C], where they are placed in this order, int64[L, C]."""
    rank_of = np.empty_like(order)
    np.put_along_axis(rank_of, order, _Filling(copies.ordered(order), room).fill(), axis=1)
    return rank_of


class _Filling:
    """Ranks of L layers while they are filled, one copy of each layer a step, in the order in which they stand."""

    def __init__(self, copies: Copies, room: Room) -> None:
        layers, count = copies.costs.shape
        self.ranks = room.places.shape[2]
        shape = (layers, self.ranks)
        self.copies, self.line, self.left = copies, np.arange(layers), count
        self.speeds, self.least = np.broadcast_to(room.speeds, shape), np.broadcast_to(room.least, shape)
        self.alike = bool((np.ptp(room.speeds, axis=1) == 0).all())
        self.caps = np.broadcast_to(room.caps, shape)
        self.places = np.broadcast_to(room.places, (layers, *room.places.shape[1:])).copy()
        self.cost, self.used, self.held = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=np.int64)
        self.short = self.least.sum(axis=1)  # copies still needed to give every rank its least
        self.spare = bool((self.places.sum(axis=(1, 2)) > count).any())  # else every place is filled in the end
        experts = copies.experts
        self.holds = None if experts is None else np.zeros((layers, int(experts.max()) + 1, self.ranks), dtype=bool)
        self.rank_of = np.full((layers, count), -1, dtype=np.int64)

    def fill(self) -> NDArray[np.int64]:
        """The rank of each copy, int64[L, C], or -1 along layers where it cannot be done."""
        alive = np.ones(len(self.line), dtype=bool)
        for copy in range(self.rank_of.shape[1]):
            # Before it is added, not after, where speeds are equal: the least loaded rank, and no rounding makes a tie.
            done = self.cost if self.alike else (self.cost + self.copies.costs[:, copy, None]) / self.speeds
            done = np.where(self._free(copy), done, np.inf)
            rank = done.argmin(axis=1)
            nowhere = np.isinf(done[self.line, rank])
            if nowhere.any():
                for layer in np.flatnonzero(nowhere & alive):
                    rank[layer] = self._trade(int(layer), copy)
                    alive[layer] = rank[layer] >= 0
            self._add(copy, rank)
        self.rank_of[~alive] = -1
        return self.rank_of

    def _free(self, copy: int) -> NDArray[np.bool_]:
        """The ranks that may take this copy of every layer, bool[L, P]."""
        free = self._room(copy)
        if self.copies.sizes is not None:
            free &= self.used + self.copies.sizes[:, copy, None] <= self.caps
        if self.holds is not None and self.copies.experts is not None:
            free &= ~self.holds[self.line, self.copies.experts[:, copy]]
        return free

    def _room(self, copy: int) -> NDArray[np.bool_]:
        """The ranks with a place left: beyond its least only while enough copies are left to fill the others up."""
        classes = self.copies.classes
        free = (self.places[:, 0] if classes is None else self.places[self.line, classes[:, copy]]) > 0
        if not self.spare:
            return free
        tight = self.short >= self.left
        return free & ((self.held < self.least) | ~tight[:, None]) if tight.any() else free

    def _add(self, copy: int, rank: NDArray[np.int64]) -> None:
        line, classes = self.line, self.copies.classes
        self.rank_of[:, copy] = rank
        self.cost[line, rank] += self.copies.costs[:, copy]
        self.places[line, 0 if classes is None else classes[:, copy], rank] -= 1
        if self.spare:
            self.short -= self.held[line, rank] < self.least[line, rank]
            self.held[line, rank] += 1
        if self.copies.sizes is not None:
            self.used[line, rank] += self.copies.sizes[:, copy]
        if self.holds is not None and self.copies.experts is not None:
            self.holds[line, self.copies.experts[:, copy], rank] = True
        self.left -= 1

    def _trade(self, layer: int, copy: int) -> int:
        """Free a place for `copy` by moving another one to a rank with room; the rank that was freed, or -1.

        Of all such moves the one after which the busier of the two ranks is done first.
        """
        room = self._room(copy)[layer]
        others = np.flatnonzero(self.rank_of[layer] >= 0)
        if not room.any() or not len(others) or self.copies.classes is not None:
            return -1
        sources = self.rank_of[layer, others]
        costs, cost, speeds = self.copies.costs[layer], self.cost[layer], self.speeds[layer]
        allowed = room & (np.arange(self.ranks) != sources[:, None])
        if self.holds is not None and self.copies.experts is not None:
            experts, holds = self.copies.experts[layer], self.holds[layer]
            allowed &= ~holds[experts[copy], sources][:, None] & ~holds[experts[others]]
        if self.copies.sizes is not None:
            sizes, caps, used = self.copies.sizes[layer], self.caps[layer], self.used[layer]
            allowed &= (used[sources] - sizes[others] + sizes[copy] <= caps[sources])[:, None]
            allowed &= used + sizes[others][:, None] <= caps
        at_source = (cost[sources] - costs[others] + costs[copy]) / speeds[sources]
        worst = np.maximum(at_source[:, None], (cost + costs[others][:, None]) / speeds)
        other, target = np.unravel_index(int(np.argmin(np.where(allowed, worst, np.inf))), worst.shape)
        if not allowed[other, target]:
            return -1
        self._move(layer, int(others[other]), int(target))
        return int(sources[other])

    def _move(self, layer: int, copy: int, target: int) -> None:
        """Take a copy that was placed to another rank."""
        source = int(self.rank_of[layer, copy])
        self.rank_of[layer, copy] = target
        self.short[layer] += int(self.held[layer, source] <= self.least[layer, source])
        self.short[layer] -= int(self.held[layer, target] < self.least[layer, target])
        size = 0.0 if self.copies.sizes is None else self.copies.sizes[layer, copy]
        for rank, sign in ((source, -1), (target, 1)):
            self.held[layer, rank] += sign
            self.places[layer, 0, rank] -= sign
            self.cost[layer, rank] += sign * self.copies.costs[layer, copy]
            self.used[layer, rank] += sign * size
        if self.holds is not None and self.copies.experts is not None:
            self.holds[layer, self.copies.experts[layer, copy], [source, target]] = [False, True]


def _some(copies: Copies, room: Room, which: NDArray[np.int64]) -> tuple[Copies, Room]:
    """The same for some of the layers."""

    def take(values: Any) -> Any:
        return None if values is None else values[which] if len(values) == len(copies.costs) else values

    return (
        Copies(take(copies.costs), take(copies.experts), take(copies.sizes), take(copies.classes)),
        Room(take(room.places), take(room.speeds), take(room.least), take(room.caps)),
    )
