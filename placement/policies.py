"""Placement policies: pure functions from a layer and its loads to a rank for every expert.

Each takes (spec, loads, ranks) with loads float or int[E], rows per expert, already checked, and returns rank_of
int64[E]. Every rank gets floor(E/P) or ceil(E/P) experts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference import LayerSpec, expert_parameters

LPT_COSTS = ("work", "rows")


@dataclass(frozen=True)
class Policy:
    """A way to make a placement.

    name:         what `allocate`, the command line and records call it
    description:  one line for people
    function:     (spec, loads, ranks, **options) -> rank_of int64[E]
    options:      the names of the options it takes
    """

    name: str
    description: str
    function: Callable[..., NDArray[np.int64]]
    options: tuple[str, ...] = ()


def aga(spec: LayerSpec, _loads: NDArray[Any], ranks: int) -> NDArray[np.int64]:
    """All-size group-decoupling allocation, exactly as released (arXiv 2604.23108): blind to loads.

    Experts [G, N] are laid out as [N, G'] with the groups in the order 0, G-1, 1, G-2, ..., so that narrow stands next
    to wide, and the ranks take contiguous chunks. The order is that of group numbers, whatever their widths. Two cases
    are settled here: the middle group of an odd G comes last, and where P does not divide E the first E mod P ranks
    take one expert more.
    """
    layout = np.arange(spec.experts).reshape(spec.groups, spec.experts_per_group)[_narrow_next_to_wide(spec.groups)]
    return _in_chunks(layout.T.ravel(), ranks)


def contiguous(spec: LayerSpec, _loads: NDArray[Any], ranks: int) -> NDArray[np.int64]:
    """Experts in the order of their ids, the usual way of expert parallelism: whole groups share a rank."""
    return _in_chunks(np.arange(spec.experts), ranks)


def round_robin(spec: LayerSpec, _loads: NDArray[Any], ranks: int) -> NDArray[np.int64]:
    """Expert e on rank e mod P."""
    return np.arange(spec.experts, dtype=np.int64) % ranks


def lpt(spec: LayerSpec, loads: NDArray[Any], ranks: int, by: str = "work") -> NDArray[np.int64]:
    """Longest processing time first: the dearest expert next, to the cheapest rank that still has room.

    The cost is work (FLOPs) or, with ``by="rows"``, rows alone as tools for equal experts count. Room is floor(E/P)
    experts, and one more on the first E mod P ranks to ask for it. Ties go to the lower expert id and the lower rank.
    """
    if by not in LPT_COSTS:
        raise ValueError(f"policy 'lpt': by: expected one of {', '.join(LPT_COSTS)}, got {by!r}")
    costs = loads * expert_parameters(spec) if by == "work" else loads
    least, extra = divmod(spec.experts, ranks)
    held = np.zeros(ranks, dtype=np.int64)
    cost = np.zeros(ranks, dtype=np.float64)
    rank_of = np.empty(spec.experts, dtype=np.int64)
    for expert in np.argsort(-np.asarray(costs, dtype=np.float64), kind="stable"):
        room = held < least
        if (held > least).sum() < extra:
            room |= held == least
        rank = int(np.argmin(np.where(room, cost, np.inf)))
        rank_of[expert] = rank
        held[rank] += 1
        cost[rank] += costs[expert]
    return rank_of


def _narrow_next_to_wide(groups: int) -> list[int]:
    """0, G-1, 1, G-2, ...: for G = 5 it is 0, 4, 1, 3, 2."""
    return [place // 2 if place % 2 == 0 else groups - 1 - place // 2 for place in range(groups)]


def _in_chunks(layout: NDArray[np.int64], ranks: int) -> NDArray[np.int64]:
    """Contiguous chunks of `layout` to ranks 0, 1, ...; the first E mod P chunks are one longer."""
    rank_of = np.empty(len(layout), dtype=np.int64)
    for rank, experts in enumerate(np.array_split(layout, ranks)):
        rank_of[experts] = rank
    return rank_of


POLICIES: dict[str, Policy] = {
    "aga": Policy("aga", "released MoHGE: every rank the same mix of widths, blind to loads", aga),
    "contiguous": Policy("contiguous", "experts in the order of their ids", contiguous),
    "round_robin": Policy("round_robin", "expert e on rank e mod P", round_robin),
    "lpt": Policy("lpt", "dearest expert first, to the rank with the least work", lpt, options=("by",)),
}
