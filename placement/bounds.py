"""Lower bounds on the busiest rank: no placement, however clever, can be below them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def lower_bound(
    costs: Any, ranks: int, sizes: Any = None, *, speeds: Any = None, replicas: int = 0, least: int | None = None
) -> float:
    """A proven lower bound on the largest rank's cost over speed, in the unit of `costs`.

    costs float[E], one per expert, >= 0; ranks P >= 1; speeds float[P] > 0, all 1 where not given; least: the fewest
    experts on any rank, floor(E/P) where not given and 0 where ranks may hold any number. Memory caps only take
    placements away, so it holds under them too. It is the largest of

    - the total over the sum of speeds;
    - for every m <= P: the m dearest experts lie on at most m ranks, so their sum over the m greatest speeds;
    - for every j with jP + 1 <= E: some rank holds j + 1 of the jP + 1 dearest experts, so it costs at least the
      j + 1 cheapest of those plus, to fill it up to k = `least` experts, the k - j - 1 cheapest of all; over the
      greatest speed.

    With sizes int[E], the width class of each expert, only placements are meant whose ranks all hold the same number
    of experts of every size (n_s/P of size s; within one where P does not divide n_s). For them the last argument
    also holds inside each size s, with n_s/P in the place of k, plus the cheapest n_u/P experts of every other size u.
    With P = n_s this is: the largest cost of a size plus the smallest of each other size.

    With R = `replicas` spare copies, however an expert's cost is shared among its copies: besides the first, the
    smallest, over all ways to give r_e <= P copies with sum E + R, of the largest c_e over the r_e greatest speeds; and
    the other two over the experts without the R dearest, because at least E - R have one copy only.

    The problem is P|#=k|Cmax (Q|...|Cmax with speeds); the size-constrained bound is derived here. Raises ValueError.
    """
    costs = np.asarray(costs, dtype=np.float64)
    if costs.ndim != 1 or not len(costs):
        raise ValueError(f"costs: expected one number per expert, got shape {list(costs.shape)}")
    if not (np.isfinite(costs) & (costs >= 0)).all():
        raise ValueError("costs: expected finite numbers of at least 0")
    for name, value, lowest in (("ranks", ranks, 1), ("replicas", replicas, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < lowest:
            raise ValueError(f"{name}: expected a whole number of at least {lowest}, got {value!r}")
    ranks, replicas = int(ranks), int(replicas)
    fastest = _fastest_first(speeds, ranks)
    share = float(costs.sum()) / float(fastest.sum())
    ascending = np.sort(costs)
    if replicas:
        if sizes is not None:
            raise ValueError(f"sizes: expected none with replicas, got both ({replicas} replicas)")
        single = ascending[: max(len(costs) - replicas, 0)]
        return max(share, _replicated(costs, fastest, replicas), _single(single, fastest, least=0))
    least = len(costs) // ranks if least is None else int(least)
    if sizes is None:
        return max(share, _single(ascending, fastest, least))
    sizes = np.asarray(sizes)
    if sizes.shape != costs.shape:
        raise ValueError(f"sizes: expected one width class for each of {len(costs)} experts, got {list(sizes.shape)}")
    return max(share, _sized(costs, sizes, fastest))


def _fastest_first(speeds: Any, ranks: int) -> NDArray[np.float64]:
    if speeds is None:
        return np.ones(ranks)
    speeds = np.asarray(speeds, dtype=np.float64)
    if speeds.shape != (ranks,) or not (np.isfinite(speeds) & (speeds > 0)).all():
        raise ValueError(f"speeds: expected a number above 0 for each of {ranks} ranks, got {speeds.tolist()}")
    return np.sort(speeds)[::-1]


def _single(ascending: NDArray[np.float64], fastest: NDArray[np.float64], least: int) -> float:
    """The second and third argument, for experts with one copy each: costs ascending, speeds descending."""
    ranks = len(fastest)
    dearest = ascending[::-1][:ranks]
    first = float((np.cumsum(dearest) / np.cumsum(fastest)[: len(dearest)]).max(initial=0.0))
    return max(first, _pigeonhole(ascending, ranks, least) / float(fastest[0]))


def _sized(costs: NDArray[np.float64], sizes: NDArray[Any], fastest: NDArray[np.float64]) -> float:
    """The bound for placements even in every size."""
    ranks = len(fastest)
    classes = [np.sort(costs[sizes == size]) for size in np.unique(sizes)]
    cheapest = [float(of_size[: len(of_size) // ranks].sum()) for of_size in classes]
    inside = max(
        _pigeonhole(of_size, ranks, least=len(of_size) // ranks) + sum(cheapest) - own
        for of_size, own in zip(classes, cheapest, strict=True)
    )
    # Where P divides no n_s evenly, a rank is only sure to hold the sum of the floors.
    least = sum(len(of_size) // ranks for of_size in classes)
    return max(_single(np.sort(costs), fastest, least), inside / float(fastest[0]))


def _pigeonhole(ascending: NDArray[np.float64], ranks: int, least: int) -> float:
    """The largest, over j, of the j + 1 cheapest of the jP + 1 dearest plus fillers up to `least` experts a rank."""
    count = len(ascending)
    best = 0.0
    for j in range((count - 1) // ranks + 1):
        start = count - (j * ranks + 1)
        fillers = ascending[: max(least - j - 1, 0)]
        best = max(best, float(ascending[start : start + j + 1].sum() + fillers.sum()))
    return best


def _replicated(costs: NDArray[np.float64], fastest: NDArray[np.float64], replicas: int) -> float:
    """The smallest largest c_e / (sum of the r_e greatest speeds): the dearest copy gets the next replica each time.

    Each such quotient falls with r_e, so giving the next copy to the largest is the best choice every time.
    """
    reach = np.cumsum(fastest)
    count = np.ones(len(costs), dtype=np.int64)
    for _ in range(replicas):
        dearest = int(np.argmax(costs / reach[count - 1]))
        if count[dearest] == len(fastest):  # on every rank already: nothing lowers the largest any more
            break
        count[dearest] += 1
    return float((costs / reach[count - 1]).max())
