"""Triton: plan to tile schedules, one launch for one of them or two.

Every program computes the prefix sums of tiles per expert (E numbers, in registers) and fills ENTRIES entries: an entry
belongs to the p-th expert of the order, p = how many prefix sums are at or below the entry's index.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from .aot import AotKernel
from .plan import DispatchPlan, TileSchedule, schedule_bound
from .triton_sizes import ceil_div, power_of_two


@triton.jit
def _fill(
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
    """One list."""
    _fill(
        expert_offsets_ptr, columns_ptr, order_ptr, expert_out_ptr, row_out_ptr, column_out_ptr, count_ptr,
        experts, bound, BLOCK_ROWS, BAND, EXPERTS_POW2, ENTRIES,
    )  # fmt: skip


@triton.jit(do_not_specialize=["experts", "bound", "other_bound"])
def fill_two_schedules(
    expert_offsets_ptr,
    order_ptr,
    columns_ptr,
    expert_out_ptr,
    row_out_ptr,
    column_out_ptr,
    count_ptr,
    other_columns_ptr,
    other_expert_out_ptr,
    other_row_out_ptr,
    other_column_out_ptr,
    other_count_ptr,
    experts,
    bound,
    other_bound,
    BLOCK_ROWS: tl.constexpr,
    BAND: tl.constexpr,
    OTHER_BLOCK_ROWS: tl.constexpr,
    OTHER_BAND: tl.constexpr,
    EXPERTS_POW2: tl.constexpr,
    ENTRIES: tl.constexpr,
):
    """Two lists over the same experts, one by the programs of each half of the grid."""
    if tl.program_id(1) == 0:
        _fill(
            expert_offsets_ptr, columns_ptr, order_ptr, expert_out_ptr, row_out_ptr, column_out_ptr, count_ptr,
            experts, bound, BLOCK_ROWS, BAND, EXPERTS_POW2, ENTRIES,
        )  # fmt: skip
    else:
        _fill(
            expert_offsets_ptr, other_columns_ptr, order_ptr, other_expert_out_ptr, other_row_out_ptr,
            other_column_out_ptr, other_count_ptr,
            experts, other_bound, OTHER_BLOCK_ROWS, OTHER_BAND, EXPERTS_POW2, ENTRIES,
        )  # fmt: skip


def make_schedule(
    plan: DispatchPlan, block_rows: int, columns: torch.Tensor, order: torch.Tensor, most_columns: int, band: int
) -> TileSchedule:
    """See `Backend.make_schedule`; columns and order contiguous int32[E] on the plan's device."""
    schedule = _empty(plan, order.device, block_rows, most_columns)
    constants, entries = _constants(plan)
    constants |= {"BLOCK_ROWS": block_rows, "BAND": band}
    grid = (ceil_div(schedule.bound, entries),)
    inputs = (plan.expert_offsets, columns, order)
    fill_schedule[grid](*inputs, *_outputs(schedule), plan.experts, schedule.bound, **constants)
    return schedule


class ListRequest(NamedTuple):
    """What `make_schedule` takes beside the plan and the order."""

    block_rows: int
    columns: torch.Tensor
    most_columns: int
    band: int


def make_two_schedules(
    plan: DispatchPlan, order: torch.Tensor, one: ListRequest, other: ListRequest
) -> tuple[TileSchedule, TileSchedule]:
    """The schedules of two GEMMs over the same rows in one launch: a small batch waits for launches, not for them."""
    schedules = [_empty(plan, order.device, asked.block_rows, asked.most_columns) for asked in (one, other)]
    constants, entries = _constants(plan)
    constants |= {"BLOCK_ROWS": one.block_rows, "BAND": one.band}
    constants |= {"OTHER_BLOCK_ROWS": other.block_rows, "OTHER_BAND": other.band}
    bounds = [schedule.bound for schedule in schedules]
    lists: list[torch.Tensor] = []
    for asked, schedule in zip((one, other), schedules, strict=True):
        lists += (asked.columns, *_outputs(schedule))
    arguments = (plan.expert_offsets, order, *lists, plan.experts, *bounds)
    kernel: Any = fill_two_schedules
    kernel[(ceil_div(max(bounds), entries), 2)](*arguments, **constants)
    return schedules[0], schedules[1]


def _empty(plan: DispatchPlan, device: torch.device, block_rows: int, most_columns: int) -> TileSchedule:
    """Room for a list, its size known from shapes."""
    bound = schedule_bound(plan.rows, plan.experts, block_rows, most_columns)
    padded = ceil_div(bound, 4) * 4  # each of the three starts on 16 bytes whatever the bound: one compiled kernel
    expert, row, column = torch.empty(3, padded, dtype=torch.int32, device=device)[:, :bound]
    count = torch.empty(1, dtype=torch.int32, device=device)
    return TileSchedule(expert=expert, row=row, column=column, count=count, block_rows=block_rows)


def _outputs(schedule: TileSchedule) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return schedule.expert, schedule.row, schedule.column, schedule.count


def _constants(plan: DispatchPlan) -> tuple[dict[str, Any], int]:
    """What the kernels are compiled with for the number of experts, and entries of a program."""
    experts_pow2 = power_of_two(plan.experts)
    entries = _entries(experts_pow2)
    return {"EXPERTS_POW2": experts_pow2, "ENTRIES": entries}, entries


def _entries(experts_pow2: int) -> int:
    """Entries of one program: the comparison with every expert stays within 64 values a thread of four warps."""
    return max(1, min(256, 8192 // experts_pow2))


def aot_kernels() -> list[AotKernel]:
    """The kernels of this file for mohge-3b, E = 64: one list, and both lists of a layer."""
    inputs = ("expert_offsets_ptr", "columns_ptr", "order_ptr")
    outputs = ("expert_out_ptr", "row_out_ptr", "column_out_ptr", "count_ptr")
    others = tuple(f"other_{name}" for name in ("columns_ptr", *outputs))
    signature = {**dict.fromkeys(inputs + outputs, "*i32"), "experts": "i32", "bound": "i32"}
    both = {**signature, **dict.fromkeys(others, "*i32"), "other_bound": "i32"}
    constants = {"BLOCK_ROWS": 128, "BAND": 8, "EXPERTS_POW2": 64, "ENTRIES": _entries(64)}
    two = {**constants, "OTHER_BLOCK_ROWS": 128, "OTHER_BAND": 8}
    return [
        AotKernel("fill_schedule", fill_schedule, signature, constants, divisible=(*inputs, *outputs)),
        AotKernel("fill_two_schedules", fill_two_schedules, both, two, divisible=(*inputs, *outputs, *others)),
    ]
