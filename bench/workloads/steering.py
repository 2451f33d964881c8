"""Rows steered towards narrow groups, as far as the group loss would: what a router trained with it might do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...reference import LayerSpec, per_group, resting_shares
from .counts import Stratum, draw_counts
from .deal import deal

INTERVAL = 1024.0  # the width interval of the released group loss
_ROUNDS = 200  # of repairs before a routing is dealt anew


def steered_shares(rows: NDArray[np.int64], spec: LayerSpec, strength: float, interval: float) -> NDArray[np.float64]:
    """The share of the rows that each group has at a strength of the group loss, float64[G], from rows int[G].

    p_g(strength) ~ p_g^(1 - strength) * q_g^strength, with p_g the groups' shares as they are and q_g those at which
    the loss is least (`resting_shares`): of all shares those nearest to both, weighted so, in relative entropy. At 0
    nothing is steered; at 1 the groups stand where the loss is least, whatever the router would rather do; how far a
    training run gets between the two is its own matter. A group without rows gets some only at 1. Raises ValueError.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"group_loss: expected a strength from 0 to 1, got {strength:g}")
    own = rows / max(int(rows.sum()), 1)
    steered = own ** (1 - strength) * resting_shares(spec, interval) ** strength
    return steered / steered.sum()


def steer(
    expert_ids: NDArray[np.int64],
    spec: LayerSpec,
    strength: float,
    generator: np.random.Generator,
    interval: float = INTERVAL,
) -> NDArray[np.int64]:
    """The same routing with rows moved from group to group until these have `steered_shares`, int64[T, K].

    Inside a group the experts keep their proportions, none above T rows; only rows of experts that lose some move, any
    of them alike, and a token's experts stay distinct, so that what tokens use together is kept as far as it can be.
    K_g, the limit on groups a token, is not kept, as with every distribution. Where the moved rows find no distinct
    places, all are dealt anew. Raises ValueError.
    """
    tokens, top_k = expert_ids.shape
    counts = np.bincount(expert_ids.ravel(), minlength=spec.experts)
    if not strength or not tokens or spec.groups == 1:
        return expert_ids
    before = per_group(counts, spec)
    shares = steered_shares(before, spec, strength, interval)
    inside = np.where(before[spec.expert_groups] > 0, counts, 1.0)
    inside = inside / per_group(inside, spec)[spec.expert_groups]
    wanted = shares[spec.expert_groups] * inside
    after = draw_counts([Stratum(np.arange(spec.experts), expert_ids.size, wanted)], spec.experts, tokens, generator)
    moved = _moved(expert_ids, counts, after, generator)
    return deal(after, tokens, top_k, generator) if moved is None else moved


def _moved(
    ids: NDArray[np.int64], counts: NDArray[np.int64], after: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64] | None:
    """`ids` [T, K] with `after` rows of each expert [E] instead of `counts`, or None where that was not found."""
    free = _given_up(ids.ravel(), np.maximum(counts - after, 0), generator)
    coming = np.repeat(np.arange(len(counts)), np.maximum(after - counts, 0))
    flat = ids.ravel().copy()
    flat[free] = generator.permutation(coming)
    moved = flat.reshape(ids.shape)  # sees what happens to `flat`
    is_free = np.zeros(ids.shape, dtype=bool)
    is_free.ravel()[free] = True
    tokens = np.arange(len(ids))  # those that may still have an expert twice; an exchange never makes another one
    for _ in range(_ROUNDS):
        twice = _twice(moved[tokens]) & is_free[tokens]
        line, slot = np.nonzero(twice)
        if not len(line):
            return moved
        wrong = tokens[line] * ids.shape[1] + slot
        tokens = tokens[twice.any(axis=1)]
        _exchange(moved, wrong, generator.choice(free, size=len(wrong)))
    for place in np.flatnonzero(_twice(moved) & is_free):  # the last ones, each with every other
        if _twice(moved[place // ids.shape[1]][None]).ravel()[place % ids.shape[1]]:
            _exchange(moved, np.full(len(free), place), free)
    return None if _twice(moved).any() else moved


def _exchange(ids: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
    """Let places of `ids` [T, K] change experts, pair by pair, where both then fit; a token takes part once."""
    flat, top_k = ids.ravel(), ids.shape[1]
    mine, theirs = first // top_k, second // top_k
    fits = ~(ids[theirs] == flat[first, None]).any(axis=1) & ~(ids[mine] == flat[second, None]).any(axis=1)
    first, second, mine, theirs = first[fits], second[fits], mine[fits], theirs[fits]
    tokens = np.stack([mine, theirs], axis=1).ravel()
    earliest = np.zeros(len(tokens), dtype=bool)
    earliest[np.unique(tokens, return_index=True)[1]] = True
    alone = earliest.reshape(-1, 2).all(axis=1)
    flat[first[alone]], flat[second[alone]] = flat[second[alone]], flat[first[alone]]


def _given_up(flat: NDArray[np.int64], surplus: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Places of `surplus` [E] rows of each expert, drawn at random, among the experts of all rows [R]."""
    order = generator.permutation(len(flat))
    order = order[np.argsort(flat[order], kind="stable")]
    sizes = np.bincount(flat, minlength=len(surplus))
    place = np.arange(len(flat)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[place < np.repeat(surplus, sizes)]


def _twice(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which places [T, K] hold an expert that the token has in another place, too."""
    return (ids[:, :, None] == ids[:, None, :]).sum(axis=2) > 1
