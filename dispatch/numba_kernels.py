"""The Numba kernels of the dispatch backend: plan, tile schedule, permute, combine.

Plan, for R = T*K entries in flat order i = t*K + k, cut into chunks:

    1. rank     rank_i = earlier entries of i's chunk c with i's expert e;  count_(e, c) = entries of e in chunk c
    2. scan     count_(e, c) becomes the entries of e in the chunks before c;  n_e = their total
    3. offsets  expert_offsets_e = n_0 + ... + n_(e - 1)
    4. scatter  the row of i = expert_offsets_e + count_(e, c) + rank_i

Rows so come out by expert, then token, then slot, whatever order blocks run in: nothing is atomic. Prefix sums over
experts are summed by every thread for itself: E is a few hundred at most, all threads read the same numbers at the same
time, and no barrier is needed. Every kernel strides over its work by the grid, so any grid is right.
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false, reportOptionalIterable=false

from __future__ import annotations

import functools
from typing import Any

import torch
from numba import cuda, int32

from .numba_bridge import ELEMENTS, kernel_jit


@functools.cache
def rank_kernel(chunk: int) -> Any:
    """expert_ids int32[R] to ranks int32[R] and chunk_counts int32[E, chunks], which must be zero."""

    @kernel_jit()
    def rank(expert_ids, ranks, chunk_counts):
        keys = cuda.shared.array(chunk, int32)
        for part in range(cuda.blockIdx.x, chunk_counts.shape[1], cuda.gridDim.x):
            first = part * chunk
            entries = min(chunk, expert_ids.shape[0] - first)
            for entry in range(cuda.threadIdx.x, entries, cuda.blockDim.x):
                keys[entry] = expert_ids[first + entry]
            cuda.syncthreads()
            for entry in range(cuda.threadIdx.x, entries, cuda.blockDim.x):
                mine = keys[entry]
                earlier = 0
                later = 0
                for other in range(entries):
                    if keys[other] == mine:
                        if other < entry:
                            earlier += 1
                        elif other > entry:
                            later += 1
                ranks[first + entry] = earlier
                if later == 0:
                    chunk_counts[mine, part] = earlier + 1
            cuda.syncthreads()  # before the next part overwrites the keys

    return rank


@functools.cache
def scan_kernel(threads: int) -> Any:
    """chunk_counts int32[E, chunks] to its exclusive prefix sums along a row, in place, and expert_counts int32[E].

    One block per expert; each thread sums a contiguous share of the row.
    """

    @kernel_jit()
    def scan(chunk_counts, expert_counts):
        sums = cuda.shared.array(threads, int32)
        thread = cuda.threadIdx.x
        chunks = chunk_counts.shape[1]
        share = (chunks + threads - 1) // threads
        first = min(thread * share, chunks)
        end = min(first + share, chunks)
        for expert in range(cuda.blockIdx.x, chunk_counts.shape[0], cuda.gridDim.x):
            total = 0
            for part in range(first, end):
                total += chunk_counts[expert, part]
            sums[thread] = total
            cuda.syncthreads()
            before = 0
            for other in range(thread):
                before += sums[other]
            for part in range(first, end):
                count = chunk_counts[expert, part]
                chunk_counts[expert, part] = before
                before += count
            if thread == threads - 1:
                expert_counts[expert] = before
            cuda.syncthreads()  # before the next expert overwrites the sums

    return scan


@kernel_jit()
def offsets_kernel(expert_counts, expert_offsets):
    """expert_counts int32[E] to expert_offsets int32[E + 1]."""
    for expert in range(cuda.grid(1), expert_offsets.shape[0], cuda.gridsize(1)):
        total = 0
        for other in range(expert):
            total += expert_counts[other]
        expert_offsets[expert] = total


@functools.cache
def scatter_kernel(chunk: int) -> Any:
    """Everything above to row_token int32[R], token_row int32[R] (flat) and row_weight float32[R]."""

    @kernel_jit()
    def scatter(expert_ids, weights, ranks, chunk_starts, expert_offsets, top_k, row_token, token_row, row_weight):
        for entry in range(cuda.grid(1), expert_ids.shape[0], cuda.gridsize(1)):
            expert = expert_ids[entry]
            row = expert_offsets[expert] + chunk_starts[expert, entry // chunk] + ranks[entry]
            row_token[row] = entry // top_k
            token_row[entry] = row
            row_weight[row] = weights[entry]

    return scatter


@kernel_jit()
def tile_ends_kernel(expert_offsets, columns, order, block_rows, tile_ends):
    """tile_ends int32[E]: the tiles of the experts order[0] to order[i], for every place i."""
    for place in range(cuda.grid(1), order.shape[0], cuda.gridsize(1)):
        total = 0
        for other in range(place + 1):
            expert = order[other]
            rows = expert_offsets[expert + 1] - expert_offsets[expert]
            total += (rows + block_rows - 1) // block_rows * columns[expert]
        tile_ends[place] = total


@kernel_jit()
def tiles_kernel(expert_offsets, columns, order, tile_ends, block_rows, band, expert_of, row_of, column_of, count):
    """expert_of, row_of, column_of int32[bound] and count int32[1] of a `TileSchedule`."""
    used = tile_ends[tile_ends.shape[0] - 1]
    if cuda.grid(1) == 0:
        count[0] = used
    for entry in range(cuda.grid(1), expert_of.shape[0], cuda.gridsize(1)):
        if entry >= used:
            expert_of[entry] = -1
            row_of[entry] = -1
            column_of[entry] = -1
        else:
            place = 0
            after = tile_ends.shape[0] - 1
            while place < after:  # the first place whose end lies beyond this entry
                middle = (place + after) // 2
                if tile_ends[middle] <= entry:
                    place = middle + 1
                else:
                    after = middle
            expert = order[place]
            wide = columns[expert]
            start = expert_offsets[expert]
            blocks = (expert_offsets[expert + 1] - start + block_rows - 1) // block_rows
            within = entry - (tile_ends[place] - blocks * wide)
            first_block = within // (band * wide) * band
            band_blocks = min(band, blocks - first_block)
            within -= first_block * wide
            expert_of[entry] = expert
            row_of[entry] = start + (first_block + within % band_blocks) * block_rows
            column_of[entry] = within // band_blocks


@kernel_jit()
def permute_kernel(x, row_token, rows):
    """rows[r] = x[row_token[r]]: x integer[T, words], rows [R, words] of the same type; a block takes whole rows."""
    for row in range(cuda.blockIdx.x, rows.shape[0], cuda.gridDim.x):
        token = row_token[row]
        for word in range(cuda.threadIdx.x, x.shape[1], cuda.blockDim.x):
            rows[row, word] = x[token, word]


@functools.cache
def combine_kernel(dtype: torch.dtype) -> Any:
    """y_t = sum over k of row_weight[r] * rows[r], r = token_row[t, k], k = 0 first; rows [R, H], y [T, H].

    A block takes whole tokens; float32 sums (float64 for float64 rows).
    """
    widen, narrow = ELEMENTS[dtype].widen, ELEMENTS[dtype].narrow

    @kernel_jit()
    def combine(rows, token_row, row_weight, y):
        for token in range(cuda.blockIdx.x, y.shape[0], cuda.gridDim.x):
            for column in range(cuda.threadIdx.x, y.shape[1], cuda.blockDim.x):
                row = token_row[token, 0]
                total = row_weight[row] * widen(rows[row, column])
                for slot in range(1, token_row.shape[1]):
                    row = token_row[token, slot]
                    total += row_weight[row] * widen(rows[row, column])
                y[token, column] = narrow(total)

    return combine
