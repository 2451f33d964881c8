"""Dispatch in Numba: launches of the kernels in `numba_kernels.py`, sized from T, K, E and block sizes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from . import numba_bridge, numba_kernels
from .numba_bridge import SIMULATED, launch
from .plan import DispatchPlan, ListRequest, TileSchedule, empty_schedules

# Entries ranked together. Every entry looks at its whole chunk, and E counts a chunk are written.
CHUNK = 256
THREADS = 256

# A warp reads 256 bytes of a row at once in 8-byte words, the widest Numba has.
_WORDS = ((8, torch.int64), (4, torch.int32), (2, torch.int16), (1, torch.int8))


@dataclass(frozen=True)
class NumbaBackend:
    """Launch sizes: CUDA threads a block, and the most blocks of a launch (none: as many as there is work for)."""

    threads: int
    most_blocks: int | None = None
    name: str = "numba"

    def unavailable(self, device: torch.device) -> str | None:
        """See `Backend.unavailable`: a CUDA GPU, or the CPU where NUMBA_ENABLE_CUDASIM=1 simulates one."""
        return numba_bridge.unavailable(device)

    def make_plan(self, expert_ids: torch.Tensor, weights: torch.Tensor, experts: int) -> DispatchPlan:
        """See `Backend.make_plan`; the four steps of `numba_kernels`, E * ceil(R / 256) counts of scratch."""
        device, (tokens, top_k) = expert_ids.device, expert_ids.shape
        rows = tokens * top_k
        expert_offsets = torch.zeros(experts + 1, dtype=torch.int32, device=device)
        row_token = torch.empty(rows, dtype=torch.int32, device=device)
        token_row = torch.empty(rows, dtype=torch.int32, device=device)
        row_weight = torch.empty(rows, dtype=torch.float32, device=device)
        if rows:
            ids = expert_ids.reshape(-1).to(torch.int32)
            flat_weights = weights.reshape(-1).to(torch.float32)
            chunks = -(-rows // CHUNK)
            ranks = torch.empty(rows, dtype=torch.int32, device=device)
            chunk_counts = torch.zeros((experts, chunks), dtype=torch.int32, device=device)
            counts = torch.empty(experts, dtype=torch.int32, device=device)
            self._launch(numba_kernels.rank_kernel(CHUNK), chunks, device, ids, ranks, chunk_counts)
            self._launch(numba_kernels.scan_kernel(self.threads), experts, device, chunk_counts, counts)
            self._for_each(numba_kernels.offsets_kernel, experts + 1, device, counts, expert_offsets)
            found = (ids, flat_weights, ranks, chunk_counts, expert_offsets, top_k)
            results = (row_token, token_row, row_weight)
            self._for_each(numba_kernels.scatter_kernel(CHUNK), rows, device, *found, *results)
        return DispatchPlan(expert_offsets, row_token, token_row.view(tokens, top_k), row_weight)

    def make_schedules(
        self, plan: DispatchPlan, order: torch.Tensor, requests: Sequence[ListRequest]
    ) -> tuple[TileSchedule, ...]:
        """See `Backend.make_schedules`: one after the other, by two launches each.

        Every entry finds its expert by a search in the prefix sums of tiles, made by the first launch.
        """
        schedules = empty_schedules(plan, order, requests)
        for asked, made in zip(requests, schedules, strict=True):
            tile_ends = torch.empty_like(order)
            shape = (plan.expert_offsets, asked.columns, order)
            ends = (*shape, asked.block_rows, tile_ends)
            self._for_each(numba_kernels.tile_ends_kernel, plan.experts, order.device, *ends)
            tiles = (*shape, tile_ends, asked.block_rows, asked.band, made.expert, made.row, made.column, made.count)
            self._for_each(numba_kernels.tiles_kernel, made.bound, order.device, *tiles)
        return tuple(schedules)

    def permute(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Backend.permute`: rows are copied as whole words, whatever their dtype."""
        rows = torch.empty((plan.rows, x.shape[1]), dtype=x.dtype, device=x.device)
        if rows.numel():
            size = x.shape[1] * x.element_size()
            word = next(word for bytes_, word in _WORDS if size % bytes_ == 0 and x.data_ptr() % bytes_ == 0)
            arrays = (x.view(word), plan.row_token, rows.view(word))
            self._launch(numba_kernels.permute_kernel, plan.rows, x.device, *arrays)
        return rows

    def combine(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Backend.combine`; float64 rows are accumulated in float64."""
        y = torch.empty((plan.tokens, rows.shape[1]), dtype=rows.dtype, device=rows.device)
        if y.numel():
            kernel = numba_kernels.combine_kernel(rows.dtype)
            self._launch(kernel, plan.tokens, rows.device, rows, plan.token_row, plan.row_weight, y)
        return y

    def _launch(self, kernel: Any, blocks: int, device: torch.device, *arguments: Any) -> None:
        launch(kernel, min(blocks, self.most_blocks or blocks), self.threads, device, *arguments)

    def _for_each(self, kernel: Any, items: int, device: torch.device, *arguments: Any) -> None:
        """One thread per item."""
        self._launch(kernel, -(-items // self.threads), device, *arguments)


# The simulator runs every CUDA thread as a Python thread: few of them, in more than one block, and each strides on.
BACKEND = NumbaBackend(threads=4, most_blocks=2) if SIMULATED else NumbaBackend(threads=THREADS)
