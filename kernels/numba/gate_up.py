"""fc1: activation = silu(x Gate_e^T) * (x Up_e^T) for every expert in one launch, gathering the rows of x.

x [T, H], gate_up [sum 2 W_e, H] (an expert's gate rows, then its up rows), activation flat, [n_e, W_e] per expert.
A block computes one tile of the work list, block_m rows by block_n activation columns: 2 * block_n rows of gate_up.

Two tiles of x and weights are in shared memory, block_k deep: while the threads multiply one, the loads of the next are
under way into registers. One barrier a step. Rows and columns past an expert's end repeat its last one and are not
stored; only the last step masks k.
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false, reportOptionalIterable=false

from __future__ import annotations

import functools
from typing import Any

import torch
from numba import cuda
from numba.types import float32, int32, int64

from ...dispatch.numba_bridge import ELEMENTS, SHARED_ALIGNMENT, kernel_jit
from .config import PAD, VECTOR, Tile
from .tile import multiply_function, swiglu


@functools.cache
def gate_up_kernel(tile: Tile, dtype: torch.dtype) -> Any:
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
    # Neighbouring threads load neighbouring k of one row: `step` rows at once.
    step = tile.threads // block_k
    x_loads, w_loads = block_m // step, 2 * block_n // step
    x_shape, w_shape = (2 * block_k, block_m + PAD), (2 * block_k, 2 * block_n + PAD)
    columns = 2 * thread_n
    sums_shape = (thread_m, columns)
    widen, narrow = ELEMENTS[dtype].widen, ELEMENTS[dtype].narrow
    multiply = multiply_function(tile)

    @kernel_jit(launch_bounds=(tile.threads, tile.blocks_per_sm))
    def gate_up(
        x,
        row_token,
        expert_offsets,
        weights,
        width_offsets,
        activation_base,
        tile_expert,
        tile_row,
        tile_column,
        tile_count,
        activation,
    ):
        x_tile = cuda.shared.array(x_shape, float32, SHARED_ALIGNMENT)
        w_tile = cuda.shared.array(w_shape, float32, SHARED_ALIGNMENT)
        sums = cuda.local.array(sums_shape, float32)
        x_next = cuda.local.array(x_loads, float32)
        w_next = cuda.local.array(w_loads, float32)
        token = cuda.local.array(x_loads, int32)
        w_row = cuda.local.array(w_loads, int64)
        tx = cuda.threadIdx.x
        ty = cuda.threadIdx.y
        thread = ty * threads_x + tx
        load_k = thread & (block_k - 1)
        load_row = thread // block_k
        hidden = x.shape[1]
        steps = (hidden + block_k - 1) // block_k

        for entry in range(cuda.blockIdx.x, tile_count[0], cuda.gridDim.x):
            expert = tile_expert[entry]
            first = tile_row[entry]
            end = expert_offsets[expert + 1]
            first_column = tile_column[entry] * block_n
            width = width_offsets[expert + 1] - width_offsets[expert]
            for i in range(x_loads):
                token[i] = row_token[min(first + load_row + i * step, end - 1)]
            for j in range(w_loads):
                n = load_row + j * step
                column = min(first_column + (n & (block_n - 1)), width - 1)
                w_row[j] = 2 * width_offsets[expert] + n // block_n * width + column
            for i in range(thread_m):
                for j in range(columns):
                    sums[i, j] = float32(0)

            for now in range(steps + 1):
                k = now * block_k + load_k
                if now < steps:
                    for i in range(x_loads):
                        x_next[i] = float32(0)
                        if k < hidden:
                            x_next[i] = widen(x[token[i], k])
                    for j in range(w_loads):
                        w_next[j] = float32(0)
                        if k < hidden:
                            w_next[j] = widen(weights[w_row[j], k])
                if now > 0:
                    multiply(x_tile, w_tile, (now - 1) & 1, tx, ty, sums)
                if now < steps:
                    for i in range(x_loads):
                        x_tile[(now & 1) * block_k + load_k, load_row + i * step] = x_next[i]
                    for j in range(w_loads):
                        w_tile[(now & 1) * block_k + load_k, load_row + j * step] = w_next[j]
                cuda.syncthreads()

            for i in range(thread_m):
                row = first + (i // run_m * threads_y + ty) * run_m + i % run_m
                if row < end:
                    start = activation_base[expert] + (row - expert_offsets[expert]) * width
                    for j in range(thread_n):
                        column = first_column + (j // run_n * threads_x + tx) * run_n + j % run_n
                        if column < width:
                            activation[start + column] = narrow(swiglu(sums[i, j], sums[i, thread_n + j]))

    return gate_up
