"""Dispatch in plain torch: the backend that runs everywhere, CPU and GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .plan import DispatchPlan, ListRequest, TileSchedule, schedule_bound


class TorchBackend:
    """Sort, search and gather with torch's own operations.

    None of them reads a value back to the host: no `nonzero`, `bincount` or `repeat_interleave` with tensor repeats,
    which size their result from the data and therefore wait for the GPU.
    """

    name = "torch"

    def unavailable(self, device: torch.device) -> str | None:
        """See `Backend.unavailable`: torch works on the CPU and on a GPU it can see."""
        if device.type == "cuda" and not torch.cuda.is_available():
            return "torch sees no CUDA GPU in this process"
        return None

    def make_plan(self, expert_ids: torch.Tensor, weights: torch.Tensor, experts: int) -> DispatchPlan:
        """See `Backend.make_plan`. A stable sort of the flattened ids is the order expert, then token, then slot."""
        device, (tokens, top_k) = expert_ids.device, expert_ids.shape
        rows = tokens * top_k
        ordered, source = torch.sort(expert_ids.reshape(-1).to(torch.int32), stable=True)
        bounds = torch.arange(experts + 1, dtype=torch.int32, device=device)
        token_row = torch.empty(rows, dtype=torch.int32, device=device)
        token_row.scatter_(0, source, torch.arange(rows, dtype=torch.int32, device=device))
        return DispatchPlan(
            expert_offsets=torch.searchsorted(ordered, bounds, out_int32=True),
            row_token=torch.div(source, top_k, rounding_mode="floor").to(torch.int32),
            token_row=token_row.view(tokens, top_k),
            row_weight=weights.reshape(-1).to(torch.float32).index_select(0, source),
        )

    def make_schedules(
        self, plan: DispatchPlan, order: torch.Tensor, requests: Sequence[ListRequest]
    ) -> tuple[TileSchedule, ...]:
        """See `Backend.make_schedules`: one after the other."""
        return tuple(self._make_schedule(plan, order, request) for request in requests)

    def _make_schedule(self, plan: DispatchPlan, order: torch.Tensor, request: ListRequest) -> TileSchedule:
        """Every entry finds its expert by a search in the prefix sums of tiles."""
        block_rows, band = request.block_rows, request.band
        first_row = plan.expert_offsets[:-1].index_select(0, order)
        count = plan.expert_offsets[1:].index_select(0, order) - first_row
        columns = request.columns.index_select(0, order)
        blocks = (count + (block_rows - 1)) // block_rows
        tiles = blocks * columns
        ends = tiles.cumsum(0, dtype=torch.int32)
        bound = schedule_bound(plan.rows, plan.experts, block_rows, request.most_columns)
        entry = torch.arange(bound, dtype=torch.int32, device=order.device)
        place = torch.searchsorted(ends, entry, right=True).clamp_(max=plan.experts - 1)
        # Past the end there is no expert: the clamps keep the arithmetic defined, and `past` discards the result.
        within = entry - (ends - tiles).index_select(0, place)
        columns = columns.index_select(0, place).clamp_(min=1)
        first_block = within // (band * columns) * band
        band_blocks = (blocks.index_select(0, place) - first_block).clamp_(1, band)
        within = within - first_block * columns
        block = first_block + within % band_blocks
        past = entry >= ends[-1]
        row = first_row.index_select(0, place) + block * block_rows
        return TileSchedule(  # masked_fill, not where: a scalar operand of where is copied to the GPU with a wait
            expert=order.index_select(0, place).masked_fill(past, -1),
            row=row.masked_fill(past, -1),
            column=(within // band_blocks).masked_fill(past, -1),
            count=ends[-1:].clone(),
            block_rows=block_rows,
        )

    def permute(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Backend.permute`."""
        return x.index_select(0, plan.row_token)

    def combine(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Backend.combine`; float64 rows are accumulated in float64."""
        wide = torch.promote_types(rows.dtype, torch.float32)
        total = torch.zeros(plan.tokens, rows.shape[1], dtype=wide, device=rows.device)
        for slot in range(plan.top_k):
            row = plan.token_row[:, slot]
            weight = plan.row_weight.index_select(0, row)
            total.addcmul_(rows.index_select(0, row).to(wide), weight.to(wide)[:, None])
        return total.to(rows.dtype)


BACKEND = TorchBackend()
