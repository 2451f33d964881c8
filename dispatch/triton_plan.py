"""Triton: routing to plan, a stable counting sort.

The routed rows, flattened [T, K] and so in order of token, then slot, are cut into blocks. For element i of block b,
routed to expert e,

    row = expert_offsets[e] + (rows of e in blocks before b) + rank,   rank = elements j < i of the block that chose e

The rank is counted by comparing every pair of a block: with blocks of 256 that is a few thousand instructions a thread,
compiles in a fraction of a second (a sorting network of the same size takes seconds), and no atomic decides an order.

A routing that fits one block needs one launch. A larger one needs three: count rows per (expert, block), scan the
counts of every expert over the blocks, place. Sizes are not specialised, so that a new T never compiles anew.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from .aot import AotKernel
from .plan import DispatchPlan
from .triton_sizes import ceil_div, power_of_two

ONE_BLOCK = 512  # most rows of the one-launch path: 64 tokens, K = 8
BLOCK = 256  # rows per block of the three-launch path: 2048 blocks for the 512k rows of 64k tokens, K = 8
CHUNK = 32  # elements compared with a whole block at a time
SCAN = 1024  # blocks scanned at a time


@triton.jit
def _expert_of(ids_ptr, index, rows):
    """The expert of flattened element `index`, int32; -1 past the end."""
    return tl.load(ids_ptr + index, mask=index < rows, other=0).to(tl.int32) | tl.where(index < rows, 0, -1)


@triton.jit
def _count_block(expert, EXPERTS_POW2: tl.constexpr):
    """Elements of the block per expert, int32[EXPERTS_POW2]; expert int32[BLOCK], -1 past the end."""
    return tl.histogram(tl.maximum(expert, 0), EXPERTS_POW2, mask=expert >= 0)


@triton.jit
def _place_block(
    ids_ptr,
    weights_ptr,
    row_token_ptr,
    token_row_ptr,
    row_weight_ptr,
    first,
    expert,
    start,
    rows,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Give the block's elements (`first` and following, of experts `expert` int32[BLOCK]) their rows.

    start int32[EXPERTS_POW2]: the row of the block's first element of every expert.
    """
    source = first + tl.arange(0, BLOCK)
    used = source < rows
    rank = tl.zeros((BLOCK,), tl.int32)
    for chunk in range(first, min(first + BLOCK, rows), CHUNK):
        other = chunk + tl.arange(0, CHUNK)
        same = _expert_of(ids_ptr, other, rows)[:, None] == expert[None, :]
        rank += tl.sum((same & (other[:, None] < source[None, :])).to(tl.int32), 0)
    row = tl.gather(start, tl.maximum(expert, 0), 0) + rank
    tl.store(token_row_ptr + source, row, mask=used)
    tl.store(row_token_ptr + row, source // TOP_K, mask=used)
    tl.store(row_weight_ptr + row, tl.load(weights_ptr + source, mask=used, other=0.0).to(tl.float32), mask=used)


@triton.jit(do_not_specialize=["rows", "experts"])
def plan_one_block(
    ids_ptr,
    weights_ptr,
    expert_offsets_ptr,
    row_token_ptr,
    token_row_ptr,
    row_weight_ptr,
    rows,
    experts,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    EXPERTS_POW2: tl.constexpr,
):
    """The whole plan in one program."""
    chosen = _expert_of(ids_ptr, tl.arange(0, BLOCK), rows)
    counts = _count_block(chosen, EXPERTS_POW2)
    ends = tl.cumsum(counts, 0)
    expert = tl.arange(0, EXPERTS_POW2)
    tl.store(expert_offsets_ptr + expert + 1, ends, mask=expert < experts)
    tl.store(expert_offsets_ptr + expert, tl.zeros_like(ends), mask=expert == 0)
    start = ends - counts
    _place_block(
        ids_ptr, weights_ptr, row_token_ptr, token_row_ptr, row_weight_ptr, 0, chosen, start, rows, TOP_K, BLOCK, CHUNK
    )


@triton.jit(do_not_specialize=["rows", "experts", "blocks"])
def plan_count(ids_ptr, counts_ptr, rows, experts, blocks, BLOCK: tl.constexpr, EXPERTS_POW2: tl.constexpr):
    """counts[e, b] = rows of expert e in block b; one program a block."""
    block = tl.program_id(0)
    expert = tl.arange(0, EXPERTS_POW2)
    counts = _count_block(_expert_of(ids_ptr, block * BLOCK + tl.arange(0, BLOCK), rows), EXPERTS_POW2)
    tl.store(counts_ptr + expert.to(tl.int64) * blocks + block, counts, mask=expert < experts)


@triton.jit(do_not_specialize=["blocks"])
def plan_scan(counts_ptr, totals_ptr, blocks, SCAN: tl.constexpr):
    """In place counts[e, b] = sum of counts[e, :b], and totals[e] = sum of counts[e, :]; one program an expert."""
    expert = tl.program_id(0)
    start = expert.to(tl.int64) * blocks
    total = tl.zeros((), tl.int32)
    for first in range(0, blocks, SCAN):
        block = first + tl.arange(0, SCAN)
        counts = tl.load(counts_ptr + start + block, mask=block < blocks, other=0)
        tl.store(counts_ptr + start + block, total + tl.cumsum(counts, 0) - counts, mask=block < blocks)
        total += tl.sum(counts, 0)
    tl.store(totals_ptr + expert, total)


@triton.jit(do_not_specialize=["rows", "experts", "blocks"])
def plan_place(
    ids_ptr,
    weights_ptr,
    before_ptr,
    totals_ptr,
    expert_offsets_ptr,
    row_token_ptr,
    token_row_ptr,
    row_weight_ptr,
    rows,
    experts,
    blocks,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    EXPERTS_POW2: tl.constexpr,
):
    """Give every element of a block its row; one program a block, the first also writes expert_offsets."""
    block = tl.program_id(0)
    expert = tl.arange(0, EXPERTS_POW2)
    known = expert < experts
    totals = tl.load(totals_ptr + expert, mask=known, other=0)
    ends = tl.cumsum(totals, 0)
    tl.store(expert_offsets_ptr + expert + 1, ends, mask=known & (block == 0))
    tl.store(expert_offsets_ptr + expert, tl.zeros_like(ends), mask=(expert == 0) & (block == 0))
    before = tl.load(before_ptr + expert.to(tl.int64) * blocks + block, mask=known, other=0)
    first = block * BLOCK
    chosen = _expert_of(ids_ptr, first + tl.arange(0, BLOCK), rows)
    start = ends - totals + before
    _place_block(
        ids_ptr,
        weights_ptr,
        row_token_ptr,
        token_row_ptr,
        row_weight_ptr,
        first,
        chosen,
        start,
        rows,
        TOP_K,
        BLOCK,
        CHUNK,
    )


def make_plan(expert_ids: torch.Tensor, weights: torch.Tensor, experts: int) -> DispatchPlan:
    """See `Backend.make_plan`; expert_ids and weights contiguous [T, K] on one device."""
    tokens, top_k = expert_ids.shape
    rows = tokens * top_k
    device = expert_ids.device

    def integers(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.int32, device=device)

    plan = DispatchPlan(
        expert_offsets=integers(experts + 1),
        row_token=integers(rows),
        token_row=integers(tokens, top_k),
        row_weight=torch.empty(rows, dtype=torch.float32, device=device),
    )
    outputs = (plan.expert_offsets, plan.row_token, plan.token_row, plan.row_weight)
    count, scan, place = _constants(rows, top_k, experts)
    if rows <= ONE_BLOCK:
        plan_one_block[(1,)](expert_ids, weights, *outputs, rows, experts, **place)
        return plan
    blocks = ceil_div(rows, BLOCK)
    counts, totals = integers(experts, blocks), integers(experts)
    plan_count[(blocks,)](expert_ids, counts, rows, experts, blocks, **count)
    plan_scan[(experts,)](counts, totals, blocks, **scan)
    plan_place[(blocks,)](expert_ids, weights, counts, totals, *outputs, rows, experts, blocks, **place)
    return plan


def _constants(rows: int, top_k: int, experts: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What the kernels that count, scan and place are compiled with; the one-launch path is a placing."""
    block = max(64, power_of_two(rows)) if rows <= ONE_BLOCK else BLOCK
    count: dict[str, Any] = {"BLOCK": block, "EXPERTS_POW2": _experts_pow2(experts)}
    return count, {"SCAN": SCAN}, {**count, "TOP_K": top_k, "CHUNK": CHUNK}


def _experts_pow2(experts: int) -> int:
    """A power of two that holds every expert, at least a warp wide."""
    return max(32, power_of_two(experts))


def launched(rows: int, top_k: int, experts: int) -> list[AotKernel]:
    """The kernels that make the plan of R = `rows` for int64 ids and float32 weights, as `make_plan` launches them."""
    outputs = dict.fromkeys(("expert_offsets_ptr", "row_token_ptr", "token_row_ptr"), "*i32")
    inputs = {"ids_ptr": "*i64", "weights_ptr": "*fp32", **outputs, "row_weight_ptr": "*fp32"}
    sizes = {"rows": "i32", "experts": "i32"}
    count = {"ids_ptr": "*i64", "counts_ptr": "*i32", **sizes, "blocks": "i32"}
    place = {**inputs, "before_ptr": "*i32", "totals_ptr": "*i32", **sizes, "blocks": "i32"}
    scan = {"counts_ptr": "*i32", "totals_ptr": "*i32", "blocks": "i32"}
    counted, scanned, placed = _constants(rows, top_k, experts)

    def kernel(name: str, function: object, signature: dict[str, str], constexprs: dict[str, int]) -> AotKernel:
        pointers = tuple(argument for argument in signature if argument.endswith("_ptr"))
        return AotKernel(name, function, signature, constexprs, divisible=pointers)

    if rows <= ONE_BLOCK:
        return [kernel(f"plan_one_block/{experts}", plan_one_block, {**inputs, **sizes}, placed)]
    return [
        kernel("plan_scan", plan_scan, scan, scanned),
        kernel(f"plan_count/{experts}", plan_count, count, counted),
        kernel(f"plan_place/{experts}", plan_place, place, placed),
    ]


def aot_kernels() -> list[AotKernel]:
    """The kernels of this file for mohge-3b (E = 64, K = 6) and the largest preset (E = 256, K = 8), each once."""
    sizes = [(rows, top_k, experts) for experts, top_k in ((64, 6), (256, 8)) for rows in (ONE_BLOCK, ONE_BLOCK + 1)]
    found = [kernel for rows, top_k, experts in sizes for kernel in launched(rows, top_k, experts)]
    return list({kernel.name: kernel for kernel in found}.values())
