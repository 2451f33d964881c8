"""Expert-parallel load balancing with replicas, as DeepSeek's EPLB does it, written anew for one layer.

Where EPLB's answer would put two copies of an expert on one rank, ours trades a copy away; elsewhere they are equal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..answer import Answer, evenly
from ..problem import Problem
from .packing import Ranks, pack
from .policy import check_by

MODES = ("auto", "hierarchical", "global")


def eplb(problem: Problem, by: str = "rows", mode: str = "auto", groups: int | None = None) -> Answer:
    """Replicate the expert with the most cost a copy until no replica is left, then pack the copies.

    hierarchical: groups of experts are packed to the nodes, replicas made inside each node, and their copies packed to
    the node's ranks, so that a group stays on one node; groups and ranks must divide evenly. global: replicas and ranks
    anywhere. auto: hierarchical where the nodes divide the groups and everything else divides, as EPLB chooses.
    by: "rows", as EPLB counts, or "work". groups: G of the spec where not given. Every copy takes an equal share.
    Raises ValueError.
    """
    check_by("eplb", by)
    groups = problem.spec.groups if groups is None else groups
    if mode not in MODES:
        raise ValueError(f"policy 'eplb': mode: expected one of {', '.join(MODES)}, got {mode!r}")
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or problem.spec.experts % groups:
        raise ValueError(
            f"policy 'eplb': groups: expected a number that divides {problem.spec.experts} experts, got {groups!r}"
        )
    reason = _not_hierarchical(problem, groups)
    if mode == "hierarchical" and reason:
        raise ValueError(f"policy 'eplb': mode hierarchical: {reason}")
    if mode == "global" or (mode == "auto" and (reason or problem.nodes == 1)):
        groups, nodes = 1, 1
        note = f"global, because {reason}" if mode == "auto" and reason else ""
    else:
        nodes, note = problem.nodes, f"groups stay on one of {problem.nodes} nodes"
    held = _place(problem, problem.balanced(by), groups, nodes)
    experts = problem.spec.experts
    return evenly([np.flatnonzero([expert in set(rank) for rank in held]) for expert in range(experts)], note)


def rebalance(costs: NDArray[np.float64], replicas: int, groups: int, nodes: int, ranks: int) -> list[list[int]]:
    """The experts on each rank, in the order they were packed: costs float[E], `replicas` spare copies.

    `groups` and `nodes` 1 for the global way. E + replicas must divide evenly by `ranks`. Flattened it is EPLB's phy2log.
    """
    costs = np.asarray(costs, dtype=np.float64)
    each = (len(costs) + replicas) // ranks
    room = np.full(ranks, each, dtype=np.int64)
    no_limit = Ranks(room, room, np.ones(ranks), np.full(ranks, np.inf))
    return _rebalance(costs, np.zeros(len(costs), dtype=np.int64), replicas, groups, nodes, no_limit)


def replicate(costs: NDArray[np.float64], copies: int, most: int) -> NDArray[np.int64]:
    """The expert of every copy, int64[copies]: one each, then again and again the one with the most cost a copy.

    No expert gets more than `most` copies, one for each rank. Ties go to the lower expert.
    """
    count = np.ones(len(costs), dtype=np.int64)
    experts = list(range(len(costs)))
    for _ in range(copies - len(costs)):
        expert = int(np.argmax(np.where(count < most, costs / count, -1.0)))
        experts.append(expert)
        count[expert] += 1
    return np.array(experts, dtype=np.int64)


def _not_hierarchical(problem: Problem, groups: int) -> str | None:
    """Why groups cannot each stay on a node, or None."""
    nodes = problem.nodes
    for what, number, parts in (
        (f"{groups} groups", groups, nodes),
        (f"{problem.copies} copies", problem.copies, problem.ranks),
    ):
        if number % parts:
            return f"{parts} {'nodes' if parts == nodes else 'ranks'} do not divide {what}"
    if problem.slots == "given":
        return "slots were given"
    most = problem.spec.experts * (problem.ranks // nodes)
    return None if problem.copies <= most else f"{problem.copies} copies do not fit {nodes} nodes without a double"


def _place(problem: Problem, costs: NDArray[np.float64], groups: int, nodes: int) -> list[list[int]]:
    limits = Ranks(problem.least, problem.most, problem.speeds, problem.caps)
    try:
        return _rebalance(costs, problem.sizes, problem.replicas, groups, nodes, limits)
    except LookupError:
        raise ValueError(
            f"policy 'eplb': memory_cap, slots: expected room for {problem.copies} copies of {problem.spec.experts} "
            f"experts with none twice on a rank, and packing found none on {problem.ranks} ranks"
        ) from None


def _rebalance(
    costs: NDArray[np.float64], sizes: NDArray[np.int64], replicas: int, groups: int, nodes: int, ranks: Ranks
) -> list[list[int]]:
    """Steps: groups to nodes; replicas in each node; copies to the node's ranks. LookupError where packing fails."""
    per_node = len(ranks.least) // nodes
    held: list[list[int]] = []
    for node, experts in enumerate(_experts_of_nodes(costs, groups, nodes)):
        own = slice(node * per_node, (node + 1) * per_node)
        node_ranks = Ranks(ranks.least[own], ranks.most[own], ranks.speeds[own], ranks.caps[own])
        copies = replicate(costs[experts], len(experts) + replicas // nodes, per_node)
        each = costs[experts][copies] / np.bincount(copies)[copies]
        rank_of = pack(each, copies, sizes[experts][copies], node_ranks)
        if rank_of is None:
            raise LookupError
        order = np.argsort(-each, kind="stable")
        held += [[int(experts[copies[copy]]) for copy in order if rank_of[copy] == rank] for rank in range(per_node)]
    return held


def _experts_of_nodes(costs: NDArray[np.float64], groups: int, nodes: int) -> list[NDArray[np.int64]]:
    """The experts of every node, whole groups in the order they were packed to it, int64[E / nodes] each."""
    size = len(costs) // groups
    by_group = costs.reshape(groups, size).sum(axis=1)
    room = np.full(nodes, groups // nodes, dtype=np.int64)
    packed = pack(
        by_group,
        np.arange(groups),
        np.zeros(groups, dtype=np.int64),
        Ranks(room, room, np.ones(nodes), np.full(nodes, np.inf)),
    )
    assert packed is not None  # nothing but the room limits it, and that is as large as the groups are many
    if groups == nodes:  # EPLB leaves one group a node where it is
        packed = np.arange(groups)
    order = np.argsort(-by_group, kind="stable")
    return [
        np.concatenate([np.arange(group * size, (group + 1) * size) for group in order if packed[group] == node])
        for node in range(nodes)
    ]
