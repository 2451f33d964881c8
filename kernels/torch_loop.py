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
from .common import check_call, check_device, check_prepare, swiglu, useful_flops, width_runs
from .interface import Layer
from .packing import PackedWeights, pack
from .shared_expert import with_shared_expert


@dataclass(frozen=True)
class TorchLoopLayer:
    """Prepared weights. starts: where neighbouring experts of one width begin, then E, see `width_runs`.

    SwiGLU takes all experts of a width at once: for 64 experts in 8 widths that is 112 launches fewer of 256, and on a
    CPU 0.95 to 1.005 times the time of fc1 (16 to 1024 tokens of mohge-3b, one core of an EPYC).
    """

    spec: LayerSpec
    packed: PackedWeights
    starts: tuple[int, ...]

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
        """Rows [R, H] to one activation [n_e, W_e] per expert, views of one tensor a width."""
        activations = []
        for first, last in pairwise(self.starts):
            begin, width = offsets[first], int(self.packed.widths[first])
            bounds = [offset - begin for offset in offsets[first : last + 1]]
            gate_up = rows.new_empty(bounds[-1], 2 * width)
            for expert, (start, end) in enumerate(pairwise(bounds), first):
                if end > start:
                    mine = rows[begin + start : begin + end]
                    torch.mm(mine, self.packed.gate_up_of(expert).t(), out=gate_up[start:end])
            activation = swiglu(gate_up)
            activations += [activation[start:end] for start, end in pairwise(bounds)]
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
        layer = TorchLoopLayer(spec, pack(spec, weights, device, dtype), tuple(width_runs(spec.expert_widths)))
        return with_shared_expert(layer, spec, weights, device, dtype)


IMPLEMENTATION = TorchLoop()
