"""What both GEMMs do with a tile in shared memory: multiply it, and SwiGLU.

Thread (tx, ty) of a tile owns thread_m rows and thread_n columns in runs of `vector`: run i starts at
(i * threads + t) * vector. Neighbouring threads then read neighbouring 16-byte words, which shared memory serves
without conflicts, where thread_n columns in a row would put every second thread on the same banks.
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false, reportOptionalIterable=false

from __future__ import annotations

import functools
import math
from typing import Any

from numba import cuda
from numba.types import float32, uint32

from ...dispatch.numba_bridge import device_jit
from .config import VECTOR, Tile


@functools.cache
def multiply_function(tile: Tile) -> Any:
    """Device function: sums[i, j] += sum over k of a[stage, k, row i] * b[stage, k, column j].

    a float32[2, block_k, block_m + PAD], b float32[2, block_k, outputs * block_n + PAD] in shared memory; sums
    float32[thread_m, outputs * thread_n], left and right float32[thread_m] and [outputs * thread_n] in registers.
    Column j of output o stands at j + o * block_n of b and at j + o * thread_n of sums.
    """
    block_k, block_n, thread_m, thread_n = tile.block_k, tile.block_n, tile.thread_m, tile.thread_n
    outputs, columns = tile.outputs, tile.outputs * tile.thread_n
    run_m, run_n = min(VECTOR, thread_m), min(VECTOR, thread_n)
    a_run, b_run = tile.threads_y * run_m, tile.threads_x * run_n

    @device_jit
    def step(a, b, depth, a_column, b_column, left, right, sums):
        for i in range(thread_m):
            left[i] = a[depth, a_column + uint32(i // run_m * a_run + i % run_m)]
        for o in range(outputs):
            for j in range(thread_n):
                place = uint32(o * block_n + j // run_n * b_run + j % run_n)
                right[o * thread_n + j] = b[depth, b_column + place]
        for i in range(thread_m):
            for j in range(columns):
                sums[i, j] += left[i] * right[j]

    @device_jit
    def multiply(a, b, stage, tx, ty, sums):
        left = cuda.local.array(thread_m, float32)
        right = cuda.local.array(columns, float32)
        a_column = uint32(ty * run_m)
        b_column = uint32(tx * run_n)
        first = uint32(stage * block_k)
        # By hand, because the compiler does not unroll a loop with this much in it: four steps share their addresses.
        for k in range(0, block_k, 4):
            depth = first + uint32(k)
            step(a, b, depth, a_column, b_column, left, right, sums)
            if block_k > 1:
                step(a, b, depth + uint32(1), a_column, b_column, left, right, sums)
            if block_k > 2:
                step(a, b, depth + uint32(2), a_column, b_column, left, right, sums)
                step(a, b, depth + uint32(3), a_column, b_column, left, right, sums)

    return multiply


@device_jit
def swiglu(gate, up):
    """silu(gate) * up in float32. The exponential is of a negative number, so nothing overflows."""
    small = float32(math.exp(-abs(gate)))
    one = float32(1)
    if gate < float32(0):
        return float32(gate * small / (one + small) * up)
    return float32(gate / (one + small) * up)
