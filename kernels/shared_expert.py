"""The dense shared expert y += (silu(x Gate^T) * (x Up^T)) Down^T, the same three torch calls for every implementation.

x [T, H], Gate and Up [W, H], Down [H, W] with W = spec.shared_width (DESIGN.md section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from .common import swiglu
from .interface import Layer
from .packing import as_tensor, copy_gate_up
from .tunable import for_routing

if TYPE_CHECKING:
    from ..dispatch import DispatchPlan
    from ..reference import ExpertWeights, LayerSpec


@dataclass(frozen=True)
class SharedExpertLayer:
    """`inner` plus the dense expert: gate_up [2·W, H], gate rows then up rows, and down_t [W, H]."""

    inner: Layer
    gate_up: torch.Tensor
    down_t: torch.Tensor
    top_k: int

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer`."""
        return self._add(self.inner(x, plan), x)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """The phases of the inner layer, then "shared"."""
        y = torch.zeros_like(x)
        return {**self.inner.phases(x, plan), "shared": lambda: self._add(y, x)}

    def executed_flops(self, counts: NDArray[np.int64]) -> int:
        """The inner layer's, plus 6·H·W for each token."""
        return self.inner.executed_flops(counts) + 6 * self.down_t.numel() * (int(counts.sum()) // self.top_k)

    def for_routing(self, routing_class: str) -> SharedExpertLayer:
        """See `tunable.for_routing`."""
        return replace(self, inner=for_routing(self.inner, routing_class))

    def _add(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return y.addmm_(swiglu(x @ self.gate_up.t()), self.down_t)


def with_shared_expert(
    layer: Layer, spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype
) -> Layer:
    """`layer` itself, or `layer` with the dense expert added where `weights.shared` is given; the end of every prepare.

    Raises ValueError for matrices that do not fit spec.hidden and spec.shared_width.
    """
    shared = weights.shared
    if shared is None:
        return layer
    width, hidden = spec.shared_width, spec.hidden
    for name, expected in (("gate", (width, hidden)), ("up", (width, hidden)), ("down", (hidden, width))):
        shape = tuple(getattr(shared, name).shape)
        if shape != expected:
            raise ValueError(f"weights.shared.{name}: expected shape {list(expected)}, got {list(shape)}")
    gate_up = torch.empty((2 * width, hidden), dtype=dtype, device=device)
    copy_gate_up(gate_up, shared.gate, shared.up)
    down_t = torch.empty((width, hidden), dtype=dtype, device=device)
    down_t.copy_(as_tensor(shared.down).t())
    return SharedExpertLayer(layer, gate_up, down_t, spec.top_k)
