"""What both tensor-core GEMMs share: where a tile's elements stand in shared memory, and one warp's products.

A tile's line (a row of A, a column of B) is block_k elements, in chunks of 8 (16 bytes, four words). Chunk c of line l
stands at place c XOR turn(l), so that the eight lines a fragment comes from lie in different banks: the 32 words that a
warp reads at once, and the chunks that cp.async writes, meet no conflict.
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false, reportOptionalIterable=false

from __future__ import annotations

import functools
from typing import Any

from numba import cuda
from numba.types import int32, uint32

from ...dispatch.numba_bridge import device_jit
from .mma_config import MmaTile
from .ptx import INSTRUCTIONS


@functools.cache
def multiply_function(tile: MmaTile, dtype: str) -> Any:
    """Device function: sums[i, o * n_tiles + j] += one warp's A B over the block_k elements of a stage.

    words int32, the shared memory; a, b: where the stage's A [block_m, block_k] and B [outputs * block_n, block_k]
    begin; row, column: the warp's first line of A, and of B within an output.
    """
    line_words, steps = tile.block_k // 2, tile.block_k // 16
    lines_per_turn, turns = tile.lines_per_turn, tile.turns
    m_tiles, n_tiles, outputs, block_n = tile.m_tiles, tile.n_tiles, tile.outputs, tile.block_n
    mma = INSTRUCTIONS[dtype].mma

    @device_jit
    def multiply(words, a, b, row, column, lane, sums):
        left = cuda.local.array((m_tiles, 4), int32)
        group = lane >> uint32(2)
        word = lane & uint32(3)
        turn = group // uint32(lines_per_turn) % uint32(turns)
        a_line = a + (row + group) * uint32(line_words) + word
        b_line = b + (column + group) * uint32(line_words) + word
        for step in range(steps):
            low = (uint32(2 * step) ^ turn) * uint32(4)
            high = (uint32(2 * step + 1) ^ turn) * uint32(4)
            for i in range(m_tiles):
                upper = a_line + uint32(i * 16 * line_words)
                lower = upper + uint32(8 * line_words)
                left[i, 0] = words[upper + low]
                left[i, 1] = words[lower + low]
                left[i, 2] = words[upper + high]
                left[i, 3] = words[lower + high]
            for o in range(outputs):
                for j in range(n_tiles):
                    line = b_line + uint32((o * block_n + j * 8) * line_words)
                    first = words[line + low]
                    second = words[line + high]
                    for i in range(m_tiles):
                        mma(
                            sums,
                            uint32(i),
                            uint32(o * n_tiles + j),
                            left[i, 0],
                            left[i, 1],
                            left[i, 2],
                            left[i, 3],
                            first,
                            second,
                        )

    return multiply
