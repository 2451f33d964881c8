"""fc2 on tensor cores: rows = activation Down_e^T for every expert in one launch.

activation flat, [n_e, W_e] per expert; weights flat, Down_e [H, W_e] from H * width_offsets_e on; rows [R, H] in plan
order; all 16-bit and handed over as int32 words of two elements. A block computes one tile of the work list, block_m
rows by block_n columns of H, over the expert's own W_e. The pipeline is that of `mma_gate_up.py`.
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false, reportOptionalIterable=false

from __future__ import annotations

import functools
from typing import Any

from numba import cuda
from numba.types import float32, int32, int64, uint32

from ...dispatch.numba_bridge import SHARED_ALIGNMENT, kernel_jit
from .mma_config import MmaTile
from .mma_tile import multiply_function
from .ptx import INSTRUCTIONS, commit, copy, waits


@functools.cache
def down_kernel(tile: MmaTile, dtype: str) -> Any:
    """The kernel for a tile and 16-bit type; arguments as named, tile_* the arrays of a `TileSchedule`."""
    block_m, block_n, stages = tile.block_m, tile.block_n, tile.stages
    m_tiles, n_tiles, warps_n = tile.m_tiles, tile.n_tiles, tile.warps_n
    chunks, lines_at_once, line_words = tile.chunks, tile.lines_at_once, tile.block_k // 2
    lines_per_turn, turns = tile.lines_per_turn, tile.turns
    a_copies, b_copies = block_m // lines_at_once, block_n // lines_at_once
    b_words, stage_words, all_words = block_m * line_words, tile.stage_words, stages * tile.stage_words
    sums_shape = (m_tiles, n_tiles, 4)
    multiply = multiply_function(tile, dtype)
    pack, wait = INSTRUCTIONS[dtype].pack, waits(stages - 2)

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
        words = cuda.shared.array(all_words, int32, SHARED_ALIGNMENT)
        sums = cuda.local.array(sums_shape, float32)
        a_at = cuda.local.array(a_copies, int64)
        b_at = cuda.local.array(b_copies, int64)
        thread = uint32(cuda.threadIdx.x)
        lane = thread & uint32(31)
        warp = thread >> uint32(5)
        warp_row = warp // uint32(warps_n) * uint32(m_tiles * 16)
        warp_column = warp % uint32(warps_n) * uint32(n_tiles * 8)
        chunk = thread % uint32(chunks)
        line = thread // uint32(chunks)
        place = line * uint32(line_words) + (chunk ^ (line // uint32(lines_per_turn) % uint32(turns))) * uint32(4)
        hidden_words = rows.shape[1]
        hidden = 2 * hidden_words

        for entry in range(cuda.blockIdx.x, tile_count[0], cuda.gridDim.x):
            expert = tile_expert[entry]
            first = tile_row[entry]
            end = expert_offsets[expert + 1]
            first_column = tile_column[entry] * block_n
            width = width_offsets[expert + 1] - width_offsets[expert]
            width_words = width >> 1
            steps = (width_words + line_words - 1) // line_words
            for i in range(a_copies):
                row = min(first + int32(line) + i * lines_at_once, end - 1)
                a_at[i] = ((activation_base[expert] + (row - expert_offsets[expert]) * width) >> 1) + chunk * 4
            for j in range(b_copies):
                column = min(first_column + int32(line) + j * lines_at_once, hidden - 1)
                b_at[j] = width_offsets[expert] * hidden_words + column * width_words + chunk * 4
            for i in range(m_tiles):
                for j in range(n_tiles):
                    for n in range(4):
                        sums[i, j, n] = float32(0)

            filling = uint32(0)
            reading = uint32(0)
            for now in range(1 - stages, steps):
                # Slice `now` is here for all, and all have finished with the stage that is written next.
                if now >= 0:
                    wait()
                    cuda.syncthreads()
                ahead = now + stages - 1
                if ahead < steps:
                    k = ahead * line_words + int32(chunk) * 4
                    size = 16 if k < width_words else 0
                    skip = int64(ahead * line_words if k < width_words else 0)
                    stage = filling * uint32(stage_words) + place
                    for i in range(a_copies):
                        to = stage + uint32(i * lines_at_once * line_words)
                        copy(words, to, activation, (a_at[i] + skip) if size else int64(0), size)
                    for j in range(b_copies):
                        to = stage + uint32(b_words + j * lines_at_once * line_words)
                        copy(words, to, weights, (b_at[j] + skip) if size else int64(0), size)
                    filling = uint32(0) if filling == uint32(stages - 1) else uint32(filling + uint32(1))
                commit()
                if now >= 0:
                    stage = reading * uint32(stage_words)
                    multiply(words, stage, stage + uint32(b_words), warp_row, warp_column, lane, sums)
                    reading = uint32(0) if reading == uint32(stages - 1) else uint32(reading + uint32(1))
            cuda.syncthreads()

            for i in range(m_tiles):
                for half in range(2):
                    row = first + int32(warp_row) + i * 16 + half * 8 + int32(lane >> uint32(2))
                    if row < end:
                        for j in range(n_tiles):
                            column = first_column + int32(warp_column) + j * 8 + int32(lane & uint32(3)) * 2
                            if column < hidden:
                                rows[row, column >> 1] = pack(sums[i, j, 2 * half], sums[i, j, 2 * half + 1])

    return down
