"""Load-aware greedy policies: longest processing time first, and its form that keeps AGA's mix of widths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...reference import LayerSpec
from ..answer import Answer, one_each
from ..checks import check_whole
from ..problem import Problem, per_rank
from .fixed import aga_ranks
from .packing import Copies, Room, pack
from .policy import check_by, chunk_lengths, even_lengths
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
    sizes = problem.sizes.astype(np.float64) if problem.capped else None
    room = Room(problem.most[None, None], problem.speeds[None], problem.least[None], problem.caps[None])
    rank_of = pack(Copies(costs[None], sizes=None if sizes is None else sizes[None]), room)
    if rank_of[0, 0] < 0:
        raise ValueError(
            f"policy {policy!r}: memory_cap: expected room for every expert, and after packing none was left for one "
            f"of {int(problem.sizes.max())} bytes or less ({int(problem.sizes.sum())} bytes of experts, "
            f"{problem.caps.sum():.0f} bytes of caps)"
        )
    if swaps:
        limits = Limits(problem.speeds, problem.least, problem.most, sizes, problem.caps)
        rank_of = improve(rank_of, costs[None], limits)
    return rank_of[0]


def stratified(problem: Problem, by: str = "work") -> Answer:
    """Size-stratified and load-aware: AGA's widths on every rank, so exactly its memory, but experts chosen by load.

    AGA says how many experts of each width a rank holds. The dearest expert goes next, to the rank that would be done
    first among those with a place of its width left; then experts of one width change places as long as that helps.
    """
    check_by("stratified", by)
    aga = aga_ranks(problem.spec, chunk_lengths(problem))
    return one_each(_stratified(problem.balanced(by)[None], problem.spec, aga, problem.speeds)[0])


def stratify(costs: Any, spec: LayerSpec, ranks: int, speeds: Any = None) -> NDArray[np.int64]:
    """The policy `stratified` for many layers at once: the rank of every expert, int64[L, E], for costs float[L, E].

    speeds float[P], all 1 where not given. 58 layers of 256 experts in 8 widths on 32 ranks take 10 ms on one core (AMD
    EPYC), where a loop over the layers takes 242 ms; so NumPy is enough. Raises ValueError.
    """
    costs = checked_layers(costs, spec.experts)
    check_whole("ranks", ranks, 1)
    aga = aga_ranks(spec, even_lengths(spec.experts, ranks))
    return _stratified(costs, spec, aga, per_rank("speeds", 1.0 if speeds is None else speeds, ranks))


def checked_layers(costs: Any, experts: int | None = None) -> NDArray[np.float64]:
    """`costs` as float64[L, E]: finite, none negative. Raises ValueError."""
    array = np.asarray(costs, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != (experts or array.shape[1]) or not array.size:
        raise ValueError(f"costs: expected [layers, {experts or 'experts'}], got shape {list(array.shape)}")
    if not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError("costs: expected finite numbers of at least 0")
    return array


def _stratified(
    costs: NDArray[np.float64], spec: LayerSpec, aga: NDArray[np.int64], speeds: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Costs float64[L, E], AGA's ranks int64[E]. Within a class sizes are equal: caps are AGA's, checked afterwards."""
    classes = np.unique(spec.expert_widths, return_inverse=True)[1]
    places = np.zeros((int(classes.max()) + 1, len(speeds)), dtype=np.int64)
    np.add.at(places, (classes, aga), 1)
    no_least, no_cap = np.zeros((1, len(speeds)), dtype=np.int64), np.full(len(speeds), np.inf)
    copies = Copies(costs, classes=np.broadcast_to(classes, costs.shape))
    rank_of = pack(copies, Room(places[None], speeds[None], no_least, no_cap[None]))
    held = places.sum(axis=0)
    return improve(rank_of, costs, Limits(speeds, held, held, None, no_cap, classes))
