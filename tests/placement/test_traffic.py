"""Vectors counted in bulk against a loop over tokens that reads like the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mohge.placement import STYLES, Cluster, Link, count_traffic
from mohge.placement.copies import row_ranks
from mohge.placement.traffic import homes

WIRE = Link("wire", 1e-6, 1e9)
ONE_NODE, TWO_NODES, THREE_NODES = (Cluster("c", nodes, 6 // nodes, WIRE, WIRE) for nodes in (1, 2, 3))
EXPERTS = 10


def random_shares(seed: int, ranks: int = 6) -> np.ndarray:
    """Ten experts, some of them on two or three ranks with uneven shares."""
    generator = np.random.default_rng(seed)
    shares = np.zeros((EXPERTS, ranks))
    for expert in range(EXPERTS):
        copies = generator.choice(ranks, size=1 + expert % 3, replace=False)
        shares[expert, copies] = generator.dirichlet(np.ones(len(copies)))
    return shares


def random_ids(seed: int, tokens: int, top_k: int = 4) -> np.ndarray:
    return np.argsort(np.random.default_rng(seed).random((tokens, EXPERTS)), axis=1)[:, :top_k]


def token_by_token(
    ids: np.ndarray, shares: np.ndarray, cluster: Cluster, style: str, home: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors inside and between nodes."""
    width, node_of = cluster.ranks_per_node, cluster.node_of
    inside, between = np.zeros((6, 6)), np.zeros((6, 6))
    for own, destinations in zip(home, row_ranks(ids, shares), strict=True):
        if style == "by_node":
            for node in {int(node_of[rank]) for rank in destinations} - {int(node_of[own])}:
                gate = node * width + own % width
                between[own, gate] += 1
                for rank in {int(rank) for rank in destinations if node_of[rank] == node} - {gate}:
                    inside[gate, rank] += 1
            for rank in {int(rank) for rank in destinations if node_of[rank] == node_of[own]} - {int(own)}:
                inside[own, rank] += 1
            continue
        for rank in destinations.tolist() if style == "nccl" else sorted(set(destinations.tolist())):
            if rank != own:
                (inside if node_of[rank] == node_of[own] else between)[own, rank] += 1
    return inside, between


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("cluster", [ONE_NODE, TWO_NODES, THREE_NODES])
@pytest.mark.parametrize("seed", range(4))
def test_bulk_counts_are_those_of_single_tokens(style: str, cluster: Cluster, seed: int) -> None:
    ids, shares = random_ids(seed, 45), random_shares(seed)
    home = np.random.default_rng(seed).integers(0, 6, 45) if seed % 2 else homes(45, 6)
    traffic = count_traffic(ids, shares, cluster, style, None if seed % 2 == 0 else home)
    inside, between = token_by_token(ids, shares, cluster, style, home)
    assert traffic.inside.tolist() == inside.tolist()
    assert traffic.between.tolist() == between.tolist()
    assert traffic.rows.sum() == ids.size
    assert traffic.received.sum() == traffic.total
    assert traffic.expert_rows.sum(axis=1).tolist() == np.bincount(ids.ravel(), minlength=EXPERTS).tolist()


def test_deduplication_never_sends_more_and_nodes_never_cross_more() -> None:
    ids, shares = random_ids(9, 200), random_shares(9)
    nccl, by_rank, by_node = (count_traffic(ids, shares, TWO_NODES, style) for style in STYLES)
    assert (by_rank.matrix <= nccl.matrix).all()
    assert by_rank.total < nccl.total
    assert by_node.between.sum() < by_rank.between.sum()
    assert nccl.nodes_token == by_node.nodes_token


def test_tokens_over_the_node_limit_are_counted() -> None:
    shares = np.eye(6)
    limited = Cluster("c", 3, 2, WIRE, WIRE, max_nodes=1)
    traffic = count_traffic([[0, 1], [0, 2], [4, 5], [1, 5]], shares, limited)
    assert traffic.over_limit == 0.5
    assert traffic.nodes_token == 1.5
    assert count_traffic([[0, 1], [0, 2]], shares, THREE_NODES).over_limit == 0.0


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_few_tokens_and_all_on_one_expert(style: str, tokens: int) -> None:
    shares = np.eye(6)
    traffic = count_traffic(np.full((tokens, 1), 3), shares, TWO_NODES, style)
    assert traffic.rows.tolist() == [0, 0, 0, tokens, 0, 0]
    # One token a rank: of the first four only the one at home on rank 3 need not travel.
    assert traffic.between.sum() == min(tokens, 3)


def test_homes_are_equal_runs() -> None:
    assert homes(7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert homes(0, 3).tolist() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"style": "magic"}, "style: expected one of nccl, by_rank, by_node, got 'magic'"),
        ({"expert_ids": [[10]]}, "expert_ids: expected 0 to 9, got 10 to 10"),
        ({"expert_ids": [[0.5]]}, "expert_ids: expected whole numbers"),
        ({"expert_ids": [1, 2]}, "expert_ids: expected whole numbers"),
        ({"home": [0, 1]}, "home: expected one rank for each of 1 tokens"),
        ({"home": [6]}, "home: expected ranks 0 to 5, got 6 to 6"),
        ({"cluster": Cluster("c8", 1, 8, WIRE)}, "cluster 'c8': expected a placement on its 8 ranks, got 6"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments = {"expert_ids": [[0]], "shares": random_shares(0), "cluster": ONE_NODE, **change}
    with pytest.raises(ValueError, match=message):
        count_traffic(**arguments)
