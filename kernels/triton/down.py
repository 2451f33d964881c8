"""fc2: the down projection from the ragged activation, in one launch for all widths.

For row r of expert e:

    rows[r] = activation[r, :W_e] Down_e^T                               Down_e^T [W_e, H], rows [R, H] in plan order

The inner dimension is W_e, so tiles of wide experts last longer: the work list names them first (descending width).
Combine weights are applied by `dispatch.combine`, which sums a token's rows in a fixed order.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Only single integers are read through these: their alignment would change nothing but the number of compilations.
_INDICES = ("expert_offsets_ptr", "tile_expert_ptr", "tile_row_ptr", "tile_column_ptr", "tile_count_ptr")


@triton.jit(do_not_specialize_on_alignment=_INDICES)
def down_kernel(
    activation_ptr,  # flat; row r of expert e starts at activation_base[e] + (r - expert_offsets[e]) * W_e
    activation_base_ptr,  # int64[E]
    expert_offsets_ptr,  # int32[E + 1]
    down_t_ptr,  # [sum W_e, H]
    width_offsets_ptr,  # int64[E + 1]
    rows_ptr,  # [R, H]
    tile_expert_ptr,  # int32[bound], the work list
    tile_row_ptr,
    tile_column_ptr,
    tile_count_ptr,  # int32[1]
    hidden,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    EVEN_N: tl.constexpr,  # H is a multiple of BLOCK_N
    EVEN_K: tl.constexpr,  # every W_e is a multiple of BLOCK_K
    ALIGNED: tl.constexpr,  # every W_e is a multiple of 16
    PRECISION: tl.constexpr,
):
    """Persistent: program p does tiles p, p + programs, ... of the work list."""
    for tile in range(tl.program_id(0), tl.load(tile_count_ptr), tl.num_programs(0)):
        expert = tl.load(tile_expert_ptr + tile)
        first_row = tl.load(tile_row_ptr + tile)
        expert_start = tl.load(expert_offsets_ptr + expert)
        expert_end = tl.load(expert_offsets_ptr + expert + 1)
        width_start = tl.load(width_offsets_ptr + expert)
        width = (tl.load(width_offsets_ptr + expert + 1) - width_start).to(tl.int32)
        base = tl.load(activation_base_ptr + expert)
        if ALIGNED:
            width = tl.multiple_of(width, 16)
            base = tl.multiple_of(base, 16)

        row = first_row + tl.arange(0, BLOCK_M)
        row_inside = tl.minimum(row, expert_end - 1) - expert_start
        column = tl.load(tile_column_ptr + tile) * BLOCK_N + tl.arange(0, BLOCK_N)
        k = tl.arange(0, BLOCK_K)
        a_ptrs = activation_ptr + (base + row_inside.to(tl.int64) * width)[:, None] + k[None, :]
        down_ptrs = down_t_ptr + (width_start + k)[:, None] * hidden + column[None, :]

        out = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for start in range(0, width, BLOCK_K):
            k_left = width - start
            a_block = tl.load(a_ptrs) if EVEN_K else tl.load(a_ptrs, mask=k[None, :] < k_left, other=0.0)
            if EVEN_K and EVEN_N:
                down_block = tl.load(down_ptrs)
            else:
                down_mask = (k < k_left)[:, None] & (column < hidden)[None, :]
                down_block = tl.load(down_ptrs, mask=down_mask, other=0.0)
            out = tl.dot(a_block, down_block, out, input_precision=PRECISION)
            a_ptrs += BLOCK_K
            down_ptrs += BLOCK_K * hidden

        rows_ptrs = rows_ptr + row.to(tl.int64)[:, None] * hidden + column[None, :]
        out_mask = (row < expert_end)[:, None] & (column < hidden)[None, :]
        tl.store(rows_ptrs, out.to(rows_ptr.dtype.element_ty), mask=out_mask)
