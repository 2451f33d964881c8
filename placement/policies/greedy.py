"""Load-aware greedy policies: longest processing time first, and its form that keeps AGA's mix of widths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..answer import Answer, one_each
from ..problem import Problem
from .fixed import aga_ranks
from .packing import Ranks, pack
from .policy import check_by
from .swaps import Limits, improve


def lpt(problem: Problem, by: str = "work", swaps: bool = False) -> Answer:
    """Longest processing time first: the dearest expert next, to the rank with room that would be done first.

    The cost is work (FLOPs) or, with ``by="rows"``, rows alone as tools for equal experts count. Room is floor(E/P)
    experts, and one more on the first E mod P ranks to ask for it, unless the problem says otherwise. Ties go to the
    lower expert id and the lower rank. With `swaps`, local search follows. Raises ValueError where memory leaves no
    rank for an expert.
    """
    check_by("lpt", by)
    return one_each(balanced_ranks("lpt", problem, problem.balanced(by), swaps))


def balanced_ranks(policy: str, problem: Problem, costs: NDArray[np.float64], swaps: bool) -> NDArray[np.int64]:
    """Ranks by packing, int64[E], improved by swaps where asked. Raises ValueError naming `policy`."""
    ranks = Ranks(problem.least, problem.most, problem.speeds, problem.caps)
    rank_of = pack(costs, np.arange(problem.spec.experts), problem.sizes, ranks)
    if rank_of is None:
        raise ValueError(
            f"policy {policy!r}: memory_cap: expected room for every expert, and after packing none was left for one of "
            f"{int(problem.sizes.max())} bytes or less ({int(problem.sizes.sum())} bytes of experts, "
            f"{problem.caps.sum():.0f} bytes of caps)"
        )
    if swaps:
        rank_of = improve(rank_of, costs, problem.sizes, _limits(problem))
    return rank_of


def stratified(problem: Problem, by: str = "work") -> Answer:
    """Size-stratified and load-aware: AGA's widths on every rank, so exactly its memory, but experts chosen by load.

    AGA says how many experts of each width a rank holds. The dearest expert goes next, to the rank that would be done
    first among those with a place of its width left; then experts of one width change places as long as that helps.
    """
    check_by("stratified", by)
    costs, widths = problem.balanced(by), problem.spec.expert_widths
    classes = np.unique(widths, return_inverse=True)[1]
    places = np.zeros((classes.max() + 1, problem.ranks), dtype=np.int64)
    np.add.at(places, (classes, aga_ranks(problem)), 1)
    load = np.zeros(problem.ranks)
    rank_of = np.empty(problem.spec.experts, dtype=np.int64)
    for expert in np.argsort(-costs, kind="stable"):
        done = (load + costs[expert]) / problem.speeds
        rank = int(np.argmin(np.where(places[classes[expert]] > 0, done, np.inf)))
        rank_of[expert] = rank
        places[classes[expert], rank] -= 1
        load[rank] += costs[expert]
    return one_each(improve(rank_of, costs, problem.sizes, _limits(problem, classes)))


def _limits(problem: Problem, classes: NDArray[np.int64] | None = None) -> Limits:
    # Within a class sizes are equal, so a swap never changes memory, and caps are checked afterwards.
    caps = problem.caps if classes is None else np.full(problem.ranks, np.inf)
    return Limits(problem.speeds, caps, problem.least, problem.most, classes)
