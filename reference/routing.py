"""The two-level router: which experts each token uses, with which weights (arXiv 2604.23108, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .spec import LayerSpec

COMBINE_MODES = ("released", "normalized")


@dataclass(frozen=True)
class Router:
    """The router's two weight matrices: group float[G, H], expert float[E, H]."""

    group: Any
    expert: Any

    @classmethod
    def random(cls, spec: LayerSpec, seed: int = 0) -> Router:
        """Normally distributed float64 matrices scaled by 1/sqrt(H), so that logits are of order one."""
        generator = np.random.default_rng(seed)
        scale = spec.hidden**-0.5
        return cls(
            group=generator.standard_normal((spec.groups, spec.hidden)) * scale,
            expert=generator.standard_normal((spec.experts, spec.hidden)) * scale,
        )


@dataclass(frozen=True)
class Routing:
    """Each token's experts and combine weights.

    expert_ids:  int[T, K], distinct within a token
    weights:     float[T, K]

    The arrays may be NumPy or torch; the reference uses NumPy. For T = 2 tokens and K = 2:

    >>> Routing(expert_ids=np.array([[3, 0], [1, 3]]), weights=np.array([[0.7, 0.3], [0.5, 0.5]])).tokens
    2
    """

    expert_ids: Any
    weights: Any

    @property
    def tokens(self) -> int:
        """T."""
        return int(self.expert_ids.shape[0])

    @property
    def top_k(self) -> int:
        """K."""
        return int(self.expert_ids.shape[1])


def check_routing(routing: Routing, spec: LayerSpec) -> None:
    """Raise ValueError unless `routing` (NumPy arrays) is one for `spec`: shapes, range, no repeats, finite weights."""
    ids, weights = np.asarray(routing.expert_ids), np.asarray(routing.weights)
    if ids.ndim != 2 or ids.shape[1] != spec.top_k:
        raise ValueError(f"expert_ids: expected shape [tokens, {spec.top_k}], got {list(ids.shape)}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"expert_ids: expected whole numbers, got {ids.dtype}")
    if not np.issubdtype(weights.dtype, np.floating):
        raise ValueError(f"weights: expected floating-point numbers, got {weights.dtype}")
    if weights.shape != ids.shape:
        raise ValueError(f"weights: expected shape {list(ids.shape)}, got {list(weights.shape)}")
    outside = (ids < 0) | (ids >= spec.experts)
    if outside.any():
        token, slot = np.argwhere(outside)[0]
        raise ValueError(
            f"expert_ids: expected 0 to {spec.experts - 1}, got {ids[token, slot]} at token {token}, slot {slot}"
        )
    ordered = np.sort(ids, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    if repeated.any():
        token = int(np.argmax(repeated))
        raise ValueError(
            f"expert_ids: expected distinct experts for a token, got {ids[token].tolist()} at token {token}"
        )
    if not np.isfinite(weights).all():
        token, slot = np.argwhere(~np.isfinite(weights))[0]
        raise ValueError(f"weights: expected finite numbers, got {weights[token, slot]} at token {token}, slot {slot}")


def route(x: Any, router: Router, spec: LayerSpec, combine: str = "released") -> Routing:
    """Route tokens x float[T, H] through both levels; float64 inside.

    1. s = sigmoid(x Wg^T); keep the K_g largest; p_g = s_g / sum of the kept, 0 elsewhere.
    2. q = softmax inside each group of x We^T; r = p_g * q, divided by its sum over all experts.
    3. Keep the K largest of r. Combine weights: softmax over the kept values of r (``combine="released"``, what the
       released code does), or r over the sum of the kept (``combine="normalized"``).
    Ties go to the lower id. Returns int64[T, K], float64[T, K], best expert first. Raises ValueError.
    """
    if combine not in COMBINE_MODES:
        raise ValueError(f"combine: expected one of {', '.join(COMBINE_MODES)}, got {combine!r}")
    joint, reachable = joint_probabilities(x, router, spec)
    # Experts outside the kept groups rank below every kept one, also where a kept probability underflows to zero.
    expert_ids = np.argsort(np.where(reachable, -joint, 1.0), axis=1, kind="stable")[:, : spec.top_k]
    kept = np.take_along_axis(joint, expert_ids, axis=1)
    weights = softmax(kept) if combine == "released" else kept / kept.sum(axis=1, keepdims=True)
    return Routing(expert_ids=expert_ids, weights=weights)


def joint_probabilities(x: Any, router: Router, spec: LayerSpec) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Step 2 of the router: r, float64[T, E], and which experts are in a kept group, bool[T, E].

    Raises ValueError for shapes that do not fit, and for x or a router that is not finite.
    """
    x = checked_hidden(x, spec)
    expert = _checked_matrix("router.expert", router.expert, (spec.experts, spec.hidden))
    scores = group_logits(x, router, spec)
    chosen = kept_groups(sigmoid(scores), spec)
    p = np.zeros_like(scores)
    # s_g / sum of the kept s is a softmax of log s: the same number, also where every s underflows to zero.
    log_s = -np.logaddexp(0.0, -np.take_along_axis(scores, chosen, axis=1))
    np.put_along_axis(p, chosen, softmax(log_s), axis=1)
    logits = (x @ expert.T).reshape(-1, spec.groups, spec.experts_per_group)
    joint = (p[:, :, None] * softmax(logits)).reshape(-1, spec.experts)
    joint /= joint.sum(axis=1, keepdims=True)
    kept = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(kept, chosen, True, axis=1)
    return joint, np.repeat(kept, spec.experts_per_group, axis=1)


def group_logits(x: Any, router: Router, spec: LayerSpec) -> NDArray[np.float64]:
    """Logits x Wg^T, float64[T, G]: what the router and the group-wise auxiliary loss start from. Raises ValueError."""
    return checked_hidden(x, spec) @ _checked_matrix("router.group", router.group, (spec.groups, spec.hidden)).T


def kept_groups(scores: NDArray[np.float64], spec: LayerSpec) -> NDArray[np.int64]:
    """The K_g best groups of each token, int64[T, K_g], best first, ties to the lower id; scores float[T, G]."""
    return np.argsort(-scores, axis=1, kind="stable")[:, : spec.top_groups]


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax over the last axis, shifted by the maximum so that it cannot overflow."""
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-v)) without overflow, precise to the last digits at both ends."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)


def checked_hidden(x: Any, spec: LayerSpec) -> NDArray[np.float64]:
    """Give x as float64[T, H]. Raises ValueError for another shape, or naming the first element that is not finite."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != spec.hidden:
        raise ValueError(f"x: expected shape [tokens, {spec.hidden}], got {list(x.shape)}")
    finite = np.isfinite(x)
    if not finite.all():
        token, column = np.argwhere(~finite)[0]
        raise ValueError(f"x: expected finite numbers, got {x[token, column]} at token {token}, column {column}")
    return x


def _checked_matrix(name: str, matrix: Any, shape: tuple[int, int]) -> NDArray[np.float64]:
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(matrix.shape)}")
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(f"{name}: expected finite numbers, got {matrix[row, column]} at row {row}, column {column}")
    return matrix
