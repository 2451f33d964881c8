"""Rows and vectors of many steps of one placement at once: what `count_traffic` counts, as sums over ranks.

Seconds of an exchange need only what each rank sends and receives on each class of links, so no matrix of ranks by
ranks is made. Every (token, rank) or (token, node) that has to be reached once is found among the K rows of its token
by comparing them with each other, K being small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cluster import Cluster
from .copies import row_ranks
from .traffic import homes


@dataclass(frozen=True)
class Copies:
    """The copies of a placement, in the order of experts, C of them: expert int64[C], rank int64[C].

    index:  int64[E, P]  the copy of an expert on a rank, -1 where there is none
    shares: float64[E, P]
    """

    expert: NDArray[np.int64]
    rank: NDArray[np.int64]
    index: NDArray[np.int64]
    shares: NDArray[np.float64]

    @classmethod
    def of(cls, shares: NDArray[np.float64]) -> Copies:
        """From shares float64[E, P] as `assignment` gives them; copies without rows are left out."""
        expert, rank = np.nonzero(shares)
        index = np.full(shares.shape, -1, dtype=np.int64)
        index[expert, rank] = np.arange(len(expert))
        return cls(expert, rank, index, shares)

    @property
    def single(self) -> bool:
        """Whether every expert has one copy: then the rank of a row is that of its expert."""
        return len(self.expert) == len(self.shares)

    def destinations(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """The rank of every row, int32[K, S, T], for ids int32[K, S, T]; dealt to copies as `row_ranks` does."""
        if self.single:
            return self.rank.astype(np.int32)[ids]
        dealt = [row_ranks(ids[:, step].T, self.shares).T for step in range(ids.shape[1])]
        return np.stack(dealt, axis=1).astype(np.int32)

    def rows(self, ids: NDArray[np.int32], destinations: NDArray[np.int32]) -> NDArray[np.int64]:
        """Rows of every copy in every step, int64[S, C]."""
        copies = ids if self.single else self.index[ids, destinations]
        return _per_step(copies, len(self.expert))


class Exchanged(NamedTuple):
    """The most vectors that any rank sends or receives in each step, int64[S], inside nodes and between them."""

    inside: NDArray[np.int64]
    between: NDArray[np.int64]


def exchanged(destinations: NDArray[np.int32], cluster: Cluster, style: str) -> Exchanged:
    """For destinations int32[K, S, T], tokens at home in equal runs of the batch; style: one of STYLES."""
    ranks, width = cluster.ranks, cluster.ranks_per_node
    home = homes(destinations.shape[2], ranks).astype(np.int32)
    node, own_node = destinations // width, home // width
    away = node != own_node
    needed = np.ones(destinations.shape, dtype=bool) if style == "nccl" else _first_of_its_kind(destinations)
    near = needed & ~away & (destinations != home)
    if style != "by_node":
        far = needed & away
        received_near = _received(destinations, near, ranks)
        received_far = _received(destinations, far, ranks)
        return Exchanged(_most(_sent(near, ranks), received_near), _most(_sent(far, ranks), received_far))
    # To the rank with the sender's own place in each other node; it passes on what it does not need itself.
    gate = node * width + home % width
    passed = needed & away & (destinations != gate)
    far = _first_of_its_kind(node) & away
    sent_near = _sent(near, ranks) + _received(gate, passed, ranks)
    return Exchanged(
        _most(sent_near, _received(destinations, near | passed, ranks)),
        _most(_sent(far, ranks), _received(gate, far, ranks)),
    )


def _most(sent: NDArray[np.int64], received: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most that any rank sends or receives in each step, [S], from [S, P] both."""
    return np.maximum(sent.max(axis=1), received.max(axis=1))


def _sent(which: NDArray[np.bool_], ranks: int) -> NDArray[np.int64]:
    """How many of `which` [K, S, T] each home rank has, int64[S, P]: differences of running sums over its tokens."""
    running = np.zeros((which.shape[1], which.shape[2] + 1), dtype=np.int64)
    np.cumsum(which.sum(axis=0, dtype=np.int64), axis=1, out=running[:, 1:])
    ends = np.searchsorted(homes(which.shape[2], ranks), np.arange(ranks + 1))
    return np.diff(running[:, ends], axis=1)


def _received(rank: NDArray[np.int32], which: NDArray[np.bool_], ranks: int) -> NDArray[np.int64]:
    """How often each rank comes up among those of `rank` [K, S, T] that `which` marks, int64[S, P]."""
    if not which.any():
        return np.zeros((rank.shape[1], ranks), dtype=np.int64)
    return _per_step(np.where(which, rank, ranks), ranks + 1)[:, :ranks]


def _first_of_its_kind(values: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the K values [K, S, T] of a token have not come before among them."""
    first = np.ones(values.shape, dtype=bool)
    for later in range(1, len(values)):
        for earlier in range(later):
            first[later] &= values[later] != values[earlier]
    return first


def _per_step(values: NDArray[Any], kinds: int) -> NDArray[np.int64]:
    """How often each of the numbers 0 to kinds - 1 comes up in every step of values [K, S, T], int64[S, kinds]."""
    steps = values.shape[1]
    keys = values + (np.arange(steps, dtype=np.int64) * kinds)[:, None]
    return np.bincount(keys.ravel(), minlength=steps * kinds).reshape(steps, kinds)
