"""The layer on tensor cores: the launches of `layer.py` with other kernels, and Down_e stored along W."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from ...dispatch import DispatchPlan
from ...reference import ExpertWeights, LayerSpec
from ..choice import Choices
from ..common import dtype_name
from ..grouped import Work
from .layer import NumbaLayer
from .mma_down import down_kernel
from .mma_gate_up import gate_up_kernel

ALIGNMENT = 16  # of the chunks that cp.async moves


@dataclass(frozen=True)
class NumbaMmaLayer(NumbaLayer):
    """See `NumbaLayer`; down_rows [H * sum W_e]: Down_e [H, W_e] of one expert after another, int32 words of two."""

    down_rows: torch.Tensor

    @classmethod
    def prepare(
        cls,
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device,
        dtype: torch.dtype,
        choices: Choices[Any],
        routing_class: str,
    ) -> NumbaMmaLayer:
        """Pack the weights, and turn those of fc2 so that their inner dimension is contiguous."""
        layer = NumbaLayer.prepare(spec, weights, device, dtype, choices, routing_class)
        packed = layer.weights
        rows = torch.empty(packed.down_t.numel(), dtype=dtype, device=device)
        for expert, width in enumerate(packed.widths.tolist()):
            start = spec.hidden * int(packed.width_offsets[expert])
            rows[start : start + spec.hidden * width].view(spec.hidden, width).copy_(packed.down_t_of(expert).t())
        return cls(**{field.name: getattr(layer, field.name) for field in fields(layer)}, down_rows=_words(rows))

    def gate_up(self, x: torch.Tensor, plan: DispatchPlan, work: Work, activation: torch.Tensor) -> None:
        """See `NumbaLayer.gate_up`."""
        if plan.rows:
            tile = work.configuration.fc1
            x = x if x.data_ptr() % ALIGNMENT == 0 else x.clone()
            self._launch(
                gate_up_kernel(tile, dtype_name(self.dtype)),
                (tile.threads, 1),
                work.fc1,
                (
                    _words(x),
                    plan.row_token,
                    plan.expert_offsets,
                    _words(self.weights.gate_up),
                    self.weights.offsets_int64,
                ),
                (work.activation_base, _words(activation)),
            )

    def down(self, plan: DispatchPlan, work: Work, activation: torch.Tensor, rows: torch.Tensor) -> None:
        """See `NumbaLayer.down`."""
        if plan.rows:
            tile = work.configuration.fc2
            self._launch(
                down_kernel(tile, dtype_name(self.dtype)),
                (tile.threads, 1),
                work.fc2,
                (_words(activation), plan.expert_offsets, self.down_rows, self.weights.offsets_int64),
                (work.activation_base, _words(rows)),
            )


def _words(tensor: torch.Tensor) -> torch.Tensor:
    """Two 16-bit elements in each int32, without a copy."""
    return tensor.view(torch.int32)
