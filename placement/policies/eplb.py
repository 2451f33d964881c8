"""Expert-parallel load balancing with replicas, as DeepSeek's EPLB does it, written anew for many layers at once.

Where EPLB's answer would put two copies of an expert on one rank, ours trades a copy away; elsewhere they are equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..answer import Answer, evenly
from ..checks import check_whole
from ..problem import Problem
from .greedy import checked_layers
from .packing import Copies, Room, pack
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
        note = f"global, because {reason}" if mode == "auto" and problem.nodes > 1 else ""
    else:
        nodes, note = problem.nodes, f"groups stay on one of {problem.nodes} nodes"
    sizes = problem.sizes.astype(np.float64) if problem.capped else None
    experts, rank_of = _packed(problem.balanced(by)[None], groups, problem.replicas, _room(problem, nodes), sizes)
    if (rank_of < 0).any():
        raise ValueError(
            f"policy 'eplb': memory_cap, slots: expected room for {problem.copies} copies of {problem.spec.experts} "
            f"experts with none twice on a rank, and packing found none on {problem.ranks} ranks"
        )
    return evenly([rank_of[0, experts[0] == expert] for expert in range(problem.spec.experts)], note)


def rebalance(costs: Any, replicas: int, ranks: int, groups: int = 1, nodes: int = 1) -> NDArray[np.int64]:
    """The policy `eplb` for many layers at once: the experts on each rank, int64[L, P, C/P], for costs float[L, E].

    `replicas` spare copies, C = E + replicas; groups and nodes 1 for the global way. On each rank experts stand in the
    order they were packed, so flattened over ranks a layer is EPLB's phy2log. 58 layers of 256 experts with 32 replicas
    on 32 ranks take 11 ms on one core (AMD EPYC), 6 ms on 4 nodes, where a loop over the layers takes 272 and 86 ms; so
    NumPy is enough. Raises ValueError where something does not divide evenly, or more copies are asked for than fit
    without two of an expert on a rank.
    """
    costs = checked_layers(costs)
    layers, experts = costs.shape
    for name, value, least in (
        ("replicas", replicas, 0),
        ("ranks", ranks, 1),
        ("groups", groups, 1),
        ("nodes", nodes, 1),
    ):
        check_whole(name, value, least)
    for what, number, parts in (
        ("groups: expected a number that divides the experts", experts, groups),
        ("nodes: expected a number that divides the groups", groups, nodes),
        ("nodes: expected a number that divides the ranks", ranks, nodes),
        ("ranks: expected a number that divides the copies", experts + replicas, ranks),
    ):
        if number % parts:
            raise ValueError(f"{what}, got {number} and {parts}")
    if experts + replicas > experts * (ranks // nodes):
        raise ValueError(f"replicas: expected at most {experts * (ranks // nodes - 1)}, got {replicas}")
    each, width = (experts + replicas) // ranks, ranks // nodes
    full = np.full((nodes, width), each, dtype=np.int64)
    room = Room(full[:, None], np.ones((nodes, width)), full, np.full((nodes, width), np.inf))
    held, rank_of = _packed(costs, groups, replicas, room)
    order = np.argsort(rank_of, axis=1, kind="stable")
    return np.take_along_axis(held, order, axis=1).reshape(layers, ranks, each)


def replicate(costs: NDArray[np.float64], copies: int, most: int) -> NDArray[np.int64]:
    """The expert of every copy, int64[L, copies]: one each, then again and again the one with the most cost a copy.

    costs float64[L, E]. No expert gets more than `most` copies, one for each rank. Ties go to the lower expert.
    """
    layers, experts = costs.shape
    line = np.arange(layers)
    count = np.ones((layers, experts))
    each = costs.copy()
    found = np.empty((layers, copies), dtype=np.int64)
    found[:, :experts] = np.arange(experts)
    for copy in range(experts, copies):
        expert = each.argmax(axis=1)
        found[:, copy] = expert
        count[line, expert] += 1
        now = count[line, expert]
        each[line, expert] = np.where(now < most, costs[line, expert] / now, -1.0)
    return found


def _not_hierarchical(problem: Problem, groups: int) -> str | None:
    """Why groups cannot each stay on a node, or None."""
    nodes = problem.nodes
    if groups % nodes:
        return f"{nodes} nodes do not divide {groups} groups"
    if problem.copies % problem.ranks:
        return f"{problem.ranks} ranks do not divide {problem.copies} copies"
    if problem.slots == "given":
        return "slots were given"
    most = problem.spec.experts * (problem.ranks // nodes)
    return None if problem.copies <= most else f"{problem.copies} copies do not fit {nodes} nodes without a double"


def _room(problem: Problem, nodes: int) -> Room:
    """The room of each node, one line a node."""
    shape = (nodes, problem.ranks // nodes)
    return Room(
        problem.most.reshape(nodes, 1, -1),
        problem.speeds.reshape(shape),
        problem.least.reshape(shape),
        problem.caps.reshape(shape),
    )


def _packed(
    costs: NDArray[np.float64], groups: int, replicas: int, room: Room, sizes: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All copies in the order they were packed, node after node: the expert and the rank of each, int64[L, C] twice.

    room: of each node, one line a node; sizes float64[E] where memory matters. Steps: groups to nodes; replicas in each
    node; copies to the node's ranks. Ranks are -1 where packing failed.
    """
    layers, (nodes, width) = len(costs), room.speeds.shape
    experts = _experts_of_nodes(costs, groups, nodes)  # [L * nodes, E / nodes]
    own = costs[np.repeat(np.arange(layers), nodes)[:, None], experts]
    copies = replicate(own, experts.shape[1] + replicas // nodes, width)
    line = np.arange(len(copies))[:, None]
    count = np.zeros_like(experts)
    np.add.at(count, (line, copies), 1)
    each = own[line, copies] / count[line, copies]
    held = experts[line, copies]
    if sizes is None and np.ptp(room.speeds) == 0 and (room.places == 1).all() and copies.shape[1] == width:
        rank_of = np.broadcast_to(np.arange(width), copies.shape).copy()  # EPLB leaves one copy a rank where it is
    else:
        sizes_held = None if sizes is None else sizes[held]
        rank_of = pack(Copies(each, copies if replicas else None, sizes_held), room.repeated(layers))
    rank_of += np.where(rank_of < 0, 0, np.tile(np.arange(nodes) * width, layers)[:, None])
    order = np.argsort(-each, axis=1, kind="stable")
    return held[line, order].reshape(layers, -1), rank_of[line, order].reshape(layers, -1)


def _experts_of_nodes(costs: NDArray[np.float64], groups: int, nodes: int) -> NDArray[np.int64]:
    """The experts of every node, whole groups in the order they were packed to it, int64[L * nodes, E / nodes]."""
    layers, size = len(costs), costs.shape[1] // groups
    by_group = costs.reshape(layers, groups, size).sum(axis=2)
    if groups == nodes:  # EPLB leaves one group a node where it is
        packed = np.broadcast_to(np.arange(groups), by_group.shape)
    else:
        room = np.full((1, nodes), groups // nodes, dtype=np.int64)
        packed = pack(Copies(by_group), Room(room[:, None], np.ones((1, nodes)), room, np.full((1, nodes), np.inf)))
    order = np.argsort(-by_group, axis=1, kind="stable")
    order = np.take_along_axis(
        order, np.argsort(np.take_along_axis(packed, order, axis=1), axis=1, kind="stable"), axis=1
    )
    return (order[:, :, None] * size + np.arange(size)).reshape(layers * nodes, -1)
