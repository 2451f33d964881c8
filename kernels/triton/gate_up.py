"""fc1: gather, gate and up projection and SwiGLU in one launch for all widths.

For row r of expert e, t = row_token[r]:

    activation[r, :W_e] = silu(x[t] Gate_e^T) * (x[t] Up_e^T)            x [T, H], Gate_e and Up_e [W_e, H]

The rows x[t] are read through the plan, so permuted rows are never written. A program holds the gate and the up tile of
the same columns at once, applies SwiGLU to the two accumulators in float32 registers and stores W_e columns, not 2 W_e.
The activation is ragged: row r of expert e starts at activation_base[e] + (r - expert_offsets[e]) * W_e.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Only single integers are read through these: their alignment would change nothing but the number of compilations.
_INDICES = (
    "row_token_ptr",
    "expert_offsets_ptr",
    "tile_expert_ptr",
    "tile_row_ptr",
    "tile_column_ptr",
    "tile_count_ptr",
)


@triton.jit(do_not_specialize_on_alignment=_INDICES)
def gate_up_kernel(
    x_ptr,  # [T, H]
    row_token_ptr,  # int32[R]
    expert_offsets_ptr,  # int32[E + 1]
    gate_up_ptr,  # [sum 2 W_e, H], an expert's gate rows, then its up rows
    width_offsets_ptr,  # int64[E + 1]
    activation_base_ptr,  # int64[E]
    activation_ptr,  # flat, sum n_e W_e elements in use
    tile_expert_ptr,  # int32[bound], the work list
    tile_row_ptr,
    tile_column_ptr,
    tile_count_ptr,  # int32[1]
    hidden,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    EVEN_K: tl.constexpr,  # H is a multiple of BLOCK_K
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

        # Rows and columns past the end read the last valid one instead of carrying a mask through the main loop.
        row = first_row + tl.arange(0, BLOCK_M)
        token = tl.load(row_token_ptr + tl.minimum(row, expert_end - 1)).to(tl.int64)
        column = tl.load(tile_column_ptr + tile) * BLOCK_N + tl.arange(0, BLOCK_N)
        k = tl.arange(0, BLOCK_K)
        gate_row = 2 * width_start + tl.minimum(column, width - 1)
        x_ptrs = x_ptr + token[:, None] * hidden + k[None, :]
        gate_ptrs = gate_up_ptr + gate_row[None, :] * hidden + k[:, None]
        up_ptrs = gate_ptrs + width.to(tl.int64) * hidden

        gate = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        up = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for start in range(0, hidden, BLOCK_K):
            if EVEN_K:
                x_block = tl.load(x_ptrs)
                gate_block = tl.load(gate_ptrs)
                up_block = tl.load(up_ptrs)
            else:
                k_left = hidden - start
                x_block = tl.load(x_ptrs, mask=k[None, :] < k_left, other=0.0)
                gate_block = tl.load(gate_ptrs, mask=k[:, None] < k_left, other=0.0)
                up_block = tl.load(up_ptrs, mask=k[:, None] < k_left, other=0.0)
            gate = tl.dot(x_block, gate_block, gate, input_precision=PRECISION)
            up = tl.dot(x_block, up_block, up, input_precision=PRECISION)
            x_ptrs += BLOCK_K
            gate_ptrs += BLOCK_K
            up_ptrs += BLOCK_K

        activation = gate * tl.sigmoid(gate) * up
        out_row = base + (row - expert_start).to(tl.int64) * width
        out_ptrs = activation_ptr + out_row[:, None] + column[None, :]
        out_mask = (row < expert_end)[:, None] & (column < width)[None, :]
        tl.store(out_ptrs, activation.to(activation_ptr.dtype.element_ty), mask=out_mask)
