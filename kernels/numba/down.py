"""fc2: rows = activation Down_e^T for every expert in one launch.

activation flat, [n_e, W_e] per expert; down_t [sum W_e, H], Down_e transposed; rows [R, H] in plan order.
A block computes one tile of the work list, block_m rows by block_n columns of H, over the expert's own W_e. The two
stages and the masks are those of `gate_up.py`; weights need no transposing on their way into shared memory.
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false, reportOptionalIterable=false

from __future__ import annotations

import functools
from typing import Any

import torch
from numba import cuda
from numba.types import float32, int64

from ...dispatch.numba_bridge import ELEMENTS, SHARED_ALIGNMENT, kernel_jit
from .config import PAD, VECTOR, Tile
from .tile import multiply_function


@functools.cache
def down_kernel(tile: Tile, dtype: torch.dtype) -> Any:
    """The kernel for a tile and storage dtype; arguments as named, tile_* the arrays of a `TileSchedule`."""
    block_m, block_n, block_k, thread_m, thread_n = (
        tile.block_m,
        tile.block_n,
        tile.block_k,
        tile.thread_m,
        tile.thread_n,
    )
    threads_x, threads_y = tile.threads_x, tile.threads_y
    run_m, run_n = min(VECTOR, thread_m), min(VECTOR, thread_n)
    # Activations: neighbouring threads load neighbouring k of one row. Weights: neighbouring columns of one k.
    a_step, w_step = tile.threads // block_k, tile.threads // block_n
    a_loads, w_loads = block_m // a_step, block_k // w_step
    a_shape, w_shape = (2 * block_k, block_m + PAD), (2 * block_k, block_n + PAD)
    sums_shape = (thread_m, thread_n)
    widen, narrow = ELEMENTS[dtype].widen, ELEMENTS[dtype].narrow
    multiply = multiply_function(tile)

    @kernel_jit(launch_bounds=(tile.threads, tile.blocks_per_sm))
    def down(
        activation,
        expert_offsets,
        weights,
        width_offsets,
        activation_base,
        tile_expert,
        tile_row,
        tile_column,
        tile_count,
        rows,
    ):
        a_tile = cuda.shared.array(a_shape, float32, SHARED_ALIGNMENT)
        w_tile = cuda.shared.array(w_shape, float32, SHARED_ALIGNMENT)
        sums = cuda.local.array(sums_shape, float32)
        a_next = cuda.local.array(a_loads, float32)
        w_next = cuda.local.array(w_loads, float32)
        a_start = cuda.local.array(a_loads, int64)
        tx = cuda.threadIdx.x
        ty = cuda.threadIdx.y
        thread = ty * threads_x + tx
        load_k = thread & (block_k - 1)
        load_row = thread // block_k
        load_column = thread & (block_n - 1)
        load_w = thread // block_n
        hidden = rows.shape[1]

        for entry in range(cuda.blockIdx.x, tile_count[0], cuda.gridDim.x):
            expert = tile_expert[entry]
            first = tile_row[entry]
            end = expert_offsets[expert + 1]
            first_column = tile_column[entry] * block_n
            first_weight = width_offsets[expert]
            width = width_offsets[expert + 1] - first_weight
            column_loaded = min(first_column + load_column, hidden - 1)
            steps = (width + block_k - 1) // block_k
            for i in range(a_loads):
                row = min(first + load_row + i * a_step, end - 1)
                a_start[i] = activation_base[expert] + (row - expert_offsets[expert]) * width
            for i in range(thread_m):
                for j in range(thread_n):
                    sums[i, j] = float32(0)

            for now in range(steps + 1):
                if now < steps:
                    k = now * block_k + load_k
                    for i in range(a_loads):
                        a_next[i] = float32(0)
                        if k < width:
                            a_next[i] = widen(activation[a_start[i] + k])
                    for j in range(w_loads):
                        k = now * block_k + load_w + j * w_step
                        w_next[j] = float32(0)
                        if k < width:
                            w_next[j] = widen(weights[first_weight + k, column_loaded])
                if now > 0:
                    multiply(a_tile, w_tile, (now - 1) & 1, tx, ty, sums)
                if now < steps:
                    for i in range(a_loads):
                        a_tile[(now & 1) * block_k + load_k, load_row + i * a_step] = a_next[i]
                    for j in range(w_loads):
                        w_tile[(now & 1) * block_k + load_w + j * w_step, load_column] = w_next[j]
                cuda.syncthreads()

            for i in range(thread_m):
                row = first + (i // run_m * threads_y + ty) * run_m + i % run_m
                if row < end:
                    for j in range(thread_n):
                        column = first_column + (j // run_n * threads_x + tx) * run_n + j % run_n
                        if column < hidden:
                            rows[row, column] = narrow(sums[i, j])

    return down
