"""Rows sorted by expert, and back: what every dispatch backend is compared with, in plain NumPy float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .routing import Routing, check_routing
from .spec import LayerSpec


@dataclass(frozen=True)
class Permutation:
    """A routing in memory order: rows sorted by expert, then token, then slot.

    expert_offsets: int64[E + 1]  rows expert_offsets[e] to expert_offsets[e + 1] belong to expert e
    row_token:      int64[R]      the token whose hidden vector is row r
    token_row:      int64[T, K]   the row of token t's k-th expert (the inverse map)
    row_weight:     float64[R]    the combine weight of row r

    T = 2 tokens, K = 2, E = 3; nobody uses expert 1:

    >>> spec = LayerSpec("tiny", hidden=1, widths=(1,), experts_per_group=3, top_k=2, top_groups=1)
    >>> routing = Routing(expert_ids=np.array([[2, 0], [0, 2]]), weights=np.array([[0.7, 0.3], [0.6, 0.4]]))
    >>> rows = permutation(routing, spec)
    >>> rows.expert_offsets.tolist(), rows.row_token.tolist(), rows.token_row.tolist()
    ([0, 2, 2, 4], [0, 1, 0, 1], [[2, 0], [1, 3]])
    >>> rows.row_weight.tolist()
    [0.3, 0.6, 0.7, 0.4]
    """

    expert_offsets: NDArray[np.int64]
    row_token: NDArray[np.int64]
    token_row: NDArray[np.int64]
    row_weight: NDArray[np.float64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """n_e, rows of every expert, int64[E]."""
        return np.diff(self.expert_offsets)


def permutation(routing: Routing, spec: LayerSpec) -> Permutation:
    """Sort the R = T * K (token, slot) pairs by expert; pairs of one expert keep their order, token before slot.

    Raises ValueError for a routing that is not one for `spec`.
    """
    check_routing(routing, spec)
    expert_ids = np.asarray(routing.expert_ids)
    order = np.argsort(expert_ids, axis=None, kind="stable")  # flat index token * K + slot: stable keeps both orders
    token_row = np.empty(order.size, dtype=np.int64)
    token_row[order] = np.arange(order.size)
    return Permutation(
        expert_offsets=np.concatenate([[0], np.cumsum(expert_counts(routing, spec))]),
        row_token=order // spec.top_k,
        token_row=token_row.reshape(expert_ids.shape),
        row_weight=np.asarray(routing.weights, dtype=np.float64).ravel()[order],
    )


def expert_counts(routing: Routing, spec: LayerSpec) -> NDArray[np.int64]:
    """n_e, rows routed to every expert, int64[E]. Raises ValueError for a routing that is not one for `spec`."""
    check_routing(routing, spec)
    ids = np.asarray(routing.expert_ids).astype(np.int64)
    return np.bincount(ids.ravel(), minlength=spec.experts)


def permute_rows(x: Any, rows: Permutation) -> NDArray[np.float64]:
    """Gather x float[T, H] into row order, float64[R, H]. Raises ValueError when x has another number of tokens."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or len(x) != len(rows.token_row):
        raise ValueError(f"x: expected shape [{len(rows.token_row)}, hidden], got {list(x.shape)}")
    return x[rows.row_token]


def combine_rows(values: Any, rows: Permutation) -> NDArray[np.float64]:
    """y_t = sum over k, first slot first, of row_weight[r] * values[r] with r = token_row[t, k].

    values float[R, H]; result float64[T, H]. Raises ValueError when there is not one value vector per row.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or len(values) != len(rows.row_token):
        raise ValueError(f"rows: expected shape [{len(rows.row_token)}, hidden], got {list(values.shape)}")
    tokens, top_k = rows.token_row.shape
    y = np.zeros((tokens, values.shape[1]))
    for slot in range(top_k):
        row = rows.token_row[:, slot]
        y += rows.row_weight[row, None] * values[row]
    return y
