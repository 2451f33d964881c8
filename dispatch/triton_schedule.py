"""Triton: plan to tile schedules, one launch for every two of them.

Every program computes the prefix sums of tiles per expert (E numbers, in registers) and fills ENTRIES entries: an entry
belongs to the p-th expert of the order, p = how many prefix sums are at or below the entry's index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl

from .aot import AotKernel
from .plan import DispatchPlan, ListRequest, TileSchedule, empty_schedules
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


@triton.jit(do_not_specialize=["experts", "bound", "other_bound"])
def fill_schedules(
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
    """Two lists over the same experts, one by each row of the grid; a grid of one row makes the first alone."""
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


def make_schedules(
    plan: DispatchPlan, order: torch.Tensor, requests: Sequence[ListRequest]
) -> tuple[TileSchedule, ...]:
    """See `Backend.make_schedules`; columns and order contiguous. A small batch waits for launches, not for them."""
    schedules = empty_schedules(plan, order, requests)
    experts_pow2 = power_of_two(plan.experts)
    entries = _entries(experts_pow2)
    lists = list(zip(requests, schedules, strict=True))
    kernel: Any = fill_schedules
    for first in range(0, len(lists), 2):
        pair = lists[first : first + 2]
        (one, made), (other, other_made) = pair[0], pair[-1]  # a list without a second one is named twice, made once
        grid = (ceil_div(max(made.bound, other_made.bound), entries), len(pair))
        kernel[grid](
            plan.expert_offsets, order, *_arrays(one, made), *_arrays(other, other_made),
            plan.experts, made.bound, other_made.bound,
            **_constants(experts_pow2, (one.block_rows, one.band), (other.block_rows, other.band)),
        )  # fmt: skip
    return tuple(schedules)


def _arrays(request: ListRequest, schedule: TileSchedule) -> tuple[torch.Tensor, ...]:
    return request.columns, schedule.expert, schedule.row, schedule.column, schedule.count


def _entries(experts_pow2: int) -> int:
    """Entries of one program: the comparison with every expert stays within 64 values a thread of four warps."""
    return max(1, min(256, 8192 // experts_pow2))


def _constants(experts_pow2: int, one: tuple[int, int], other: tuple[int, int]) -> dict[str, int]:
    """What the kernel is compiled with for block_rows and band of both lists."""
    tiles = {"BLOCK_ROWS": one[0], "BAND": one[1], "OTHER_BLOCK_ROWS": other[0], "OTHER_BAND": other[1]}
    return {**tiles, "EXPERTS_POW2": experts_pow2, "ENTRIES": _entries(experts_pow2)}


def launched(experts: int, one: tuple[int, int], other: tuple[int, int]) -> AotKernel:
    """The kernel of two lists, block_rows and band of each, as `make_schedules` launches it."""
    arrays = ("columns_ptr", "expert_out_ptr", "row_out_ptr", "column_out_ptr", "count_ptr")
    pointers = ("expert_offsets_ptr", "order_ptr", *arrays, *(f"other_{name}" for name in arrays))
    signature = dict.fromkeys(pointers, "*i32") | dict.fromkeys(("experts", "bound", "other_bound"), "i32")
    constants = _constants(power_of_two(experts), one, other)
    return AotKernel("fill_schedules", fill_schedules, signature, constants, divisible=pointers)


def aot_kernels() -> list[AotKernel]:
    """The kernel of this file for mohge-3b, E = 64."""
    return [launched(64, (128, 8), (128, 8))]
