"""Dispatch in Triton: the default on a GPU. See triton_plan.py, triton_schedule.py and triton_rows.py."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton

from . import triton_plan, triton_rows, triton_schedule
from .aot import AotKernel
from .plan import DispatchPlan, ListRequest, TileSchedule

# With TRITON_INTERPRET=1 at import, `triton.jit` wraps functions for the interpreter instead.
_INTERPRETED = not isinstance(triton_rows.permute_rows, triton.JITFunction)


class TritonBackend:
    """Every launch is sized from shapes, nothing is read back, no atomic decides an order."""

    name = "triton"

    def unavailable(self, device: torch.device) -> str | None:
        """See `Backend.unavailable`: compiled on a GPU, interpreted on the CPU, never the other way round."""
        if device.type == "cpu":
            return (
                None
                if _INTERPRETED
                else "Triton needs an NVIDIA GPU; TRITON_INTERPRET=1 set before the start interprets it"
            )
        if _INTERPRETED:
            return "Triton is interpreting (TRITON_INTERPRET=1), which works on the CPU only"
        return None if torch.cuda.is_available() else "torch sees no CUDA GPU in this process"

    def make_plan(self, expert_ids: torch.Tensor, weights: torch.Tensor, experts: int) -> DispatchPlan:
        """See `Backend.make_plan`: one launch for up to 2048 rows, three above."""
        with torch.cuda.device_of(expert_ids):
            return triton_plan.make_plan(expert_ids.contiguous(), weights.contiguous(), experts)

    def make_schedules(
        self, plan: DispatchPlan, order: torch.Tensor, requests: Sequence[ListRequest]
    ) -> tuple[TileSchedule, ...]:
        """See `Backend.make_schedules`: one launch for every two lists."""
        with torch.cuda.device_of(order):
            return triton_schedule.make_schedules(plan, order, requests)

    def permute(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Backend.permute`: one launch."""
        with torch.cuda.device_of(x):
            return triton_rows.permute(x.contiguous(), plan)

    def combine(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Backend.combine`: one launch."""
        with torch.cuda.device_of(rows):
            return triton_rows.combine(rows.contiguous(), plan)


def aot_kernels() -> list[AotKernel]:
    """Every kernel of the backend, for `compile_ahead`."""
    return triton_plan.aot_kernels() + triton_schedule.aot_kernels() + triton_rows.aot_kernels()


def launched(tokens: Sequence[int], top_k: int, experts: int, hidden: int, dtype: str) -> list[AotKernel]:
    """The kernels of plan, permute and combine for calls with these numbers of tokens; dtype "bf16", "fp16", "fp32"."""
    plans = [kernel for count in tokens for kernel in triton_plan.launched(count * top_k, top_k, experts)]
    moved = [launch(top_k, hidden, dtype) for launch in (triton_rows.launched_permute, triton_rows.launched_combine)]
    return [*plans, *moved]


BACKEND = TritonBackend()
