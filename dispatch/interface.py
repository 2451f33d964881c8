"""What a dispatch backend is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from .plan import DispatchPlan, ListRequest, TileSchedule


class Backend(Protocol):
    """Plan, schedule, permute and combine on the device the tensors live on.

    All backends give bit-identical integers. Nothing here reads a value back to the host on a GPU, and every launch is
    sized from T, K, E and block sizes alone, so that a CUDA graph can capture it.
    """

    name: str

    def unavailable(self, device: torch.device) -> str | None:
        """None, or the reason in one line why this backend cannot work on `device` in this process."""
        ...

    def make_plan(self, expert_ids: torch.Tensor, weights: torch.Tensor, experts: int) -> DispatchPlan:
        """expert_ids integer[T, K], weights float[T, K]; rows are ordered by expert, then token, then slot."""
        ...

    def make_schedules(
        self, plan: DispatchPlan, order: torch.Tensor, requests: Sequence[ListRequest]
    ) -> tuple[TileSchedule, ...]:
        """A work list for each of `requests`, whose columns are int32[E]; order int32[E] the experts in the order their
        tiles are listed; all of them on the plan's device. See `TileSchedule` for the order inside an expert.
        """
        ...

    def permute(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """Gather x [T, H] to rows [R, H] in plan order, same dtype."""
        ...

    def combine(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """Sum rows [R, H] to y [T, H]: y_t = sum over k of row_weight[r] * rows[r], r = token_row[t, k], k = 0 first,
        accumulated in float32 (float64 for float64 rows), same dtype out. Deterministic.
        """
        ...
