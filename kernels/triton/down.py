"""fc2: the down projection, in one launch for all widths.

For row r of expert e:

    rows[r] = activation[r, :W_e] Down_e^T                               Down_e^T [W_e, H], rows [R, H] in plan order

The inner dimension is W_e, so tiles of wide experts last longer: the work list names them first (descending width).
Combine weights are applied afterwards, by the kernel that sums a token's rows in a fixed order; where the inner
dimension is split, it sums the float32 splits of each row too.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import aligned, locate, share, store_block, tile_of, turns

# Only single integers are read through these: their alignment would change nothing but the number of compilations.
_LISTS = ("expert_offsets_ptr", "tile_expert_ptr", "tile_row_ptr", "tile_column_ptr", "tile_count_ptr")


@triton.jit(do_not_specialize=["rows"], do_not_specialize_on_alignment=_LISTS)
def down_kernel(
    activation,  # [R, stride_am], a row's elements past W_e zero to the next multiple of 16; see DESCRIPTORS
    down_t,  # [sum W_e, H]; see DESCRIPTORS
    out_ptr,  # rows [R, H], or their sums float32[SPLIT_K, R, H]
    expert_offsets_ptr,  # int32[E + 1]
    width_offsets_ptr,  # int64[E + 1]
    tile_expert_ptr,  # int32[bound], the work list
    tile_row_ptr,
    tile_column_ptr,
    tile_count_ptr,  # int32[1]
    hidden,
    stride_am,
    rows,  # R
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    UNIT: tl.constexpr,  # H is a multiple of it
    EVEN_N: tl.constexpr,  # H is a multiple of BLOCK_N
    EVEN_K: tl.constexpr,  # every W_e is a multiple of BLOCK_K
    DESCRIPTORS: tl.constexpr,  # 1: down_t is a descriptor of [BLOCK_K, BLOCK_N] blocks; 2: and activation one of rows
    SWAP: tl.constexpr,  # compute the transpose, so that the weights are the operand with many rows
    SPLIT_K: tl.constexpr,
    SPECIALISE: tl.constexpr,  # one group of warps loads, others multiply
    PARTS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Persistent: each program does every so many tiles of the work list, see `tile_of`."""
    hidden = hidden // UNIT * UNIT  # tells the compiler how rows are aligned
    for turn in range(turns(tl.load(tile_count_ptr))):
        tile = tile_of(turn)
        first_row, row_end, width_start, width, column_block, split = locate(  # pyright: ignore[reportGeneralTypeIssues]
            tile, tile_expert_ptr, tile_row_ptr, tile_column_ptr, expert_offsets_ptr, width_offsets_ptr, SPLIT_K
        )
        first_column = column_block * BLOCK_N
        column = first_column + tl.arange(0, BLOCK_N)
        first_k, end_k = share(width, split, BLOCK_K, SPLIT_K)
        k = first_k + tl.arange(0, BLOCK_K)
        # A descriptor's block of activations goes on with the next expert's rows, whose sums are not stored.
        if DESCRIPTORS < 2:
            row = tl.minimum(first_row + tl.arange(0, BLOCK_M), row_end - 1).to(tl.int64)
            a_ptrs = activation + row[:, None] * stride_am + k[None, :]
        if DESCRIPTORS == 0:
            down_ptrs = down_t + (width_start + k)[:, None] * hidden + column[None, :]

        if SWAP:
            sums = tl.zeros((BLOCK_N, BLOCK_M), dtype=tl.float32)
        else:
            sums = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for start in tl.range(first_k, end_k, BLOCK_K, warp_specialize=SPECIALISE):
            step = tl.arange(0, BLOCK_K)
            if DESCRIPTORS == 2:
                a_block = activation.load([first_row, start])
            else:
                a_mask = (step < aligned(width) - start)[None, :]
                a_block = tl.load(a_ptrs) if EVEN_K else tl.load(a_ptrs, mask=a_mask, other=0.0)
                a_ptrs += BLOCK_K
            if DESCRIPTORS:
                down_block = down_t.load([width_start.to(tl.int32) + start, first_column])
            else:
                down_mask = (step < width - start)[:, None] & (column < hidden)[None, :]
                down_block = tl.load(down_ptrs) if EVEN_K and EVEN_N else tl.load(down_ptrs, mask=down_mask, other=0.0)
                down_ptrs += BLOCK_K * hidden
            if SWAP:
                sums = tl.dot(down_block.T, a_block.T, sums, input_precision=PRECISION)
            else:
                sums = tl.dot(a_block, down_block, sums, input_precision=PRECISION)
        if SWAP:
            sums = sums.T

        out_split_ptr = out_ptr if SPLIT_K == 1 else out_ptr + split.to(tl.int64) * rows * hidden
        store_block(out_split_ptr, hidden, first_row, row_end, first_column, hidden, sums, PARTS)
