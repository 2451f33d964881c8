"""Triton: plan to tile schedule, one launch.

Every program computes the prefix sums of tiles per expert (E numbers, in registers) and fills ENTRIES entries: an entry
belongs to the p-th expert of the order, p = how many prefix sums are at or below the entry's index.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from .aot import AotKernel
from .plan import DispatchPlan, TileSchedule, schedule_bound
from .triton_sizes import ceil_div, power_of_two


@triton.jit(do_not_specialize=["experts", "bound"])
def fill_schedule(
    expert_offsets_ptr,
    columns_ptr,
    order_ptr,
    expert_out_ptr,
    row_out_ptr,
    column_out_ptr,
    count_ptr,
    experts,
    bound,
    BLOCK_ROWS: tl.constexpr,
    BAND: tl.constexpr,
    EXPERTS_POW2: tl.constexpr,
    ENTRIES: tl.constexpr,
):
    """Entries program_id * ENTRIES and following; the first program also writes count."""
    place = tl.arange(0, EXPERTS_POW2)
    known = place < experts
    listed = tl.load(order_ptr + place, mask=known, other=0)
    first_row = tl.load(expert_offsets_ptr + listed, mask=known, other=0)
    blocks = (tl.load(expert_offsets_ptr + listed + 1, mask=known, other=0) - first_row + BLOCK_ROWS - 1) // BLOCK_ROWS
    ends = tl.cumsum(blocks * tl.load(columns_ptr + listed, mask=known, other=0), 0)
    count = tl.max(ends, 0)
    tl.store(count_ptr, count, mask=tl.program_id(0) == 0)

    entry = tl.program_id(0) * ENTRIES + tl.arange(0, ENTRIES)
    used = entry < count
    before = known[None, :] & (ends[None, :] <= entry[:, None])
    expert = tl.load(order_ptr + tl.sum(before.to(tl.int32), 1), mask=used, other=-1)
    within = entry - tl.max(tl.where(before, ends[None, :], 0), 1)

    # Unused entries keep divisors of 1 and are stored as -1.
    first_row = tl.load(expert_offsets_ptr + expert, mask=used, other=0)
    last_row = tl.load(expert_offsets_ptr + expert + 1, mask=used, other=1)
    columns = tl.load(columns_ptr + expert, mask=used, other=1)
    first_block = within // (BAND * columns) * BAND
    band_blocks = tl.minimum((last_row - first_row + BLOCK_ROWS - 1) // BLOCK_ROWS - first_block, BAND)
    band_blocks = tl.maximum(band_blocks, 1)
    within -= first_block * columns
    row = first_row + (first_block + within % band_blocks) * BLOCK_ROWS
    inside = entry < bound
    tl.store(expert_out_ptr + entry, expert, mask=inside)
    tl.store(row_out_ptr + entry, tl.where(used, row, -1), mask=inside)
    tl.store(column_out_ptr + entry, tl.where(used, within // band_blocks, -1), mask=inside)


def make_schedule(
    plan: DispatchPlan, block_rows: int, columns: torch.Tensor, order: torch.Tensor, most_columns: int, band: int
) -> TileSchedule:
    """See `Backend.make_schedule`; columns and order contiguous int32[E] on the plan's device."""
    bound = schedule_bound(plan.rows, plan.experts, block_rows, most_columns)
    padded = ceil_div(bound, 4) * 4  # each of the three starts on 16 bytes whatever the bound: one compiled kernel
    expert, row, column = torch.empty(3, padded, dtype=torch.int32, device=order.device)[:, :bound]
    count = torch.empty(1, dtype=torch.int32, device=order.device)
    experts_pow2 = power_of_two(plan.experts)
    entries = _entries(experts_pow2)
    sizes = {"BLOCK_ROWS": block_rows, "BAND": band}
    constants: dict[str, Any] = {**sizes, "EXPERTS_POW2": experts_pow2, "ENTRIES": entries}
    inputs = (plan.expert_offsets, columns, order)
    grid = (ceil_div(bound, entries),)
    fill_schedule[grid](*inputs, expert, row, column, count, plan.experts, bound, **constants)
    return TileSchedule(expert=expert, row=row, column=column, count=count, block_rows=block_rows)


def _entries(experts_pow2: int) -> int:
    """Entries of one program: the comparison with every expert stays within 64 values a thread of four warps."""
    return max(1, min(256, 8192 // experts_pow2))


def aot_kernels() -> list[AotKernel]:
    """The kernel of this file for mohge-3b, E = 64."""
    inputs = ("expert_offsets_ptr", "columns_ptr", "order_ptr")
    outputs = ("expert_out_ptr", "row_out_ptr", "column_out_ptr", "count_ptr")
    signature = {**dict.fromkeys(inputs + outputs, "*i32"), "experts": "i32", "bound": "i32"}
    constants = {"BLOCK_ROWS": 128, "BAND": 8, "EXPERTS_POW2": 64, "ENTRIES": _entries(64)}
    return [AotKernel("fill_schedule", fill_schedule, signature, constants, divisible=(*inputs, *outputs))]
