"""A cuBLAS (on the CPU: oneDNN or MKL) GEMM pair per expert: the simplest fair baseline.

For each expert e with rows x_e [n_e, H]: a_e = silu(x_e Gate_e^T) * (x_e Up_e^T) [n_e, W_e], out_e = a_e Down_e^T.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..dispatch import DispatchPlan, combine, permute
from ..reference import ExpertWeights, LayerSpec
from .common import check_call, check_device, check_prepare, swiglu, useful_flops
from .interface import Layer
from .packing import PackedWeights, pack
from .shared_expert import with_shared_expert


@dataclass(frozen=True)
class TorchLoopLayer:
    """Prepared weights; the activation is one flat ragged buffer, expert after expert."""

    spec: LayerSpec
    packed: PackedWeights

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer`. Waits for the GPU once, to read the expert offsets."""
        check_call(x, plan, self.spec, self.packed.gate_up.device, self.packed.gate_up.dtype)
        offsets = plan.expert_offsets.tolist()
        return combine(self._gemm2(self._gemm1(permute(x, plan), offsets), offsets), plan)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """See `Layer`; "plan" is reading the offsets to the host."""
        check_call(x, plan, self.spec, self.packed.gate_up.device, self.packed.gate_up.dtype)
        offsets = plan.expert_offsets.tolist()
        rows = permute(x, plan)
        activation = self._gemm1(rows, offsets)
        out = self._gemm2(activation, offsets)
        return {
            "plan": plan.expert_offsets.tolist,
            "permute": lambda: permute(x, plan),
            "gemm1": lambda: self._gemm1(rows, offsets),
            "gemm2": lambda: self._gemm2(activation, offsets),
            "combine": lambda: combine(out, plan),
        }

    def executed_flops(self, counts: NDArray[np.int64]) -> int:
        """The useful FLOPs: nothing is padded; what the library's tiles waste at their edges is not visible here."""
        return useful_flops(counts, self.packed.widths, self.spec.hidden)

    def _gemm1(self, rows: torch.Tensor, offsets: list[int]) -> list[torch.Tensor]:
        """Rows [R, H] to one activation [n_e, W_e] per expert, views of one buffer."""
        counts = [end - start for start, end in pairwise(offsets)]
        sizes = [count * int(width) for count, width in zip(counts, self.packed.widths, strict=True)]
        buffer = rows.new_empty(sum(sizes))
        # One scratch for every expert's gate and up: the fullest needs it whole, and it stays in cache for the small.
        scratch = rows.new_empty(2 * max(sizes))
        activations = []
        for expert, part in enumerate(buffer.split(sizes)):
            count, width = counts[expert], int(self.packed.widths[expert])
            activation = part.view(count, width)
            if count:
                gate_up = scratch[: 2 * count * width].view(count, 2 * width)
                torch.mm(rows[offsets[expert] : offsets[expert + 1]], self.packed.gate_up_of(expert).t(), out=gate_up)
                swiglu(gate_up, out=activation)
            activations.append(activation)
        return activations

    def _gemm2(self, activations: list[torch.Tensor], offsets: list[int]) -> torch.Tensor:
        """The activations to rows [R, H] in plan order."""
        out = self.packed.down_t.new_empty(offsets[-1], self.spec.hidden)
        for expert, activation in enumerate(activations):
            if len(activation):
                rows = out[offsets[expert] : offsets[expert + 1]]
                torch.mm(activation, self.packed.down_t_of(expert), out=rows)
        return out


@dataclass(frozen=True)
class TorchLoop:
    """The entry of the table."""

    name: str = "torch_loop"
    description: str = (
        "two library GEMMs per expert, one expert after the other; waits for the GPU once a call, to read the offsets"
    )

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:  # noqa: ARG002
        """See `Implementation.supports`: any shape, wherever torch has a GEMM."""
        return check_device(dtype, device)

    def prepare(self, spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype) -> Layer:
        """See `Implementation.prepare`."""
        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        layer = TorchLoopLayer(spec, pack(spec, weights, device, dtype))
        return with_shared_expert(layer, spec, weights, device, dtype)


IMPLEMENTATION = TorchLoop()
