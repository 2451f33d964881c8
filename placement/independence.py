"""Traffic where only marginals are known: what is expected when experts are used independently of each other.

Of all ways to draw K distinct experts for a token whose experts come up as often as the loads say, the most random
one (conditional Poisson sampling) draws a set S with probability proportional to the product of odds w_e over S. The
chance that a token misses all experts of a rank is then e_K(w of the others) / e_K(w of all), with e_K the elementary
symmetric polynomial. With equal loads this is C(E - m, K) / C(E, K) for a rank with m experts, the formula usually
given. Real tokens use experts together, so the figures are labelled "independence".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cluster import Cluster
from .traffic import Traffic, check_ranks, check_style, homes, passed_on, split


def expected_traffic(
    loads: Any,
    top_k: int,
    shares: NDArray[np.float64],
    cluster: Cluster,
    style: str = "by_rank",
    tokens_of: Any = None,
) -> Traffic:
    """Expected vectors from rows per expert alone.

    loads: rows of each expert, [E], T * K in all and no expert with more than T; shares float[E, P] as `assignment`
    gives it; tokens_of: tokens that live on each rank, [P], or None for equal runs of the batch. A copy of a replicated
    expert is taken to get each row with its share as the probability. Raises ValueError.
    """
    check_style(style)
    check_ranks(shares, cluster)
    loads, tokens = _checked(loads, top_k, shares)
    home = np.bincount(homes(round(tokens), cluster.ranks), minlength=cluster.ranks) if tokens_of is None else tokens_of
    home = np.asarray(home, dtype=np.float64)
    if home.shape != (cluster.ranks,) or (home < 0).any() or abs(home.sum() - tokens) > 1e-6 * max(tokens, 1):
        raise ValueError(f"tokens_of: expected {tokens:g} tokens over {cluster.ranks} ranks, got {home.tolist()}")
    if not tokens:
        empty = np.zeros((cluster.ranks, cluster.ranks))
        return Traffic(style, empty, empty.copy(), np.zeros(shares.shape), "independence", 0.0)
    odds = sampling_odds(loads / tokens, top_k)
    on_node = shares.reshape(len(shares), cluster.nodes, cluster.ranks_per_node).sum(axis=2)
    node_chance = touch_chance(odds, top_k, on_node)
    rows = loads[:, None] * shares
    chance = rows.sum(axis=0) / tokens if style == "nccl" else touch_chance(odds, top_k, shares)
    vectors = home[:, None] * chance
    if style == "by_node":
        inside, between = passed_on(vectors, home[:, None] * node_chance, cluster)
    else:
        inside, between = split(vectors, cluster.node_of)
    return Traffic(style, inside, between, rows, "independence", float(node_chance.sum()))


def touch_chance(odds: NDArray[np.float64], top_k: int, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance that a token has a row on each place, float64[M], for shares float[E, M] of experts on places.

    A copy with share s is missed by a row of its expert with probability 1 - s, which thins the expert's odds to
    w (1 - s) in the polynomial of those that miss the place.
    """
    missed = elementary(odds[:, None] * (1 - shares), top_k)[top_k]
    return np.clip(1 - missed / elementary(odds[:, None], top_k)[top_k], 0.0, 1.0)


def elementary(values: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """Elementary symmetric polynomials e_0 to e_degree of each column of values [E, M], float64[degree + 1, M]."""
    polynomials = np.zeros((degree + 1, values.shape[1]))
    polynomials[0] = 1.0
    for value in values:
        polynomials[1:] += value * polynomials[:-1]
    return polynomials


def sampling_odds(chances: NDArray[np.float64], top_k: int, tolerance: float = 1e-9) -> NDArray[np.float64]:
    """Odds w [E] under which expert e is among the K drawn with probability chances[e]; these add up to K.

    Found by the fixed point w_e <- chance_e / (e_(K-1) of the others), scaled each time. Experts that are always or
    never drawn are kept a millionth away from it, where no finite odds exist.
    """
    chances = np.clip(chances, 1e-6 * top_k / len(chances), 1 - 1e-6)
    if top_k >= len(chances):
        return np.ones(len(chances))
    odds = chances / (1 - chances)
    for _ in range(500):
        odds /= np.exp(np.log(odds).mean())
        # Column e leaves expert e out: its odds are 0 there.
        others = np.where(np.eye(len(odds), dtype=bool), 0.0, odds[:, None])
        without = elementary(others, top_k)
        drawn = odds * without[top_k - 1] / (without[top_k] + odds * without[top_k - 1])
        if np.abs(drawn / chances - 1).max() < tolerance:
            break
        odds *= chances / (1 - chances) * (1 - drawn) / drawn
    return odds


def _checked(loads: Any, top_k: int, shares: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Loads as float64[E], and T. Raises ValueError."""
    loads = np.asarray(loads, dtype=np.float64)
    if loads.shape != (len(shares),):
        raise ValueError(f"loads: expected one number for each of {len(shares)} experts, got shape {list(loads.shape)}")
    if not (np.isfinite(loads) & (loads >= 0)).all():
        raise ValueError("loads: expected finite numbers of at least 0")
    if isinstance(top_k, bool) or not isinstance(top_k, int | np.integer) or not 1 <= top_k <= len(loads):
        raise ValueError(f"top_k: expected a whole number from 1 to {len(loads)}, got {top_k!r}")
    tokens = float(loads.sum()) / top_k
    if tokens and loads.max() > tokens * (1 + 1e-9):
        raise ValueError(
            f"loads: expected at most {tokens:g} rows for an expert (one for each token), got {loads.max():g} "
            f"for expert {int(np.argmax(loads))}"
        )
    return loads, tokens
