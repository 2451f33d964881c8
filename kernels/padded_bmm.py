"""Every expert padded to the widest and to the fullest: two batched GEMMs, the cost of ignoring heterogeneity.

With W = max W_e and C = max n_e: a = silu(X Gate^T) * (X Up^T) [E, C, W] from X [E, C, H], out = a Down^T [E, C, H].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..dispatch import DispatchPlan, combine, permute
from ..reference import ExpertWeights, LayerSpec
from .common import check_call, check_device, check_prepare, swiglu
from .interface import Layer
from .packing import as_tensor
from .shared_expert import with_shared_expert

# Below this many bytes of workspace a CPU call does not ask the system how much memory is left (about 50 us).
UNGUARDED_BYTES = 2**30


@dataclass(frozen=True)
class PaddedLayer:
    """gate_up [E, 2·W, H], gate rows then up rows, and down_t [E, W, H]; zeros beyond each expert's own width.

    ids: int32[E + 1] on the device, 0 to E
    """

    spec: LayerSpec
    gate_up: torch.Tensor
    down_t: torch.Tensor
    ids: torch.Tensor

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer`. Waits for the GPU once, to read the capacity. Raises MemoryError, see `check_workspace`."""
        check_call(x, plan, self.spec, self.gate_up.device, self.gate_up.dtype)
        padded = self._pad(plan)
        return combine(self._gemm2(self._gemm1(self._permute(x, padded))), padded)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """See `Layer`; "plan" reads the capacity and makes the padded plan."""
        check_call(x, plan, self.spec, self.gate_up.device, self.gate_up.dtype)
        padded = self._pad(plan)
        rows = self._permute(x, padded)
        activation = self._gemm1(rows)
        out = self._gemm2(activation)
        return {
            "plan": lambda: self._pad(plan),
            "permute": lambda: self._permute(x, padded),
            "gemm1": lambda: self._gemm1(rows),
            "gemm2": lambda: self._gemm2(activation),
            "combine": lambda: combine(out, padded),
        }

    def executed_flops(self, counts: NDArray[np.int64]) -> int:
        """E · C · 6 · H · W: every expert pays for the widest and the fullest."""
        return 6 * self.down_t.numel() * int(np.max(counts, initial=0))

    def workspace_bytes(self, capacity: int) -> int:
        """The most a call with C = capacity holds at once: E · C rows of input, gate and up, and activation."""
        experts, width, hidden = self.down_t.shape
        return experts * capacity * (hidden + 3 * width) * self.down_t.element_size()

    def _pad(self, plan: DispatchPlan) -> DispatchPlan:
        """The plan in which expert e owns rows e·C to (e + 1)·C, so that permute and combine work unchanged.

        A padding row repeats some real row: it costs what it costs, and no token's token_row points at it.
        """
        offsets = plan.expert_offsets
        if plan.rows == 0:
            return plan
        capacity = int(torch.max(offsets[1:] - offsets[:-1]))
        check_workspace(self.workspace_bytes(capacity), offsets.device)
        slots = torch.arange(capacity, dtype=torch.int32, device=offsets.device)
        source = (offsets[:-1, None] + slots).clamp_(max=plan.rows - 1).view(-1)
        # Row r of expert e moves by e·C - expert_offsets[e].
        ends = self.ids * capacity
        shift = ends[:-1] - offsets[:-1]
        expert = torch.searchsorted(offsets[1:], plan.token_row.reshape(-1), right=True, out_int32=True)
        token_row = plan.token_row + shift.index_select(0, expert).view_as(plan.token_row)
        return DispatchPlan(
            expert_offsets=ends,
            row_token=plan.row_token.index_select(0, source),
            token_row=token_row,
            row_weight=plan.row_weight.index_select(0, source),
        )

    def _permute(self, x: torch.Tensor, padded: DispatchPlan) -> torch.Tensor:
        """Padded rows [E·C, H], from the torch backend: it gathers by row, others scatter and leave holes."""
        return permute(x, padded, backend="torch")

    def _gemm1(self, rows: torch.Tensor) -> torch.Tensor:
        """Padded rows [E·C, H] to activations [E, C, W]."""
        batches = rows.view(self.spec.experts, len(rows) // self.spec.experts, self.spec.hidden)
        return swiglu(torch.bmm(batches, self.gate_up.transpose(1, 2)))

    def _gemm2(self, activation: torch.Tensor) -> torch.Tensor:
        """Activations [E, C, W] to padded rows [E·C, H]."""
        return torch.bmm(activation, self.down_t).view(-1, self.spec.hidden)


def check_workspace(needed: int, device: torch.device) -> None:
    """Raise MemoryError where a CPU call would not fit: Linux grants any allocation and kills the process later.

    On a GPU the allocator itself raises torch.OutOfMemoryError.
    """
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or needed <= UNGUARDED_BYTES or not meminfo.exists():
        return
    fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    if needed > available:
        raise MemoryError(f"padded rows need {needed / 1e9:.1f} GB, {available / 1e9:.1f} GB are available")


@dataclass(frozen=True)
class PaddedBmm:
    """The entry of the table."""

    name: str = "padded_bmm"
    description: str = (
        "every expert padded to the widest and the fullest, two batched GEMMs; waits for the GPU once a call, to read "
        "the capacity"
    )

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:  # noqa: ARG002
        """See `Implementation.supports`: any shape, as far as memory goes."""
        return check_device(dtype, device)

    def prepare(self, spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype) -> Layer:
        """See `Implementation.prepare`."""
        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        weights.check(spec)
        widest = max(spec.widths)
        gate_up = torch.zeros((spec.experts, 2 * widest, spec.hidden), dtype=dtype, device=device)
        down_t = torch.zeros((spec.experts, widest, spec.hidden), dtype=dtype, device=device)
        for expert, width in enumerate(int(width) for width in spec.expert_widths):
            gate_up[expert, :width].copy_(as_tensor(weights.gate[expert]))
            gate_up[expert, widest : widest + width].copy_(as_tensor(weights.up[expert]))
            down_t[expert, :width].copy_(as_tensor(weights.down[expert]).t())
        ids = torch.arange(spec.experts + 1, dtype=torch.int32, device=device)
        return with_shared_expert(PaddedLayer(spec, gate_up, down_t, ids), spec, weights, device, dtype)


IMPLEMENTATION = PaddedBmm()
