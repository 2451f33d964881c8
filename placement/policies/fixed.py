"""Policies that look at expert ids and widths alone, never at loads, speeds or memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...reference import LayerSpec
from ..answer import Answer, one_each
from ..problem import Problem
from .policy import chunk_lengths, once_each


def aga(problem: Problem) -> Answer:
    """All-size group-decoupling allocation, exactly as released (arXiv 2604.23108): blind to loads.

    Experts [G, N] are laid out as [N, G'] with the groups in the order 0, G-1, 1, G-2, ..., so that narrow stands next
    to wide, and the ranks take contiguous chunks. The order is that of group numbers, whatever their widths. Two cases
    are settled here and said in the note: the middle group of an odd G comes last, and where P does not divide E the
    first E mod P ranks take one expert more.
    """
    groups = problem.spec.groups
    note = f"{groups} groups are odd in number: group {groups // 2} has no partner and comes last" if groups % 2 else ""
    return one_each(aga_ranks(problem.spec, chunk_lengths(problem)), note if groups > 1 else "")


def aga_ranks(spec: LayerSpec, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """AGA's rank of every expert, int64[E], where the ranks take chunks of these lengths, int64[P]."""
    layout = np.arange(spec.experts).reshape(spec.groups, spec.experts_per_group)[_narrow_next_to_wide(spec.groups)]
    return _in_chunks(layout.T.ravel(), lengths)


def contiguous(problem: Problem) -> Answer:
    """Experts in the order of their ids, the usual way of expert parallelism: whole groups share a rank."""
    return one_each(_in_chunks(np.arange(problem.spec.experts), chunk_lengths(problem)))


def round_robin(problem: Problem) -> Answer:
    """Expert e on rank e mod P."""
    return one_each(np.arange(problem.spec.experts, dtype=np.int64) % problem.ranks)


def round_robin_reason(problem: Problem) -> str | None:
    """It deals one expert to each rank in turn, so it cannot fill given slots."""
    if problem.slots == "given":
        return f"deals experts to the ranks in turn, and the slots {problem.least.tolist()} were given"
    return once_each(problem)


def one_size_per_rank(problem: Problem) -> Answer:
    """Every rank holds experts of one width only, each width on as many ranks as its share of the experts.

    It is what a kernel that cannot mix widths would need, and the opposite of AGA. Widths in ascending order, experts
    of a width in the order of their ids, in chunks within one of each other.
    """
    rank_of = np.empty(problem.spec.experts, dtype=np.int64)
    widths = problem.spec.expert_widths
    first = 0
    for width, held in zip(*np.unique(widths, return_counts=True), strict=True):
        ranks = int(held) * problem.ranks // problem.spec.experts
        experts = np.flatnonzero(widths == width)
        for rank, chunk in enumerate(np.array_split(experts, ranks)):
            rank_of[chunk] = first + rank
        first += ranks
    return one_each(rank_of)


def one_size_reason(problem: Problem) -> str | None:
    """Every width must fill a whole number of ranks."""
    experts = problem.spec.experts
    widths, held = np.unique(problem.spec.expert_widths, return_counts=True)
    partial = (held * problem.ranks) % experts != 0
    if partial.any():
        width, count = widths[np.argmax(partial)], held[np.argmax(partial)]
        return (
            f"needs a whole number of ranks for every width, and the {count} of {experts} experts of width {width} "
            f"make {count * problem.ranks / experts:g} of {problem.ranks} ranks"
        )
    if problem.slots == "given":
        return f"fills every rank with its share of one width, and the slots {problem.least.tolist()} were given"
    return once_each(problem)


def _narrow_next_to_wide(groups: int) -> list[int]:
    """0, G-1, 1, G-2, ...: for G = 5 it is 0, 4, 1, 3, 2."""
    return [place // 2 if place % 2 == 0 else groups - 1 - place // 2 for place in range(groups)]


def _in_chunks(layout: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Contiguous chunks of `layout` to ranks 0, 1, ..., each of its length."""
    rank_of = np.empty(len(layout), dtype=np.int64)
    rank_of[layout] = np.repeat(np.arange(len(lengths)), lengths)
    return rank_of
