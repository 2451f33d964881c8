"""Local search in many layers at once: swap two experts, or move one, as long as the busiest rank gets done sooner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A rank that may hold any number of experts is searched up to this many times the most that any rank held at first.
_GROWTH = 2


@dataclass(frozen=True, eq=False)
class Limits:
    """What an exchange must respect, the same in every layer.

    speeds:   float64[P]
    least:    int64[P]    experts; with `most` it says which moves are allowed
    most:     int64[P]
    sizes:    float64[E]  bytes of every expert, or None where memory does not matter
    caps:     float64[P]  bytes
    classes:  int64[E] or None: only experts of one class change places, and none moves alone
    """

    speeds: NDArray[np.float64]
    least: NDArray[np.int64]
    most: NDArray[np.int64]
    sizes: NDArray[np.float64] | None
    caps: NDArray[np.float64]
    classes: NDArray[np.int64] | None = None


def improve(rank_of: NDArray[np.int64], costs: NDArray[np.float64], limits: Limits) -> NDArray[np.int64]:
    """A rank for every expert of L layers, int64[L, E], no layer's busiest rank busier than before.

    rank_of int64[L, E], costs float64[L, E]. Every round takes the busiest rank of each layer and the exchange with any
    other rank after which the busier of the two is done first: two experts change places, or one moves where `least`
    and `most` allow it. A layer ends when no exchange helps. Deterministic, and a layer's result does not depend on
    the other layers.
    """
    table = _Table(rank_of, costs, limits)
    # Each round makes the busiest rank less busy and no other as busy as that, so rounds end; the cap is for rounding.
    for _ in range(20 * rank_of.shape[1] + 100):
        if not table.round():
            break
    return table.ranks()


class _Table:
    """Slots of the ranks: experts int64[A, S, P, K] of the A layers that are still searched, E in an empty slot.

    S classes; K the most experts of a class on a rank and, where experts may move alone, a last slot that stands for
    "nothing comes back": a swap with it is a move. costs float64[A, S, P, K] are those of the experts, inf where there
    is nothing to swap with; load float64[A, P]; room int64[A, P] the most experts a rank is searched up to.
    """

    def __init__(self, rank_of: NDArray[np.int64], costs: NDArray[np.float64], limits: Limits) -> None:
        layers, self.experts = rank_of.shape
        self.limits, self.layers, self.rank_of = limits, np.arange(layers), rank_of.copy()
        self.moves = limits.classes is None and bool((limits.least < limits.most).any())
        self.alike = bool(np.ptp(limits.speeds) == 0)
        self.sizes = None if limits.sizes is None else np.append(limits.sizes, 0.0)
        classes = np.zeros(self.experts, dtype=np.int64) if limits.classes is None else limits.classes
        shape = (layers, int(classes.max()) + 1, len(limits.speeds))
        cell = (self.layers[:, None] * shape[1] + classes) * shape[2] + rank_of
        held = np.bincount(cell.ravel(), minlength=int(np.prod(shape))).reshape(shape)
        self.room = np.minimum(limits.most, _GROWTH * held.max(axis=(1, 2))[:, None])
        slots = int(max(held.max(), self.room.max() if self.moves else 0)) + self.moves
        order = np.argsort(cell, axis=1, kind="stable")
        line = np.take_along_axis(cell, order, axis=1).ravel()
        place = np.arange(line.size) - np.append(0, np.cumsum(held.ravel()))[line]
        self.slots = np.full((*shape, slots), self.experts, dtype=np.int64)
        self.slots.reshape(-1, slots)[line, place] = order.ravel()
        with_none = np.append(costs, np.full((layers, 1), np.inf), axis=1)
        self.costs = np.take_along_axis(with_none, self.slots.reshape(layers, -1), axis=1).reshape(self.slots.shape)
        self.load = np.where(np.isinf(self.costs), 0.0, self.costs).sum(axis=(1, 3))

    def round(self) -> bool:
        """The best exchange in every layer; layers without one are done. Whether any are left."""
        line, (_, _, ranks, slots) = np.arange(len(self.load)), self.costs.shape
        busiest = np.argmax(self.load / self.limits.speeds, axis=1)
        if self.moves:
            self._open_moves(busiest)
        worst = self._worst(busiest).reshape(len(line), -1)
        best = worst.argmin(axis=1)
        # Not by rounding alone: without this two equal ranks could trade the same experts for ever.
        better = worst[line, best] < (self.load[line, busiest] / self.limits.speeds[busiest]) * (1 - 1e-12)
        rest, there = np.divmod(best[better], slots)
        rest, rank = np.divmod(rest, ranks)
        size_class, here = np.divmod(rest, slots)
        self._exchange(line[better], size_class, busiest[better], here, rank, there)
        if not better.all():
            self._keep(better)
        return bool(better.any())

    def ranks(self) -> NDArray[np.int64]:
        """The rank of every expert, int64[L, E]."""
        self._keep(np.zeros(len(self.layers), dtype=bool))
        return self.rank_of

    def _worst(self, busiest: NDArray[np.int64]) -> NDArray[np.float64]:
        """When the busier of the two ranks would be done after each exchange, float64[A, S, K here, P, K there]."""
        line, speeds = np.arange(len(busiest)), self.limits.speeds
        here = self.costs[line, :, busiest]
        here = np.where(np.isinf(here), -np.inf, here)  # an empty slot has nothing to give
        if self.moves:
            here[:, :, -1] = -np.inf
        less = here[:, :, :, None, None] - self.costs[:, :, None]
        load, top = self.load[:, None, None, :, None], self.load[line, busiest][:, None, None, None, None]
        if self.alike:  # the same as below, in fewer passes over the table
            worst = np.abs(np.subtract(less, (top - load) / 2, out=less), out=less)
            worst += (top + load) / 2
            worst /= speeds[0]
        else:
            own = speeds[busiest][:, None, None, None, None]
            worst = np.maximum((top - less) / own, (load + less) / speeds[None, None, None, :, None])
        if self.sizes is not None:
            worst[~self._fits(busiest, self.sizes)] = np.inf
        return worst

    def _fits(self, busiest: NDArray[np.int64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether both ranks keep within their memory, bool like `_worst`."""
        line, there = np.arange(len(busiest)), sizes[self.slots]
        used, caps = there.sum(axis=(1, 3)), self.limits.caps
        smaller = there[line, :, busiest][:, :, :, None, None] - there[:, :, None]
        own = (used[line, busiest], caps[busiest])
        fits = own[0][:, None, None, None, None] - smaller <= own[1][:, None, None, None, None]
        return fits & (used[:, None, None, :, None] + smaller <= caps[None, None, None, :, None])

    def _open_moves(self, busiest: NDArray[np.int64]) -> None:
        """The last slots: open on ranks with room, where the busiest may lose an expert."""
        held = (self.slots != self.experts).sum(axis=(1, 3))
        may_lose = held[np.arange(len(busiest)), busiest] > self.limits.least[busiest]
        self.costs[:, 0, :, -1] = np.where((held < self.room) & may_lose[:, None], 0.0, np.inf)

    def _exchange(self, line: Any, size_class: Any, busiest: Any, here: Any, rank: Any, there: Any) -> None:
        """Swap slots `here` of the busiest ranks with `there` of others, int64[lines]; a move fills an empty one."""
        costs = self.costs[line, size_class, rank, there]
        less = self.costs[line, size_class, busiest, here] - costs
        self.load[line, busiest] -= less
        self.load[line, rank] += less
        if self.moves:
            empty = (self.slots[line, 0, rank] == self.experts).argmax(axis=1)
            there = np.where(there == self.slots.shape[-1] - 1, empty, there)
            costs = self.costs[line, size_class, rank, there]
        own, other = (line, size_class, busiest, here), (line, size_class, rank, there)
        self.costs[other], self.costs[own] = self.costs[own], costs
        self.slots[other], self.slots[own] = self.slots[own], self.slots[other]

    def _keep(self, going: NDArray[np.bool_]) -> None:
        """Write down the layers that are done and go on with the others."""
        done = ~going
        slots = self.slots[done]
        line, _, rank, _ = np.nonzero(slots != self.experts)
        self.rank_of[self.layers[done][line], slots[slots != self.experts]] = rank
        self.layers, self.slots, self.costs = self.layers[going], self.slots[going], self.costs[going]
        self.load, self.room = self.load[going], self.room[going]
