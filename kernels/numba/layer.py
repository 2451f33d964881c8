"""The layer: work lists, fc1, fc2, combine. Every launch is sized by a bound the host knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...dispatch import DispatchPlan, TileSchedule, load_backend
from ...dispatch.numba_bridge import SIMULATED, launch
from ...reference import ExpertWeights, LayerSpec
from ..common import check_call
from ..packing import pack
from .config import COMPILED, Configuration, Tile, choose, tile_flops
from .config import SIMULATED as SIMULATED_TILES
from .down import down_kernel
from .gate_up import gate_up_kernel
from .ragged import activation_base_kernel

# Blocks that a simulated launch gets: enough to show that the work list is shared right.
_SIMULATED_BLOCKS = 2


@dataclass(frozen=True)
class Work:
    """What is derived from one dispatch plan: both work lists, and where each expert's activation starts, int64[E]."""

    configuration: Configuration
    fc1: TileSchedule
    fc2: TileSchedule
    activation_base: torch.Tensor


@dataclass(frozen=True)
class Columns:
    """Column blocks of every expert for one GEMM and tile: int32[E] on the device, and the most of them."""

    blocks: torch.Tensor
    most: int


class NumbaLayer:
    """An expert FFN with packed weights, ready to be called; see `Layer`."""

    def __init__(
        self,
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device,
        dtype: torch.dtype,
        fixed: Configuration | None = None,
    ) -> None:
        """Pack the weights and count column blocks for every configuration a call may get."""
        self.spec, self.device, self.dtype, self._fixed = spec, device, dtype, fixed
        self.weights = pack(spec, weights, device, dtype)
        self._backend = load_backend("numba")
        candidates = (fixed,) if fixed else (SIMULATED_TILES,) if SIMULATED else COMPILED
        hidden = np.full(spec.experts, spec.hidden)
        self._columns = {
            candidate.name: (
                _columns(spec.expert_widths, candidate.fc1, device),
                _columns(hidden, candidate.fc2, device),
            )
            for candidate in candidates
        }

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer.__call__`: x [T, H] to y [T, H]; no host synchronisation, and a CUDA graph can capture it after
        a first call has compiled the kernels.
        """
        check_call(x, plan, self.spec, self.device, self.dtype)
        work = self.plan(plan)
        activation, rows = self._buffers(plan)
        self.gate_up(x, plan, work, activation)
        self.down(plan, work, activation, rows)
        return self._backend.combine(rows, plan)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """See `Layer.phases`; "plan" makes its work lists anew each time, and the GEMMs read equal ones made here."""
        check_call(x, plan, self.spec, self.device, self.dtype)
        work = self.plan(plan)
        activation, rows = self._buffers(plan)
        return {
            "plan": lambda: self.plan(plan),
            "gemm1": lambda: self.gate_up(x, plan, work, activation),
            "gemm2": lambda: self.down(plan, work, activation, rows),
            "combine": lambda: self._backend.combine(rows, plan),
        }

    def executed_flops(self, counts: NDArray[np.int64]) -> int:
        """See `Layer.executed_flops`: every tile at its full size."""
        per_expert = [int(count) for count in counts]
        tiles = self._configuration(sum(per_expert))
        widths = [int(width) for width in self.spec.expert_widths]
        hidden = [self.spec.hidden] * self.spec.experts
        fc1 = tile_flops(per_expert, hidden, widths, tiles.fc1)
        return fc1 + tile_flops(per_expert, widths, hidden, tiles.fc2)

    def plan(self, plan: DispatchPlan) -> Work:
        """The work lists of both GEMMs, widest experts first, and the bases of the ragged activation, on the device."""
        configuration = self._configuration(plan.rows)
        fc1_columns, fc2_columns = self._columns[configuration.name]
        base = torch.empty(self.spec.experts, dtype=torch.int64, device=self.device)
        threads = 4 if SIMULATED else 32
        blocks = min(-(-self.spec.experts // threads), _SIMULATED_BLOCKS if SIMULATED else self.spec.experts)
        offsets = (plan.expert_offsets, self.weights.offsets_int64)
        launch(activation_base_kernel, blocks, threads, self.device, *offsets, base)
        return Work(
            configuration=configuration,
            fc1=self._schedule(plan, configuration.fc1, fc1_columns),
            fc2=self._schedule(plan, configuration.fc2, fc2_columns),
            activation_base=base,
        )

    def gate_up(self, x: torch.Tensor, plan: DispatchPlan, work: Work, activation: torch.Tensor) -> None:
        """fc1: fill the ragged `activation` (flat, at least sum n_e W_e elements)."""
        if plan.rows:
            tile = work.configuration.fc1
            self._launch(
                gate_up_kernel(tile, self.dtype),
                tile,
                work.fc1,
                (x, plan.row_token, plan.expert_offsets, self.weights.gate_up, self.weights.offsets_int64),
                (work.activation_base, activation),
            )

    def down(self, plan: DispatchPlan, work: Work, activation: torch.Tensor, rows: torch.Tensor) -> None:
        """fc2: fill `rows` [R, H] in plan order."""
        if plan.rows:
            tile = work.configuration.fc2
            self._launch(
                down_kernel(tile, self.dtype),
                tile,
                work.fc2,
                (activation, plan.expert_offsets, self.weights.down_t, self.weights.offsets_int64),
                (work.activation_base, rows),
            )

    def _launch(
        self,
        kernel: Any,
        tile: Tile,
        schedule: TileSchedule,
        inputs: tuple[torch.Tensor, ...],
        base_and_output: tuple[torch.Tensor, torch.Tensor],
    ) -> None:
        """One block per entry the work list may have; those past its end find nothing to do."""
        base, output = base_and_output
        grid = min(schedule.bound, _SIMULATED_BLOCKS) if SIMULATED else schedule.bound
        tiles = (schedule.expert, schedule.row, schedule.column, schedule.count)
        launch(kernel, grid, (tile.threads_x, tile.threads_y), self.device, *inputs, base, *tiles, output)

    def _configuration(self, rows: int) -> Configuration:
        return self._fixed or choose(rows, self.spec.experts, simulated=SIMULATED)

    def _buffers(self, plan: DispatchPlan) -> tuple[torch.Tensor, torch.Tensor]:
        """The ragged activation, sized by the widest expert because the counts are not known here, and rows [R, H]."""
        activation = torch.empty(plan.rows * max(self.spec.widths), dtype=self.dtype, device=self.device)
        return activation, torch.empty((plan.rows, self.spec.hidden), dtype=self.dtype, device=self.device)

    def _schedule(self, plan: DispatchPlan, tile: Tile, columns: Columns) -> TileSchedule:
        order = self.weights.order
        return self._backend.make_schedule(plan, tile.block_m, columns.blocks, order, columns.most, tile.band)


def _columns(widths: NDArray[np.int64], tile: Tile, device: torch.device) -> Columns:
    blocks = -(-widths // tile.block_n)
    return Columns(torch.from_numpy(blocks.astype(np.int32)).to(device), int(blocks.max()))
