from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mohge.placement import Cluster, Link, count_traffic, node_limited

WIRE = Link("wire", 1e-6, 1e9)
SHARES = np.eye(8)  # expert e on rank e; four nodes of two


def cluster(max_nodes: int | None) -> Cluster:
    return Cluster("c", 4, 2, WIRE, WIRE, max_nodes=max_nodes)


def test_without_a_limit_it_is_the_plain_top_k() -> None:
    scores = np.random.default_rng(0).random((20, 8))
    plain = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    assert node_limited(scores, SHARES, cluster(None), 3).tolist() == plain.tolist()
    assert node_limited(scores, SHARES, cluster(4), 3).tolist() == plain.tolist()


def test_the_nodes_with_the_best_experts_are_kept() -> None:
    # Two experts on one node: node 1 has 5 + 4, node 0 the single best expert but only 6 + 0 beside it.
    scores = [[6, 0, 5, 4, 3, 3, 1, 1]]
    assert node_limited(scores, SHARES, cluster(1), 2).tolist() == [[2, 3]]
    # On two nodes a node counts with its one best expert: nodes 0 and 1, and the top two are there.
    assert node_limited(scores, SHARES, cluster(2), 2).tolist() == [[0, 2]]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_token_leaves_its_nodes(limit: int) -> None:
    scores = np.random.default_rng(1).random((50, 8))
    ids = node_limited(scores, SHARES, cluster(limit), 2)
    traffic = count_traffic(ids, SHARES, cluster(limit))
    assert traffic.over_limit == 0
    assert traffic.nodes_token <= limit
    assert all(len(set(token)) == 2 for token in ids.tolist())


def test_an_expert_with_copies_is_open_from_each_of_its_nodes() -> None:
    shares = SHARES.copy()
    shares[0] = [0.5, 0, 0, 0, 0, 0, 0, 0.5]
    scores = [[1, 0, 0, 0, 0, 0, 9, 2]]
    assert node_limited(scores, shares, cluster(1), 3).tolist() == [[6, 7, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [[1, 2]]}, r"scores: expected numbers \[tokens, 8\]"),
        ({"scores": [[np.nan] * 8]}, r"scores: expected numbers"),
        ({"top_k": 0}, "top_k: expected 1 to 8, got 0"),
        ({"top_k": 3}, "expected at least 3 experts on the 1 nodes of a token, got 2 at token 0"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "scores": np.ones((1, 8)),
        "shares": SHARES,
        "cluster": cluster(1),
        "top_k": 2,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        node_limited(**arguments)
