"""`liger`: the two grouped GEMM kernels of liger-kernel (0.8.5), a launch of each per width, with our plan and combine.

For each run of experts of equal width W with rows r of tokens t(r): a [R_g, W] = silu(x_t Gate^T) * (x_t Up^T) in one
launch that gathers x, a Down^T [R_g, H] in another. Liger's own function makes its row order and tile list from the
expert ids, waits for the number of tiles, and needs one width. Here the order is our plan's, which is the same (expert,
then token, then slot), so that nothing is sorted twice and its kernel gathers x on a heterogeneous layer too: the most
this library can give here. Its first kernel also stores gate and up for a backward pass, as it always does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from liger_kernel.ops import fused_moe  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray

from ...dispatch import DispatchPlan, combine, make_schedule
from ...kernels.common import check_call, check_prepare, check_triton, useful_flops, width_runs
from ...kernels.interface import Layer
from ...kernels.packing import as_tensor, copy_gate_up
from ...kernels.shared_expert import with_shared_expert
from ...reference import ExpertWeights, LayerSpec

BLOCK_ROWS = fused_moe.BLOCK_M_TOKEN


@dataclass(frozen=True)
class Run:
    """Neighbouring experts of one width: gate_up [n, 2·W, H], gate rows then up rows, and down [n, H, W]."""

    first: int
    last: int
    gate_up: torch.Tensor
    down: torch.Tensor

    @property
    def width(self) -> int:
        """W."""
        return int(self.down.shape[2])


@dataclass(frozen=True)
class RunTiles:
    """One run's rows and tiles, counted from the run's first row and expert.

    start, end: its rows in plan order, on the host
    offsets:    int32[n + 1]   where each expert's rows begin, then their end
    tile_row:   int32[tiles]   the first row of each tile of BLOCK_ROWS rows
    tile_expert: int32[tiles]
    """

    start: int
    end: int
    offsets: torch.Tensor
    tile_row: torch.Tensor
    tile_expert: torch.Tensor


@dataclass(frozen=True)
class LigerLayer:
    """Weights in liger's layout, and constants on the device.

    ones, order:  int32[E]   one column of tiles for each expert; all experts in order
    run_start:    int64[E]   the first expert of each expert's own run
    """

    spec: LayerSpec
    runs: tuple[Run, ...]
    ones: torch.Tensor
    order: torch.Tensor
    run_start: torch.Tensor

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer`. Waits for the GPU once, to read the expert offsets."""
        self._check(x, plan)
        tiles = self._tiles(plan)
        return combine(self._gemm2(self._gemm1(x, plan, tiles), plan, tiles), plan)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """See `Layer`; "plan" makes the lists of tiles and reads the expert offsets to the host."""
        self._check(x, plan)
        tiles = self._tiles(plan)
        activations = self._gemm1(x, plan, tiles)
        rows = self._gemm2(activations, plan, tiles)
        return {
            "plan": lambda: self._tiles(plan),
            "gemm1": lambda: self._gemm1(x, plan, tiles),
            "gemm2": lambda: self._gemm2(activations, plan, tiles),
            "combine": lambda: combine(rows, plan),
        }

    def executed_flops(self, counts: NDArray[np.int64]) -> int:
        """Rows up to whole tiles; what its autotuned column tiles waste is not visible here."""
        whole = -(-np.asarray(counts, dtype=np.int64) // BLOCK_ROWS) * BLOCK_ROWS
        return useful_flops(whole, self.spec.expert_widths, self.spec.hidden)

    def _check(self, x: torch.Tensor, plan: DispatchPlan) -> None:
        weights = self.runs[0].gate_up
        check_call(x, plan, self.spec, weights.device, weights.dtype)

    def _tiles(self, plan: DispatchPlan) -> list[RunTiles]:
        schedule = make_schedule(plan, BLOCK_ROWS, self.ones, self.order, most_columns=1)
        first_row = plan.expert_offsets.index_select(0, self.run_start)  # of each expert's run
        bounds = plan.expert_offsets.tolist()
        ends = list(accumulate((-(-(end - start) // BLOCK_ROWS) for start, end in pairwise(bounds)), initial=0))
        expert = schedule.expert[: ends[-1]]
        row = schedule.row[: ends[-1]] - first_row.index_select(0, expert)
        inside = expert - self.run_start.index_select(0, expert).to(torch.int32)
        return [
            RunTiles(
                start=bounds[run.first],
                end=bounds[run.last],
                offsets=plan.expert_offsets[run.first : run.last + 1] - first_row[run.first],
                tile_row=row[ends[run.first] : ends[run.last]],
                tile_expert=inside[ends[run.first] : ends[run.last]],
            )
            for run in self.runs
        ]

    def _gemm1(self, x: torch.Tensor, plan: DispatchPlan, tiles: list[RunTiles]) -> list[torch.Tensor]:
        """One activation [R_g, W] a run."""
        activations = []
        for run, mine in zip(self.runs, tiles, strict=True):
            rows, width = mine.end - mine.start, run.width
            gate_up, activation = x.new_empty(rows, 2 * width), x.new_empty(rows, width)
            if rows:
                fused_moe._fused_up_proj_swiglu_kernel[_grid(mine, width)](
                    x,
                    run.gate_up,
                    plan.row_token[mine.start : mine.end],
                    mine.offsets,
                    mine.tile_row,
                    mine.tile_expert,
                    gate_up,
                    activation,
                    H_dim=self.spec.hidden,
                    I_dim=width,
                    stride_x_T=x.stride(0),
                    stride_x_H=x.stride(1),
                    stride_w_E=run.gate_up.stride(0),
                    stride_w_N=run.gate_up.stride(1),
                    stride_w_K=run.gate_up.stride(2),
                    stride_pre_TK=gate_up.stride(0),
                    stride_pre_N=gate_up.stride(1),
                    stride_post_TK=activation.stride(0),
                    stride_post_N=activation.stride(1),
                    BLOCK_M=BLOCK_ROWS,
                )
            activations.append(activation)
        return activations

    def _gemm2(self, activations: list[torch.Tensor], plan: DispatchPlan, tiles: list[RunTiles]) -> torch.Tensor:
        """The activations to rows [R, H] in plan order."""
        hidden = self.spec.hidden
        rows = self.runs[0].down.new_empty(plan.rows, hidden)
        for run, activation, mine in zip(self.runs, activations, tiles, strict=True):
            if len(activation):
                out = rows[mine.start : mine.end]
                fused_moe._fused_down_proj_kernel[_grid(mine, hidden)](
                    activation,
                    run.down,
                    mine.offsets,
                    mine.tile_row,
                    mine.tile_expert,
                    out,
                    H_dim=hidden,
                    I_dim=run.width,
                    stride_post_TK=activation.stride(0),
                    stride_post_I=activation.stride(1),
                    stride_w_E=run.down.stride(0),
                    stride_w_H=run.down.stride(1),
                    stride_w_I=run.down.stride(2),
                    stride_Y_TK=out.stride(0),
                    stride_Y_H=out.stride(1),
                    BLOCK_M=BLOCK_ROWS,
                )
        return rows


def _grid(tiles: RunTiles, columns: int) -> Callable[[Mapping[str, Any]], tuple[int, int]]:
    """Row tiles by column tiles, whose width the kernel's autotuner chooses."""
    return lambda meta: (len(tiles.tile_row), -(-columns // meta["BLOCK_N"]))


@dataclass(frozen=True)
class Liger:
    """The entry of the table."""

    name: str = "liger"
    description: str = (
        "liger-kernel: its two fused Triton GEMM launches per width (gather and SwiGLU inside), with this suite's plan "
        "and combine; waits for the GPU once a call, to size its grids"
    )

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:  # noqa: ARG002
        """See `Implementation.supports`: any shape in 16-bit types; its float32 products are in TF32."""
        device = torch.device(device)
        reason = check_triton(dtype, device)
        if reason is None and device.type == "cuda" and dtype == torch.float32:
            return "expected float16 or bfloat16: it multiplies float32 in TF32"
        return reason

    def prepare(self, spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype) -> Layer:
        """See `Implementation.prepare`."""
        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        weights.check(spec)
        starts = width_runs(spec.expert_widths)
        runs = tuple(_run(spec, weights, first, last, device, dtype) for first, last in pairwise(starts))
        layer = LigerLayer(
            spec=spec,
            runs=runs,
            ones=torch.ones(spec.experts, dtype=torch.int32, device=device),
            order=torch.arange(spec.experts, dtype=torch.int32, device=device),
            run_start=torch.tensor(np.repeat(starts[:-1], np.diff(starts)), device=device),
        )
        return with_shared_expert(layer, spec, weights, device, dtype)


def _run(
    spec: LayerSpec, weights: ExpertWeights, first: int, last: int, device: torch.device, dtype: torch.dtype
) -> Run:
    experts, width, hidden = last - first, int(spec.expert_widths[first]), spec.hidden
    gate_up = torch.empty((experts, 2 * width, hidden), dtype=dtype, device=device)
    down = torch.empty((experts, hidden, width), dtype=dtype, device=device)
    for place, expert in enumerate(range(first, last)):
        copy_gate_up(gate_up[place], weights.gate[expert], weights.up[expert])
        down[place].copy_(as_tensor(weights.down[expert]))
    return Run(first, last, gate_up, down)


LIGER = Liger()
