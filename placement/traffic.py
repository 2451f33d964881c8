"""How many hidden vectors each pair of ranks exchanges, from which experts each token really uses together.

A token lives on its home rank and has K rows, each computed on the rank that holds the expert. Three ways to send it:

    nccl     one vector for every row computed on another rank
    by_rank  one for every distinct other rank
    by_node  one for every distinct other node, to the rank of that node with the sender's own place in it, which passes
             it on to the ranks of its node that need it (DeepEP's normal kernels); inside the home node as by_rank

The combine sends the same vectors the other way round: its matrix is the transpose, reduced at the same places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cluster import Cluster
from .copies import row_ranks

STYLES = ("nccl", "by_rank", "by_node")


@dataclass(frozen=True)
class Traffic:
    """Vectors on the wire in a dispatch. Line = sender, column = receiver; the diagonals are 0.

    style:        one of STYLES
    inside:       float64[P, P]  between ranks of one node
    between:      float64[P, P]  between nodes
    expert_rows:  float64[E, P]  rows of each expert that each rank computes
    provenance:   "co-activation" (counted token by token) or "independence" (expected, from a formula)
    nodes_token:  mean number of distinct nodes that hold a token's experts, its home among them only if it holds one
    over_limit:   share of tokens whose experts lie on more nodes than the cluster's `max_nodes` allows; 0 without one
    """

    style: str
    inside: NDArray[np.float64]
    between: NDArray[np.float64]
    expert_rows: NDArray[np.float64]
    provenance: str
    nodes_token: float
    over_limit: float = 0.0

    @property
    def rows(self) -> NDArray[np.float64]:
        """Rows each rank computes, float64[P]."""
        return self.expert_rows.sum(axis=0)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Vectors from each rank to each other, over whatever link, float64[P, P]."""
        return self.inside + self.between

    @property
    def total(self) -> float:
        """Vectors on all links; one passed on inside a node counts once more there."""
        return float(self.inside.sum() + self.between.sum())

    @property
    def received(self) -> NDArray[np.float64]:
        """Vectors each rank receives in the dispatch, float64[P]; what has to be passed on is among them."""
        return self.matrix.sum(axis=0)


def homes(tokens: int, ranks: int) -> NDArray[np.int64]:
    """The home rank of every token, int64[T]: equal runs of the batch, the first T mod P ranks one token more."""
    least, extra = divmod(tokens, ranks)
    return np.repeat(np.arange(ranks, dtype=np.int64), [least + (rank < extra) for rank in range(ranks)])


def count_traffic(
    expert_ids: Any,
    shares: NDArray[np.float64],
    cluster: Cluster,
    style: str = "by_rank",
    home: Any = None,
) -> Traffic:
    """Count vectors token by token.

    expert_ids int[T, K]; shares float[E, P] as `assignment` gives it; home int[T], the rank each token lives on, or
    None for equal runs of the batch. Rows of replicated experts go where `row_ranks` deals them. Raises ValueError.
    """
    check_style(style)
    ids = checked_ids(expert_ids, shares)
    ranks, tokens = cluster.ranks, len(ids)
    check_ranks(shares, cluster)
    home = homes(tokens, ranks) if home is None else checked_home(home, tokens, ranks)
    destination = row_ranks(ids, shares)
    node_of = cluster.node_of
    to_rank = _pairs(np.arange(tokens)[:, None], destination, (tokens, ranks))  # rows of each token on each rank
    touched = to_rank > 0
    on_nodes: NDArray[Any] = np.any(touched.reshape(tokens, cluster.nodes, cluster.ranks_per_node), axis=2)
    vectors = _by_home(to_rank if style == "nccl" else touched, home, ranks)  # those of its tokens that each rank needs
    if style == "by_node":
        inside, between = passed_on(vectors, _by_home(on_nodes, home, ranks), cluster)
    else:
        inside, between = split(vectors, node_of)
    expert_rows = _pairs(ids, destination, shares.shape).astype(np.float64)
    spread = on_nodes.sum(axis=1)
    limit = cluster.max_nodes or cluster.nodes
    return Traffic(
        style=style,
        inside=inside,
        between=between,
        expert_rows=expert_rows,
        provenance="co-activation",
        nodes_token=float(spread.mean()) if tokens else 0.0,
        over_limit=float((spread > limit).mean()) if tokens else 0.0,
    )


def _pairs(first: NDArray[np.int64], second: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int64]:
    """How often each pair of whole numbers comes up, int64[shape]; many times faster than np.add.at."""
    return np.bincount((first * shape[1] + second).ravel(), minlength=shape[0] * shape[1]).reshape(shape)


def _by_home(values: NDArray[Any], home: NDArray[np.int64], ranks: int) -> NDArray[np.float64]:
    """Values [T, M] summed over the tokens of each home rank, float64[P, M]."""
    total = np.zeros((ranks, values.shape[1]))
    present = np.flatnonzero(np.bincount(home, minlength=ranks))
    if (np.diff(home) < 0).any():
        order = np.argsort(home, kind="stable")
        home, values = home[order], values[order]
    if len(present):
        total[present] = np.add.reduceat(values, np.searchsorted(home, present), axis=0, dtype=np.int64)
    return total


def split(vectors: NDArray[np.float64], node_of: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Part vectors [P, P] sent straight to where they are needed into those inside nodes and those between nodes."""
    same = node_of[:, None] == node_of
    inside = np.where(same, vectors, 0.0)
    np.fill_diagonal(inside, 0.0)
    return inside, np.where(same, 0.0, vectors)


def passed_on(
    vectors: NDArray[np.float64], node_vectors: NDArray[np.float64], cluster: Cluster
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inside and between for by_node: vectors [P, P] that ranks need, node_vectors [P, nodes] sent to each node.

    The k-th rank of a node sends to the k-th rank of another, which keeps what it needs itself and passes the rest on.
    """
    width, node_of = cluster.ranks_per_node, cluster.node_of
    inside, _ = split(vectors, node_of)
    between = np.zeros_like(vectors)
    for sender in range(cluster.ranks):
        for node in range(cluster.nodes):
            if node == node_of[sender]:
                continue
            gate = node * width + sender % width
            between[sender, gate] = node_vectors[sender, node]
            needed = vectors[sender, node * width : (node + 1) * width].copy()
            needed[sender % width] = 0.0
            inside[gate, node * width : (node + 1) * width] += needed
    return inside, between


def check_style(style: str) -> None:
    """Raise ValueError unless `style` is one of STYLES."""
    if style not in STYLES:
        raise ValueError(f"style: expected one of {', '.join(STYLES)}, got {style!r}")


def check_ranks(shares: NDArray[np.float64], cluster: Cluster) -> None:
    """Raise ValueError unless the placement and the cluster have the same ranks."""
    if shares.shape[1] != cluster.ranks:
        raise ValueError(
            f"cluster {cluster.name!r}: expected a placement on its {cluster.ranks} ranks, got {shares.shape[1]}"
        )


def checked_ids(expert_ids: Any, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """expert_ids as int64[T, K]. Raises ValueError for another shape, numbers that are not whole or no expert's."""
    ids = np.asarray(expert_ids)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"expert_ids: expected whole numbers [tokens, top_k], got {ids.dtype} {list(ids.shape)}")
    if ids.size and not 0 <= ids.min() <= ids.max() < len(shares):
        raise ValueError(f"expert_ids: expected 0 to {len(shares) - 1}, got {ids.min()} to {ids.max()}")
    return ids.astype(np.int64)


def checked_home(home: Any, tokens: int, ranks: int) -> NDArray[np.int64]:
    """Home as int64[T]. Raises ValueError."""
    home = np.asarray(home)
    if home.shape != (tokens,) or not np.issubdtype(home.dtype, np.integer):
        raise ValueError(f"home: expected one rank for each of {tokens} tokens, got {home.dtype} {list(home.shape)}")
    if tokens and not 0 <= home.min() <= home.max() < ranks:
        raise ValueError(f"home: expected ranks 0 to {ranks - 1}, got {home.min()} to {home.max()}")
    return home.astype(np.int64)
