"""fc1: gather, gate and up projection and SwiGLU in one launch for all widths.

For row r of expert e, t = row_token[r]:

    activation[r, :W_e] = silu(x[t] Gate_e^T) * (x[t] Up_e^T)            x [T, H], Gate_e and Up_e [W_e, H]

The rows x[t] are read through the plan, so permuted rows are never written. Gate and up rows alternate in the packed
weights, so one product with 2 BLOCK_N of them gives both sums of BLOCK_N columns, neighbours in a thread's registers:
SwiGLU is applied there in float32, and W_e columns are stored, not 2 W_e.

Where the inner dimension is split, a tile stores its float32 sums and `activate_kernel` adds the splits in order.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import aligned, locate, share, store_block, swiglu

# Only single integers are read through these: their alignment would change nothing but the number of compilations.
_LISTS = ("expert_offsets_ptr", "tile_expert_ptr", "tile_row_ptr", "tile_column_ptr", "tile_count_ptr")


@triton.jit(do_not_specialize=["rows"], do_not_specialize_on_alignment=("row_token_ptr", *_LISTS))
def gate_up_kernel(
    x_ptr,  # [T, H]
    row_token_ptr,  # int32[R]
    gate_up,  # [sum 2 W_e, H], gate and up rows of an expert alternating; see DESCRIPTORS
    out_ptr,  # activation [R, stride_am], or the sums float32[SPLIT_K, R, 2 * stride_am]
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
    EVEN_K: tl.constexpr,  # H is a multiple of BLOCK_K
    DESCRIPTORS: tl.constexpr,  # 1: gate_up is a descriptor of [2 BLOCK_N, BLOCK_K] blocks; 0: a pointer
    SWAP: tl.constexpr,  # compute the transpose, so that the weights are the operand with many rows
    SPLIT_K: tl.constexpr,
    FLATTEN: tl.constexpr,  # one loop over tiles and steps: the next tile's loads begin before this one is stored
    PARTS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Persistent: program p does tiles p, p + programs, ... of the work list."""
    hidden = hidden // UNIT * UNIT  # tells the compiler how rows are aligned
    for tile in tl.range(  # pyright: ignore[reportGeneralTypeIssues]
        tl.program_id(0),
        tl.load(tile_count_ptr),
        tl.num_programs(0),
        flatten=FLATTEN,  # pyright: ignore[reportArgumentType]
    ):
        first_row, row_end, width_start, width, column_block, split = locate(  # pyright: ignore[reportGeneralTypeIssues]
            tile, tile_expert_ptr, tile_row_ptr, tile_column_ptr, expert_offsets_ptr, width_offsets_ptr, SPLIT_K
        )
        first_column = column_block * BLOCK_N
        first_k, end_k = share(hidden, split, BLOCK_K, SPLIT_K)

        # Rows past the end read the last valid one instead of carrying a mask through the main loop. So do columns,
        # but in a descriptor's block: it goes on with the next expert's weights, and those sums are not stored.
        row = tl.minimum(first_row + tl.arange(0, BLOCK_M), row_end - 1)
        token = tl.load(row_token_ptr + row).to(tl.int64)
        k = first_k + tl.arange(0, BLOCK_K)
        x_ptrs = x_ptr + token[:, None] * hidden + k[None, :]
        if DESCRIPTORS:
            first_weight = (2 * (width_start + first_column)).to(tl.int32)
        else:
            side = tl.minimum(2 * first_column + tl.arange(0, 2 * BLOCK_N), 2 * width - 1)
            weight_ptrs = gate_up + (2 * width_start + side)[None, :] * hidden + k[:, None]

        if SWAP:
            sums = tl.zeros((2 * BLOCK_N, BLOCK_M), dtype=tl.float32)
        else:
            sums = tl.zeros((BLOCK_M, 2 * BLOCK_N), dtype=tl.float32)
        for start in range(first_k, end_k, BLOCK_K):
            inside = tl.arange(0, BLOCK_K) < end_k - start
            x_block = tl.load(x_ptrs) if EVEN_K else tl.load(x_ptrs, mask=inside[None, :], other=0.0)
            x_ptrs += BLOCK_K
            if DESCRIPTORS:
                weight_block = gate_up.load([first_weight, start]).T
            else:
                weight_block = tl.load(weight_ptrs) if EVEN_K else tl.load(weight_ptrs, mask=inside[:, None], other=0.0)
                weight_ptrs += BLOCK_K
            if SWAP:
                sums = tl.dot(weight_block.T, x_block.T, sums, input_precision=PRECISION)
            else:
                sums = tl.dot(x_block, weight_block, sums, input_precision=PRECISION)
        if SWAP:
            sums = sums.T

        if SPLIT_K == 1:
            activation = swiglu(sums, first_column, width)
            store_block(out_ptr, stride_am, first_row, row_end, first_column, aligned(width), activation, PARTS)
        else:
            partial_ptr = out_ptr + split.to(tl.int64) * rows * 2 * stride_am
            store_block(partial_ptr, 2 * stride_am, first_row, row_end, 2 * first_column, 2 * width, sums, PARTS)


@triton.jit(do_not_specialize=["rows"], do_not_specialize_on_alignment=_LISTS)
def activate_kernel(
    sums_ptr,  # float32[SPLIT_K, R, 2 * stride_am]
    activation_ptr,  # [R, stride_am]
    expert_offsets_ptr,  # int32[E + 1]
    width_offsets_ptr,  # int64[E + 1]
    tile_expert_ptr,  # int32[bound], fc1's work list
    tile_row_ptr,
    tile_column_ptr,
    tile_count_ptr,  # int32[1]
    stride_am,
    rows,  # R
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SPLIT_K: tl.constexpr,
):
    """From the sums of all splits, split 0 first, activation = silu(gate) * up for the tiles of fc1's work list."""
    for tile in range(tl.program_id(0), tl.load(tile_count_ptr), tl.num_programs(0)):
        first_row, row_end, _start, width, column_block, split = locate(  # pyright: ignore[reportGeneralTypeIssues]
            tile, tile_expert_ptr, tile_row_ptr, tile_column_ptr, expert_offsets_ptr, width_offsets_ptr, SPLIT_K
        )
        if split == 0:
            first_column = column_block * BLOCK_N
            row = (first_row + tl.arange(0, BLOCK_M)).to(tl.int64)
            side = 2 * first_column + tl.arange(0, 2 * BLOCK_N)
            mask = (row < row_end)[:, None] & (side < 2 * width)[None, :]
            sums_ptrs = sums_ptr + row[:, None] * (2 * stride_am) + side[None, :]
            sums = tl.zeros((BLOCK_M, 2 * BLOCK_N), dtype=tl.float32)
            for part in tl.static_range(SPLIT_K):  # pyright: ignore[reportGeneralTypeIssues]
                offset = rows.to(tl.int64) * 2 * stride_am * part
                sums += tl.load(sums_ptrs + offset, mask=mask, other=0.0)
            activation = swiglu(sums, first_column, width)
            store_block(activation_ptr, stride_am, first_row, row_end, first_column, aligned(width), activation, 1)
