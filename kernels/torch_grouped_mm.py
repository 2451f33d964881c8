"""One torch grouped GEMM per width: what a library that fixes one (N, K) for all experts gives when widths differ.

For each run of experts of equal width W with rows x_g [R_g, H]: a_g = silu(x_g Gate^T) * (x_g Up^T) [R_g, W] in one
grouped GEMM, out_g = a_g Down^T in another. Neighbouring groups of equal width are one run, so a uniform layer is the
single grouped GEMM pair that public MoE layers use.
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
from .common import check_call, check_device, check_prepare, dtype_name, swiglu, useful_flops, width_runs
from .interface import Layer
from .packing import PackedWeights, pack
from .shared_expert import with_shared_expert

# Rows [R, K], matrices [n, K, N] and ends int32[n] to [R, N]: rows ends[i - 1] to ends[i] (from 0) meet matrices[i].
Multiply = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
# Public since torch 2.10; the private name has the same signature.
GROUPED_MM = getattr(torch.nn.functional, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)
# Compute capabilities with torch's fused bf16 kernel (torch 2.11: aten/src/ATen/native/cuda/GroupedBlas.cpp).
FUSED_CAPABILITIES = (9, 10)
STRIDE_BYTES = 16


@dataclass(frozen=True)
class Run:
    """Neighbouring experts of one width: gate_up [n, H, 2·W] and down_t [n, W, H] are views of the packed weights."""

    first: int
    last: int
    gate_up: torch.Tensor
    down_t: torch.Tensor


@dataclass(frozen=True)
class Bounds:
    """Where the runs' rows are: rows int[runs + 1] on the host, ends int32[E] on the device, relative to the run."""

    rows: list[int]
    ends: torch.Tensor


@dataclass(frozen=True)
class TorchGroupedLayer:
    """Prepared weights and, on the device, which experts form a run.

    run_starts: int64[runs + 1]  the first expert of each run, then E
    run_start:  int64[E]         the first expert of each expert's own run
    multiply:   what computes one run's grouped GEMM: torch's, or another library's for rows and matrices laid out alike
    """

    spec: LayerSpec
    packed: PackedWeights
    runs: tuple[Run, ...]
    run_starts: torch.Tensor
    run_start: torch.Tensor
    multiply: Multiply

    @classmethod
    def prepare(
        cls,
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device,
        dtype: torch.dtype,
        multiply: Multiply,
    ) -> TorchGroupedLayer:
        """Pack the weights and find the runs."""
        packed = pack(spec, weights, device, dtype)
        starts = width_runs(spec.expert_widths)
        runs = []
        for first, last in pairwise(starts):
            width, experts = int(packed.widths[first]), last - first
            gate_up = packed.gate_up_of(first, last).view(experts, 2 * width, spec.hidden).transpose(1, 2)
            down_t = packed.down_t_of(first, last).view(experts, width, spec.hidden)
            runs.append(Run(first, last, gate_up, down_t))
        return cls(
            spec=spec,
            packed=packed,
            runs=tuple(runs),
            run_starts=torch.tensor(starts, device=device),
            run_start=torch.tensor(np.repeat(starts[:-1], np.diff(starts)), device=device),
            multiply=multiply,
        )

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer`. Waits for the GPU once where there is more than one width, to read where each one's rows are."""
        check_call(x, plan, self.spec, self.packed.gate_up.device, self.packed.gate_up.dtype)
        bounds = self._bounds(plan)
        return combine(self._gemm2(self._gemm1(permute(x, plan), bounds), bounds), plan)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """See `Layer`; "plan" makes the offsets within each run and reads the runs' bounds to the host."""
        check_call(x, plan, self.spec, self.packed.gate_up.device, self.packed.gate_up.dtype)
        bounds = self._bounds(plan)
        rows = permute(x, plan)
        activations = self._gemm1(rows, bounds)
        out = self._gemm2(activations, bounds)
        return {
            "plan": lambda: self._bounds(plan),
            "permute": lambda: permute(x, plan),
            "gemm1": lambda: self._gemm1(rows, bounds),
            "gemm2": lambda: self._gemm2(activations, bounds),
            "combine": lambda: combine(out, plan),
        }

    def executed_flops(self, counts: NDArray[np.int64]) -> int:
        """The useful FLOPs: nothing is padded; what the library's tiles waste at their edges is not visible here."""
        return useful_flops(counts, self.packed.widths, self.spec.hidden)

    def _bounds(self, plan: DispatchPlan) -> Bounds:
        # grouped_mm starts at row 0 of what it is given, and a run's first row is data: the host has to slice there.
        # An extra leading entry that skips rows would be computed (its width is fixed too), so there is no way around
        # reading runs + 1 numbers, except with one run, whose bounds are 0 and R.
        if len(self.runs) == 1:
            return Bounds([0, plan.rows], plan.expert_offsets[1:])
        ends = plan.expert_offsets[1:] - plan.expert_offsets.index_select(0, self.run_start)
        return Bounds(plan.expert_offsets.index_select(0, self.run_starts).tolist(), ends)

    def _gemm1(self, rows: torch.Tensor, bounds: Bounds) -> list[torch.Tensor]:
        """Rows [R, H] to one activation [R_g, W] per run."""
        activations = []
        for index, run in enumerate(self.runs):
            start, end = bounds.rows[index], bounds.rows[index + 1]
            if start == end:
                activations.append(rows.new_empty(0, run.down_t.shape[1]))
                continue
            activations.append(swiglu(self.multiply(rows[start:end], run.gate_up, bounds.ends[run.first : run.last])))
        return activations

    def _gemm2(self, activations: list[torch.Tensor], bounds: Bounds) -> torch.Tensor:
        """The activations to rows [R, H] in plan order. grouped_mm has no `out`: several runs cost one copy more."""
        outs = [
            self.multiply(activation, run.down_t, bounds.ends[run.first : run.last])
            for activation, run in zip(activations, self.runs, strict=True)
            if len(activation)
        ]
        if not outs:
            return self.packed.down_t.new_empty(0, self.spec.hidden)
        return outs[0] if len(outs) == 1 else torch.cat(outs)


def grouped_mm(rows: torch.Tensor, matrices: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """See `Multiply`: torch's own."""
    assert GROUPED_MM is not None
    return GROUPED_MM(rows, matrices, offs=ends)


@dataclass(frozen=True)
class TorchGrouped:
    """The entry of the table."""

    name: str = "torch_grouped_mm"
    description: str = (
        "one torch grouped GEMM pair per width; where widths differ, waits for the GPU once a call, to read the bounds"
    )

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:
        """See `Implementation.supports`."""
        reason = check_device(dtype, device)
        if reason is not None:
            return reason
        if GROUPED_MM is None:
            return f"torch {torch.__version__} has no grouped_mm"
        if device.type == "cuda":
            major, minor = torch.cuda.get_device_capability(device)
            if dtype != torch.bfloat16 or major not in FUSED_CAPABILITIES:
                return (
                    f"torch has a fused grouped GEMM for bfloat16 on compute capability 9 and 10 only; for "
                    f"{dtype_name(dtype)} on {major}.{minor} it runs one GEMM per expert, which is torch_loop"
                )
        multiple = STRIDE_BYTES // dtype.itemsize
        for size, what in ((spec.hidden, "hidden"), *((width, "every width") for width in spec.widths)):
            if size % multiple:
                return f"expected {what} to be a multiple of {multiple} ({STRIDE_BYTES}-byte rows), got {size}"
        return None

    def prepare(self, spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype) -> Layer:
        """See `Implementation.prepare`."""
        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        layer = TorchGroupedLayer.prepare(spec, weights, device, dtype, grouped_mm)
        return with_shared_expert(layer, spec, weights, device, dtype)


IMPLEMENTATION = TorchGrouped()
