"""The expert FFN forward, one expert at a time, in float64: the definition every implementation is checked against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .routing import Routing, check_routing, checked_hidden, sigmoid
from .spec import LayerSpec


@dataclass(frozen=True)
class DenseExpert:
    """The shared expert every token passes through: gate, up float[W, H], down float[H, W], W = shared_width."""

    gate: Any
    up: Any
    down: Any


@dataclass(frozen=True)
class ExpertWeights:
    """One entry per expert: gate and up float[W_e, H], down float[H, W_e]; `shared` is the optional dense expert."""

    gate: list[Any]
    up: list[Any]
    down: list[Any]
    shared: DenseExpert | None = None

    @classmethod
    def random(cls, spec: LayerSpec, seed: int = 0, *, shared: bool = False) -> ExpertWeights:
        """Normally distributed float32 weights, scaled so that activations stay of order one whatever the width.

        Gate and up are scaled by 1/sqrt(H), down by 1/sqrt(W_e). Without `shared` the dense expert is left out: it is
        an ordinary FFN, the same for every implementation, and would only blur their comparison.
        """
        generator = np.random.default_rng(seed)

        def matrix(rows: int, columns: int) -> NDArray[np.float32]:
            return generator.standard_normal((rows, columns), dtype=np.float32) * np.float32(columns**-0.5)

        widths = [int(width) for width in spec.expert_widths]
        dense = None
        gate = [matrix(width, spec.hidden) for width in widths]
        up = [matrix(width, spec.hidden) for width in widths]
        down = [matrix(spec.hidden, width) for width in widths]
        if shared and spec.shared_width:
            width = spec.shared_width
            dense = DenseExpert(matrix(width, spec.hidden), matrix(width, spec.hidden), matrix(spec.hidden, width))
        return cls(gate=gate, up=up, down=down, shared=dense)

    def check(self, spec: LayerSpec) -> None:
        """Raise ValueError unless every expert, and the shared one if there is one, has matrices of the right shape."""
        for name, rows_are_width in (("gate", True), ("up", True), ("down", False)):
            matrices = getattr(self, name)
            if len(matrices) != spec.experts:
                raise ValueError(f"weights.{name}: expected {spec.experts} matrices, got {len(matrices)}")
            for expert, (matrix, width) in enumerate(zip(matrices, spec.expert_widths, strict=True)):
                expected = (int(width), spec.hidden) if rows_are_width else (spec.hidden, int(width))
                if tuple(matrix.shape) != expected:
                    raise ValueError(
                        f"weights.{name}[{expert}]: expected shape {list(expected)}, got {list(matrix.shape)}"
                    )
            if self.shared is not None:
                expected = (spec.shared_width, spec.hidden) if rows_are_width else (spec.hidden, spec.shared_width)
                shape = tuple(getattr(self.shared, name).shape)
                if shape != expected:
                    raise ValueError(f"weights.shared.{name}: expected shape {list(expected)}, got {list(shape)}")


def silu(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """SiLU, v * sigmoid(v), without overflow for large negative v."""
    return values * sigmoid(values)


def swiglu(x: NDArray[np.float64], gate: Any, up: Any, down: Any) -> NDArray[np.float64]:
    """f(x) = (silu(x gate^T) * (x up^T)) down^T; x float64[rows, H], result float64[rows, H] (DESIGN.md section 3)."""
    gate, up, down = (np.asarray(matrix, dtype=np.float64) for matrix in (gate, up, down))
    return (silu(x @ gate.T) * (x @ up.T)) @ down.T


def expert_ffn(x: Any, weights: ExpertWeights, routing: Routing, spec: LayerSpec) -> NDArray[np.float64]:
    """y_t = sum over k of w_(t,k) f_(e(t,k))(x_t), plus the shared expert where `weights` has one.

    x float[T, H]; result float64[T, H]. Raises ValueError for shapes that do not fit, expert ids out of range or
    repeated within a token, and for x or combine weights that are not finite.
    """
    x = checked_hidden(x, spec)
    weights.check(spec)
    check_routing(routing, spec)
    expert_ids = np.asarray(routing.expert_ids)
    combine_weights = np.asarray(routing.weights, dtype=np.float64)
    if len(expert_ids) != len(x):
        raise ValueError(f"routing: expected {len(x)} tokens like x, got {len(expert_ids)}")
    y = np.zeros_like(x)
    for expert in range(spec.experts):
        token, slot = np.nonzero(expert_ids == expert)
        if len(token):
            out = swiglu(x[token], weights.gate[expert], weights.up[expert], weights.down[expert])
            y[token] += combine_weights[token, slot, None] * out  # a token meets an expert once: no repeated index
    if weights.shared is not None:
        y += swiglu(x, weights.shared.gate, weights.shared.up, weights.shared.down)
    return y
