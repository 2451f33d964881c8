"""`torch_grouped_mm_padded`: one torch grouped GEMM pair for all experts, each padded to the widest.

a = silu(x Gate^T) * (x Up^T) [R, W] and a Down^T [R, H] with W = max W_e: rows are not padded, widths are. It executes
max W_e / mean W_e times the FLOPs (1.54 times for `mohge-3b`) in two launches and never waits for the GPU, where
`torch_grouped_mm`, one call per width, executes the useful FLOPs only, in two launches a width, and has to read where
each width's rows begin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ...kernels.common import check_prepare
from ...kernels.interface import Layer
from ...kernels.packing import as_tensor
from ...kernels.shared_expert import with_shared_expert
from ...kernels.torch_grouped_mm import IMPLEMENTATION, TorchGroupedLayer, grouped_mm
from ...reference import ExpertWeights, LayerSpec


@dataclass(frozen=True)
class TorchGroupedPadded:
    """The entry of the table."""

    name: str = "torch_grouped_mm_padded"
    description: str = "one torch grouped GEMM pair, every expert padded to the widest; never waits for the GPU"

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:
        """See `Implementation.supports`: unequal widths, and what torch_grouped_mm needs of the widest."""
        if len(set(spec.widths)) == 1:
            return "expected unequal widths: with one width this is torch_grouped_mm"
        return IMPLEMENTATION.supports(widened(spec), dtype, device)

    def prepare(self, spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype) -> Layer:
        """See `Implementation.prepare`."""
        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        weights.check(spec)
        layer = TorchGroupedLayer.prepare(widened(spec), padded(weights, spec, dtype), device, dtype, grouped_mm)
        return with_shared_expert(layer, spec, weights, device, dtype)


def widened(spec: LayerSpec) -> LayerSpec:
    """The layer in which every expert is as wide as the widest."""
    return replace(spec, widths=(max(spec.widths),) * spec.groups)


def padded(weights: ExpertWeights, spec: LayerSpec, dtype: torch.dtype) -> ExpertWeights:
    """The same experts with zeros up to the widest, in `dtype`: gate, up [W, H] and down [H, W]."""
    widest = max(spec.widths)

    def columns(matrix: Any) -> torch.Tensor:
        matrix = as_tensor(matrix).to(dtype)
        return torch.nn.functional.pad(matrix, (0, widest - matrix.shape[1]))

    def rows(matrix: Any) -> torch.Tensor:
        matrix = as_tensor(matrix).to(dtype)
        return torch.nn.functional.pad(matrix, (0, 0, 0, widest - matrix.shape[0]))

    return ExpertWeights(
        gate=[rows(matrix) for matrix in weights.gate],
        up=[rows(matrix) for matrix in weights.up],
        down=[columns(matrix) for matrix in weights.down],
    )


TORCH_GROUPED_MM_PADDED = TorchGroupedPadded()
