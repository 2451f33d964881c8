"""What both GEMMs do alike on the device: find a tile's expert, its share of the inner dimension, store a block.

The activation between the GEMMs has one row of `stride` elements for each routed row: the widest W_e, rounded up to
16. Row r of expert e uses its first W_e elements, rounded up to 16 too, with zeros past W_e. So every row starts on 32
bytes whatever the widths, a descriptor can describe the whole, and where a row lies needs no prefix sum of n_e W_e. The
GEMMs read and write the same bytes as with rows laid end to end. Nor does it take more memory: how many rows a wide
expert gets is known on the device only, so the host must make room for the widest in any case.
"""

from __future__ import annotations

import triton
import triton.language as tl

ALIGNMENT = 16


@triton.jit
def turns(count):
    """How many of `count` tiles this program does: as `tile_of` deals them."""
    whole = count // tl.num_programs(0)
    return whole + (_place(whole) < count % tl.num_programs(0)).to(tl.int32)


@triton.jit
def tile_of(turn):
    """The tile of this program's turn 0, 1, ...: dealt forward and backward in turn.

    Tiles become shorter along fc2's list, and dealt forward only the first program would get the longest of each turn.
    For `mohge-3b`, 64 tokens of uniform routing on 264 programs, the simulated makespan is 1.27 times the mean dealt
    forward, 1.03 times dealt so, and 1.03 times by an atomic counter, which would give programs other tiles each run.
    """
    return turn * tl.num_programs(0) + _place(turn)


@triton.jit
def _place(turn):
    program = tl.program_id(0)
    return tl.where(turn % 2 == 0, program, tl.num_programs(0) - 1 - program)


@triton.jit
def locate(
    tile,
    tile_expert_ptr,
    tile_row_ptr,
    tile_column_ptr,
    expert_offsets_ptr,
    width_offsets_ptr,
    SPLIT_K: tl.constexpr,
):
    """Entry `tile` of a work list: (first row, end of the expert's rows, first of its weight rows int64, W_e int32,
    column block, split). The list counts the SPLIT_K splits of a column block as blocks of their own.
    """
    expert = tl.load(tile_expert_ptr + tile)
    first_row = tl.load(tile_row_ptr + tile)
    row_end = tl.load(expert_offsets_ptr + expert + 1)
    width_start = tl.load(width_offsets_ptr + expert)
    width = (tl.load(width_offsets_ptr + expert + 1) - width_start).to(tl.int32)
    listed = tl.load(tile_column_ptr + tile)
    return first_row, row_end, width_start, width, listed // SPLIT_K, listed % SPLIT_K


@triton.jit
def share(depth, split, BLOCK_K: tl.constexpr, SPLIT_K: tl.constexpr):
    """The (first, end) of `depth` elements that split `split` sums: whole steps, dealt as evenly as they go."""
    if SPLIT_K == 1:
        first = 0
        end = depth
    else:
        steps = tl.cdiv(depth, BLOCK_K)
        first = steps * split // SPLIT_K * BLOCK_K
        end = tl.minimum(steps * (split + 1) // SPLIT_K * BLOCK_K, depth)
    return first, end


@triton.jit
def aligned(width):
    """`width` rounded up to a multiple of 16, in a form the compiler knows to be one."""
    return (width + 15) // 16 * 16


@triton.jit
def swiglu(sums, first_column, width):
    """silu(gate) * up from sums [M, 2 N] whose columns alternate gate and up; 0 past column `width` of the expert."""
    gate, up = tl.split(tl.reshape(sums, (sums.shape[0], sums.shape[1] // 2, 2)))
    column = first_column + tl.arange(0, sums.shape[1] // 2)
    return tl.where(column[None, :] < width, gate * tl.sigmoid(gate) * up, 0.0)


@triton.jit
def store_block(out_ptr, stride, first_row, row_end, first_column, column_end, values, PARTS: tl.constexpr):
    """Store values [M, N] at out[first_row :, first_column :], rows before row_end and columns before column_end only.

    The block passes through shared memory, so that a thread writes 16 bytes of a row; in two parts it needs half of it.
    """
    if PARTS == 1:
        _store_part(out_ptr, stride, first_row, row_end, first_column, column_end, values)
    else:
        half: tl.constexpr = values.shape[1] // 2
        left, right = tl.split(tl.permute(tl.reshape(values, (values.shape[0], 2, half)), (0, 2, 1)))
        _store_part(out_ptr, stride, first_row, row_end, first_column, column_end, left)
        _store_part(out_ptr, stride, first_row, row_end, first_column + half, column_end, right)


@triton.jit
def _store_part(out_ptr, stride, first_row, row_end, first_column, column_end, values):
    row = first_row + tl.arange(0, values.shape[0])
    column = first_column + tl.arange(0, values.shape[1])
    out_ptrs = out_ptr + row.to(tl.int64)[:, None] * stride + column[None, :]
    mask = (row < row_end)[:, None] & (column < column_end)[None, :]
    tl.store(out_ptrs, values.to(out_ptr.dtype.element_ty), mask=mask)
