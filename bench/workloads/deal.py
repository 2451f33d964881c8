"""From rows per expert to a routing whose tokens have distinct experts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...reference import LayerSpec, Routing, check_routing


def deal(
    counts: NDArray[np.int64], tokens: int, top_k: int, generator: np.random.Generator, first_slot: int | None = None
) -> NDArray[np.int64]:
    """Expert ids int64[T, K], distinct within a token, in which expert e occurs exactly counts[e] times.

    counts int[E] must sum to T*K with no entry above T. Rows sorted by expert are dealt like cards, one to each token
    and then round again, in a new random order of the tokens every round. An expert has at most T rows, so only one
    that straddles two rounds could meet a token twice; its rows of the new round go to tokens it has not met. Slots
    are shuffled in the end; `first_slot` names an expert that then moves to slot 0 wherever it occurs.
    """
    order = generator.permutation(len(counts))
    rows = np.repeat(order, counts[order])
    if len(rows) != tokens * top_k or (tokens and int(counts.max()) > tokens):
        raise ValueError(
            f"counts: expected {tokens * top_k} rows with at most {tokens} an expert, got {counts.tolist()}"
        )
    ids = np.empty((tokens, top_k), dtype=np.int64)
    for slot in range(top_k if tokens else 0):
        part = rows[slot * tokens : (slot + 1) * tokens]
        receivers = generator.permutation(tokens)
        if slot and part[0] == rows[slot * tokens - 1]:
            met = ids[receivers, slot - 1] == part[0]
            head = int(np.count_nonzero(part == part[0]))
            free, rest = receivers[~met][:head], np.concatenate([receivers[~met][head:], receivers[met]])
            receivers = np.concatenate([free, generator.permutation(rest)])
        ids[receivers, slot] = part
    ids = generator.permuted(ids, axis=1)
    if first_slot is not None:
        _move_first(ids, first_slot)
    return ids


def _move_first(ids: NDArray[np.int64], expert: int) -> None:
    token, slot = np.nonzero(ids == expert)
    ids[token, slot] = ids[token, 0]
    ids[token, 0] = expert


def combine_weights(tokens: int, top_k: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Combine weights float32[T, K] for a routing that has none of its own: softmax of K normal scores, best first.

    They sum to 1 for every token, are all positive and fall from slot to slot, as a router's do.
    """
    scores = -np.sort(-generator.standard_normal((tokens, top_k)), axis=1)
    weights = np.exp(scores - scores.max(axis=1, initial=0.0, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def checked(routing: Routing, spec: LayerSpec, counts: NDArray[np.int64]) -> Routing:
    """`routing`, after checking that it fits `spec` and has exactly the promised `counts` int[E]. Raises ValueError."""
    check_routing(routing, spec)
    got = routing_counts(routing, spec.experts)
    if not np.array_equal(got, counts):
        expert = int(np.argmax(got != counts))
        raise ValueError(f"promised expert {expert} {counts[expert]} rows, gave {got[expert]}")
    return routing


def routing_counts(routing: Routing, experts: int) -> NDArray[np.int64]:
    """n_e, the rows routed to each expert, int64[E]."""
    return np.bincount(np.asarray(routing.expert_ids).ravel(), minlength=experts).astype(np.int64)
