"""The two auxiliary losses that shape a MoHGE router's loads (arXiv 2604.23108, and the authors' released code)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .permutation import expert_counts
from .routing import Routing, kept_groups, sigmoid, softmax
from .spec import LayerSpec


def group_loss(group_logits: Any, spec: LayerSpec, coefficient: float, interval: float) -> float:
    """L_group = c * G / (T^2 * K_g) * sum over g of s_g * n_g * sum over t of pi_(t,g): steers tokens to narrow groups.

    The group-wise auxiliary loss of arXiv 2604.23108. pi = softmax of the group logits; n_g = tokens whose K_g kept
    groups (of sigmoid(logits), ties to the lower id) include g; s_g = (W_g - W_min + interval) / interval. With equal
    widths s_g = 1 and a balanced router pays exactly c.

    group_logits float[T, G]; coefficient c >= 0 (released: 1e-5); interval in units of width, > 0 (released: 1024).
    0.0 for zero tokens. Raises ValueError for another shape, logits that are not finite, numbers out of range.
    """
    logits = np.asarray(group_logits, dtype=np.float64)
    if logits.ndim != 2 or logits.shape[1] != spec.groups:
        raise ValueError(f"group_logits: expected shape [tokens, {spec.groups}], got {list(logits.shape)}")
    if not np.isfinite(logits).all():
        token, group = np.argwhere(~np.isfinite(logits))[0]
        raise ValueError(
            f"group_logits: expected finite numbers, got {logits[token, group]} at token {token}, group {group}"
        )
    _check_coefficient(coefficient)
    _check_interval(interval)
    tokens = len(logits)
    if tokens == 0:
        return 0.0
    cost = _group_costs(spec, interval)
    kept = np.bincount(kept_groups(sigmoid(logits), spec).ravel(), minlength=spec.groups)
    probability = softmax(logits).sum(axis=0)
    return float(coefficient * spec.groups / (tokens**2 * spec.top_groups) * (cost * kept * probability).sum())


def resting_shares(spec: LayerSpec, interval: float) -> NDArray[np.float64]:
    """The share of all kept (token, group) pairs in each group at which the group loss is least, float64[G]: 1 / s_g
    over the sum of these.

    Where groups are kept as often as they are probable, n_g = T * K_g * p_g and the sum of pi is T * p_g, so
    L_group = c * G * sum over g of s_g * p_g^2, whose least value among shares that add up to 1 is at p_g ~ 1 / s_g
    (derived here). Equal widths rest at equal shares. interval as in `group_loss`. Raises ValueError.

    >>> spec = LayerSpec("two", hidden=4, widths=(1024, 2048), experts_per_group=2, top_k=1, top_groups=1)
    >>> resting_shares(spec, 1024).round(3).tolist()
    [0.667, 0.333]
    """
    _check_interval(interval)
    inverse = 1.0 / _group_costs(spec, interval)
    return inverse / inverse.sum()


def intra_group_loss(routing: Routing, spec: LayerSpec, coefficient: float) -> float:
    """L_intra = c * (E * K_g / G) / (T^2 * K) * sum over e of n_e * sum over t of w_(t,e): balances experts.

    The intra-group experts auxiliary loss of arXiv 2604.23108; w_(t,e) is the combine weight, 0 where t does not use e.
    Where every row weighs 1/K the loss is least when all n_e are equal, and is then c * K_g / G; rows spread evenly
    over the N experts of one and the same set of K_g groups give c.

    coefficient c >= 0 (released: 5e-3 for the 3B model). 0.0 for zero tokens. Raises ValueError.
    """
    _check_coefficient(coefficient)
    counts = expert_counts(routing, spec)
    tokens = routing.tokens
    if tokens == 0:
        return 0.0
    weights = np.asarray(routing.weights, dtype=np.float64).ravel()
    ids = np.asarray(routing.expert_ids).astype(np.int64).ravel()
    weight_of_expert = np.bincount(ids, weights=weights, minlength=spec.experts)
    scale = coefficient * (spec.experts * spec.top_groups / spec.groups) / (tokens**2 * spec.top_k)
    return float(scale * (counts * weight_of_expert).sum())


def _group_costs(spec: LayerSpec, interval: float) -> NDArray[np.float64]:
    """s_g = (W_g - W_min + interval) / interval, float64[G]."""
    widths = np.asarray(spec.widths, dtype=np.float64)
    return (widths - widths.min() + interval) / interval


def _check_interval(interval: float) -> None:
    if not (math.isfinite(interval) and interval > 0):
        raise ValueError(f"interval: expected a width above 0, got {interval}")


def _check_coefficient(coefficient: float) -> None:
    if not (math.isfinite(coefficient) and coefficient >= 0):
        raise ValueError(f"coefficient: expected a finite number of at least 0, got {coefficient}")
