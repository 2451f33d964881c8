"""Triton: permute and combine, both memory-bound: 16-byte accesses along H, 64-bit addresses (R * H passes 2^31).

Permute reads every token once and writes its K rows; gathering by row would read every token K times. Combine reads
every row once and keeps the sum in registers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl

from .aot import AotKernel
from .plan import DispatchPlan
from .triton_sizes import ceil_div, power_of_two

TILE = 2048  # elements of a program's tile: 16 a thread of four warps, two 16-byte accesses in bfloat16
WIDEST = 1024  # of them along H


@triton.jit(do_not_specialize=["tokens"])
def permute_rows(
    x_ptr,
    token_row_ptr,
    rows_ptr,
    tokens,
    hidden,
    UNIT: tl.constexpr,
    TOP_K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """rows[token_row[t, k], :] = x[t, :] for BLOCK_T tokens and BLOCK_H columns."""
    hidden = hidden // UNIT * UNIT  # tells the compiler how rows are aligned
    token = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    column = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    mask = (token < tokens)[:, None] & (column < hidden)[None, :]
    values = tl.load(x_ptr + token.to(tl.int64)[:, None] * hidden + column[None, :], mask=mask)
    for slot in tl.static_range(TOP_K):  # pyright: ignore[reportGeneralTypeIssues]
        row = tl.load(token_row_ptr + token.to(tl.int64) * TOP_K + slot, mask=token < tokens, other=0)
        tl.store(rows_ptr + row.to(tl.int64)[:, None] * hidden + column[None, :], values, mask=mask)


@triton.jit(do_not_specialize=["tokens"])
def combine_rows(
    rows_ptr,
    token_row_ptr,
    row_weight_ptr,
    y_ptr,
    tokens,
    hidden,
    UNIT: tl.constexpr,
    SPLITS: tl.constexpr,
    TOP_K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_H: tl.constexpr,
    WIDE: tl.constexpr,
):
    """y[t, :] = sum over k of row_weight[r] * rows[r, :], r = token_row[t, k], in order of k, accumulated in WIDE.

    rows is [R, H], or [SPLITS, R, H] whose sum over the splits, split 0 first, is meant.
    """
    hidden = hidden // UNIT * UNIT  # tells the compiler how rows are aligned
    token = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    column = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    mask = (token < tokens)[:, None] & (column < hidden)[None, :]
    total = tl.zeros((BLOCK_T, BLOCK_H), WIDE)
    for slot in tl.static_range(TOP_K):  # pyright: ignore[reportGeneralTypeIssues]
        row = tl.load(token_row_ptr + token.to(tl.int64) * TOP_K + slot, mask=token < tokens, other=0)
        weight = tl.load(row_weight_ptr + row, mask=token < tokens, other=0.0).to(WIDE)
        row_ptrs = rows_ptr + row.to(tl.int64)[:, None] * hidden + column[None, :]
        values = tl.load(row_ptrs, mask=mask, other=0.0).to(WIDE)
        for split in tl.static_range(1, SPLITS):  # pyright: ignore[reportGeneralTypeIssues]
            offset = tokens.to(tl.int64) * TOP_K * hidden * split
            values += tl.load(row_ptrs + offset, mask=mask, other=0.0).to(WIDE)
        total += weight[:, None] * values
    tl.store(
        y_ptr + token.to(tl.int64)[:, None] * hidden + column[None, :], total.to(y_ptr.dtype.element_ty), mask=mask
    )


def permute(x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
    """See `Backend.permute`; x contiguous."""
    rows = x.new_empty(plan.rows, x.shape[1])
    if rows.numel():
        grid, constants = _tiles(plan.tokens, plan.top_k, x.shape[1])
        permute_rows[grid](x, plan.token_row, rows, plan.tokens, x.shape[1], **constants)
    return rows


def combine(rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
    """See `Backend.combine`; rows contiguous."""
    return combine_splits(rows[None], plan, rows.dtype)


def combine_splits(rows: torch.Tensor, plan: DispatchPlan, dtype: torch.dtype) -> torch.Tensor:
    """`combine` of the sum of rows [splits, R, H] over the splits, in their order, to y [T, H] of `dtype`."""
    splits, _, hidden = rows.shape
    y = torch.empty((plan.tokens, hidden), dtype=dtype, device=rows.device)
    if y.numel():
        grid, constants = _tiles(plan.tokens, plan.top_k, hidden)
        constants |= _sums(splits, double=rows.dtype == torch.float64)
        combine_rows[grid](rows, plan.token_row, plan.row_weight, y, plan.tokens, hidden, **constants)
    return y


def _tiles(tokens: int, top_k: int, hidden: int) -> tuple[tuple[int, int], dict[str, Any]]:
    """The launch grid and the compile-time constants, from shapes alone."""
    block_h = min(WIDEST, power_of_two(hidden))
    block_t = min(16, TILE // block_h)
    constants = {"UNIT": math.gcd(hidden, 16), "TOP_K": top_k, "BLOCK_T": block_t, "BLOCK_H": block_h}
    return (ceil_div(tokens, block_t), ceil_div(hidden, block_h)), constants


def _sums(splits: int, *, double: bool = False) -> dict[str, Any]:
    return {"WIDE": tl.float64 if double else tl.float32, "SPLITS": splits}


def aot_kernels() -> list[AotKernel]:
    """The kernels of this file for mohge-3b, H = 1024, K = 6, in every dtype of the layer, and in bfloat16 for an H
    that is no multiple of 16.
    """
    kernels = [kernel for dtype in ("bf16", "fp16", "fp32") for kernel in _kernels(dtype, 1024)]
    return kernels + [kernel._replace(name=f"{kernel.name}/1032") for kernel in _kernels("bf16", 1032)]


def _kernels(dtype: str, hidden: int) -> list[AotKernel]:
    return [launched_permute(6, hidden, dtype), launched_combine(6, hidden, dtype)]


def launched_permute(top_k: int, hidden: int, dtype: str) -> AotKernel:
    """The kernel of `permute` as it is launched for rows of `dtype` ("bf16", "fp16", "fp32")."""
    pointers = {"x_ptr": f"*{dtype}", "rows_ptr": f"*{dtype}", "token_row_ptr": "*i32"}
    return _kernel(f"permute_rows/{dtype}", permute_rows, pointers, top_k, hidden)


def launched_combine(top_k: int, hidden: int, dtype: str, splits: int = 1) -> AotKernel:
    """The kernel of `combine_splits` to y of `dtype`; the rows of more than one split are float32."""
    rows = {"rows_ptr": f"*{dtype}" if splits == 1 else "*fp32", "token_row_ptr": "*i32", "row_weight_ptr": "*fp32"}
    pointers = {**rows, "y_ptr": f"*{dtype}"}
    return _kernel(f"combine_rows/{dtype}", combine_rows, pointers, top_k, hidden, _sums(splits))


def _kernel(
    name: str, function: Any, pointers: dict[str, str], top_k: int, hidden: int, more: dict[str, Any] | None = None
) -> AotKernel:
    _, constants = _tiles(1, top_k, hidden)
    divisible = (*pointers, *(("hidden",) if hidden % 16 == 0 else ()))
    sizes = {"tokens": "i32", "hidden": "i32"}
    return AotKernel(name, function, {**pointers, **sizes}, {**constants, **(more or {})}, divisible=divisible)
