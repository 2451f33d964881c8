"""A placement as a matrix, and the rank that every single row goes to: all that costs know of placements."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray


def assignment(placement: Any) -> NDArray[np.float64]:
    """The share of every expert's rows that each rank takes, float64[E, P]; each line adds up to 1.

    placement: anything with `ranks` and either `replicas` and `shares` (for each expert the ranks that hold it, and the
    share of its rows each takes) or `rank_of` int[E]. Raises ValueError for ranks outside 0 to P - 1, an expert without
    a copy or twice on a rank, and shares that are negative or do not add up to 1.
    """
    expert, rank, share = _copies(placement)
    matrix = np.zeros((int(expert[-1]) + 1 if len(expert) else 0, int(placement.ranks)))
    matrix[expert, rank] = share
    return matrix


def holders(placement: Any) -> NDArray[np.bool_]:
    """Which rank holds which expert, bool[E, P]; a copy that takes no rows is still held. Raises as `assignment`."""
    expert, rank, _ = _copies(placement)
    held = np.zeros((int(expert[-1]) + 1 if len(expert) else 0, int(placement.ranks)), dtype=bool)
    held[expert, rank] = True
    return held


def _copies(placement: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The copies of a placement as three arrays [C], in expert order: expert, rank, share. Raises as `assignment`."""
    ranks = int(placement.ranks)
    replicas = getattr(placement, "replicas", None)
    if replicas is None:
        replicas = [(rank,) for rank in np.asarray(placement.rank_of).tolist()]
    shares = getattr(placement, "shares", None) or [(1.0 / max(len(copies), 1),) * len(copies) for copies in replicas]
    count = np.array([len(copies) for copies in replicas], dtype=np.int64)
    if len(shares) == len(replicas) and count.all() and [len(parts) for parts in shares] == count.tolist():
        expert = np.repeat(np.arange(len(count)), count)
        rank = np.array(list(chain.from_iterable(replicas)), dtype=np.int64)
        share = np.array(list(chain.from_iterable(shares)), dtype=np.float64)
        if not _wrong(expert, rank, share, ranks):
            return expert, rank, share
    for expert, (copies, parts) in enumerate(zip(replicas, shares, strict=True)):
        _check_copies(expert, copies, parts, ranks)
    raise AssertionError("copies were wrong together and right one by one")


def _wrong(expert: NDArray[np.int64], rank: NDArray[np.int64], share: NDArray[np.float64], ranks: int) -> bool:
    """Whether anything is wrong with the copies, all looked at together: a placement is costed thousands of times."""
    if not len(expert):
        return False
    if rank.min() < 0 or rank.max() >= ranks or not (share >= 0).all():
        return True
    sums = np.bincount(expert, weights=share)
    return bool((abs(sums - 1) > 1e-9).any() or np.bincount(expert * ranks + rank).max() > 1)


def row_ranks(expert_ids: Any, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """The rank that computes every routed row, int64[T, K], for expert_ids int[T, K] and shares float[E, P].

    The rows of a replicated expert are dealt to its copies in token order: each copy gets its share of them, rounded so
    that no row is lost, and its rows are spread evenly over the batch. Four rows of one expert on two equal copies:

    >>> row_ranks(np.array([[0], [0], [0], [0]]), np.array([[0.5, 0.5]])).ravel().tolist()
    [0, 1, 0, 1]
    """
    ids = np.asarray(expert_ids, dtype=np.int64)
    destinations = np.argmax(shares, axis=1)[ids]
    flat_ids, flat = ids.ravel(), destinations.ravel()
    for expert in np.flatnonzero((shares > 0).sum(axis=1) > 1):
        rows = np.flatnonzero(flat_ids == expert)
        if len(rows):
            flat[rows] = _dealt(len(rows), shares[expert])
    return flat.reshape(ids.shape)


def _dealt(rows: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """The rank of each of `rows` rows of one expert: largest remainders, copies interleaved."""
    exact = shares * rows
    quota = np.floor(exact).astype(np.int64)
    for rank in np.argsort(-(exact - quota), kind="stable")[: rows - int(quota.sum())]:
        quota[rank] += 1
    rank = np.repeat(np.arange(len(shares)), quota)
    place = np.concatenate([(np.arange(count) + 0.5) / count for count in quota if count])
    return rank[np.argsort(place, kind="stable")]


def _check_copies(expert: int, copies: Any, parts: Any, ranks: int) -> None:
    if not len(copies):
        raise ValueError(f"placement: expected expert {expert} on at least one rank, got none")
    if min(copies) < 0 or max(copies) >= ranks:
        raise ValueError(f"placement: expected ranks 0 to {ranks - 1}, got {list(copies)} for expert {expert}")
    if len(set(copies)) != len(copies):
        raise ValueError(f"placement: expected distinct ranks for an expert, got {list(copies)} for expert {expert}")
    if len(parts) != len(copies) or min(parts) < 0 or abs(sum(parts) - 1) > 1e-9:
        raise ValueError(
            f"placement: expected {len(copies)} shares of at least 0 that add up to 1, got {list(parts)} "
            f"for expert {expert}"
        )
