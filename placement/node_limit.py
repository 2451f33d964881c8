"""Node-limited routing: a token's experts come from at most M nodes, the ones where its best experts are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cluster import Cluster


def node_limited(scores: Any, shares: NDArray[np.float64], cluster: Cluster, top_k: int) -> NDArray[np.int64]:
    """The K experts of every token within its best `cluster.max_nodes` nodes, int64[T, K], best first.

    scores float[T, E], the router's, higher is better; shares float[E, P] as `assignment` gives it. A node counts with
    the sum of its K/M highest scores (rounded up), as in DeepSeek-V3 (arXiv 2412.19437, section 2.1.2). An expert with
    copies on several nodes is open to a token that keeps any of them. Ties go to the lower node and expert. Without a
    limit it is the plain top K. Raises ValueError, also where the nodes a token keeps hold fewer than K experts.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(shares) or np.isnan(scores).any():
        raise ValueError(f"scores: expected numbers [tokens, {len(shares)}], got shape {list(scores.shape)}")
    if not 1 <= top_k <= len(shares):
        raise ValueError(f"top_k: expected 1 to {len(shares)}, got {top_k}")
    if shares.shape[1] != cluster.ranks:
        raise ValueError(f"shares: expected [experts, {cluster.ranks}], got {list(shares.shape)}")
    limit = min(cluster.max_nodes or cluster.nodes, cluster.nodes)
    on_node = shares.reshape(len(shares), cluster.nodes, cluster.ranks_per_node).sum(axis=2) > 0
    best = -(-top_k // limit)
    node_scores = np.stack([_sum_of_best(scores[:, held], best) for held in on_node.T], axis=1)
    kept = np.argsort(-node_scores, axis=1, kind="stable")[:, :limit]
    open_to = on_node.T[kept].any(axis=1)
    short = open_to.sum(axis=1) < top_k
    if short.any():
        token = int(np.argmax(short))
        raise ValueError(
            f"top_k: expected at least {top_k} experts on the {limit} nodes of a token, got {open_to[token].sum()} "
            f"at token {token}"
        )
    return np.argsort(np.where(open_to, -scores, np.inf), axis=1, kind="stable")[:, :top_k]


def _sum_of_best(scores: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Sum of the `count` highest of each line; a node without experts is the last choice."""
    if not scores.shape[1]:
        return np.full(len(scores), -np.inf)
    return np.sort(scores, axis=1)[:, -count:].sum(axis=1)
