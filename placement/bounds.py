"""Lower bounds on the fullest rank: no placement, however clever, can be below them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def lower_bound(costs: Any, ranks: int, sizes: Any = None) -> float:
    """A proven lower bound on the largest rank's cost, in the unit of `costs`.

    costs float[E], one per expert, >= 0; ranks P >= 1. It holds for every placement that puts each expert on one rank
    and floor(E/P) or ceil(E/P) experts on each, and is the largest of

    - total / P;
    - for every j with jP + 1 <= E: some rank holds j + 1 of the jP + 1 dearest experts, so it costs at least the
      j + 1 cheapest of those plus, to fill it up to k = floor(E/P) experts, the k - j - 1 cheapest of all.

    With sizes int[E], the width class of each expert, only placements are meant whose ranks all hold the same number
    of experts of every size (n_s/P of size s; within one where P does not divide n_s). For them the second argument
    also holds inside each size s, with n_s/P in the place of k, plus the cheapest n_u/P experts of every other size u.
    With P = n_s this is: the largest cost of a size plus the smallest of each other size.

    The problem is P|#=k|Cmax; the size-constrained bound is derived here. Raises ValueError.
    """
    costs = np.asarray(costs, dtype=np.float64)
    if costs.ndim != 1 or not len(costs):
        raise ValueError(f"costs: expected one number per expert, got shape {list(costs.shape)}")
    if not (np.isfinite(costs) & (costs >= 0)).all():
        raise ValueError("costs: expected finite numbers of at least 0")
    if isinstance(ranks, bool) or not isinstance(ranks, int | np.integer) or ranks < 1:
        raise ValueError(f"ranks: expected a whole number of at least 1, got {ranks!r}")
    ranks = int(ranks)
    share = float(costs.sum()) / ranks
    if sizes is None:
        return max(share, _pigeonhole(np.sort(costs), ranks, least=len(costs) // ranks))
    sizes = np.asarray(sizes)
    if sizes.shape != costs.shape:
        raise ValueError(f"sizes: expected one width class for each of {len(costs)} experts, got {list(sizes.shape)}")
    classes = [np.sort(costs[sizes == size]) for size in np.unique(sizes)]
    cheapest = [float(of_size[: len(of_size) // ranks].sum()) for of_size in classes]
    inside = max(
        _pigeonhole(of_size, ranks, least=len(of_size) // ranks) + sum(cheapest) - own
        for of_size, own in zip(classes, cheapest, strict=True)
    )
    # Where P divides no n_s evenly, a rank is only sure to hold the sum of the floors.
    least = sum(len(of_size) // ranks for of_size in classes)
    return max(share, _pigeonhole(np.sort(costs), ranks, least), inside)


def _pigeonhole(ascending: NDArray[np.float64], ranks: int, least: int) -> float:
    """The largest, over j, of the j + 1 cheapest of the jP + 1 dearest plus fillers up to `least` experts a rank."""
    count = len(ascending)
    best = 0.0
    for j in range((count - 1) // ranks + 1):
        start = count - (j * ranks + 1)
        fillers = ascending[: max(least - j - 1, 0)]
        best = max(best, float(ascending[start : start + j + 1].sum() + fillers.sum()))
    return best
