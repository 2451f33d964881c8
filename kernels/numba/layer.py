"""The layer: work lists, fc1, fc2, combine. Every launch is sized by a bound the host knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...dispatch import DispatchPlan, ListRequest, TileSchedule, load_backend
from ...dispatch.numba_bridge import SIMULATED, launch
from ...reference import ExpertWeights, LayerSpec
from ..choice import Choices, check_routing_class
from ..common import check_call, dtype_name
from ..grouped import Columns, Work, column_blocks, executed_flops
from ..packing import PackedWeights, pack
from .config import Configuration, Tile
from .down import down_kernel
from .gate_up import gate_up_kernel
from .mma_config import MmaConfiguration, MmaTile
from .ragged import activation_base_kernel

# Blocks that a simulated launch gets: enough to show that the work list is shared right.
_SIMULATED_BLOCKS = 2


@dataclass(frozen=True)
class NumbaLayer:
    """An expert FFN with packed weights, ready to be called; see `Layer`."""

    spec: LayerSpec
    weights: PackedWeights
    device: torch.device
    dtype: torch.dtype
    choices: Choices[Configuration] | Choices[MmaConfiguration]
    routing_class: str
    fc1_columns: Mapping[int, Columns]  # by block_n
    fc2_columns: Mapping[int, Columns]

    @classmethod
    def prepare(
        cls,
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device,
        dtype: torch.dtype,
        choices: Choices[Configuration] | Choices[MmaConfiguration],
        routing_class: str,
    ) -> NumbaLayer:
        """Pack the weights and count column blocks for every configuration a call may get."""
        hidden = np.full(spec.experts, spec.hidden)
        return cls(
            spec=spec,
            weights=pack(spec, weights, device, dtype),
            device=device,
            dtype=dtype,
            choices=choices,
            routing_class=check_routing_class(routing_class),
            fc1_columns=column_blocks(spec.expert_widths, (tiles.fc1.block_n for tiles in choices.candidates), device),
            fc2_columns=column_blocks(hidden, (tiles.fc2.block_n for tiles in choices.candidates), device),
        )

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer.__call__`: x [T, H] to y [T, H]; no host synchronisation, and a CUDA graph can capture it after
        a first call has compiled the kernels.
        """
        check_call(x, plan, self.spec, self.device, self.dtype)
        work = self.plan(plan)
        activation, rows = self._buffers(plan)
        self.gate_up(x, plan, work, activation)
        self.down(plan, work, activation, rows)
        return self.combine(rows, plan)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """See `Layer.phases`; "plan" makes its work lists anew each time, and the GEMMs read equal ones made here."""
        check_call(x, plan, self.spec, self.device, self.dtype)
        work = self.plan(plan)
        activation, rows = self._buffers(plan)
        return {
            "plan": lambda: self.plan(plan),
            "gemm1": lambda: self.gate_up(x, plan, work, activation),
            "gemm2": lambda: self.down(plan, work, activation, rows),
            "combine": lambda: self.combine(rows, plan),
        }

    def executed_flops(self, counts: NDArray[np.int64]) -> int:
        """See `Layer.executed_flops`: every tile at its full size."""
        counts = np.asarray(counts, dtype=np.int64)
        tiles = self.choices.of(int(counts.sum()) // self.spec.top_k, self.routing_class)
        return executed_flops(tiles.works(counts, self.spec, dtype_name(self.dtype)))

    def for_routing(self, routing_class: str) -> NumbaLayer:
        """See `tunable.for_routing`."""
        return replace(self, routing_class=check_routing_class(routing_class))

    def plan(self, plan: DispatchPlan) -> Work:
        """The work lists of both GEMMs, widest experts first, and the bases of the ragged activation, on the device."""
        configuration = self.choices.of(plan.tokens, self.routing_class)
        base = torch.empty(self.spec.experts, dtype=torch.int64, device=self.device)
        threads = 4 if SIMULATED else 32
        blocks = min(-(-self.spec.experts // threads), _SIMULATED_BLOCKS if SIMULATED else self.spec.experts)
        offsets = (plan.expert_offsets, self.weights.offsets_int64)
        launch(activation_base_kernel, blocks, threads, self.device, *offsets, base)
        lists = (
            _list(configuration.fc1, self.fc1_columns[configuration.fc1.block_n]),
            _list(configuration.fc2, self.fc2_columns[configuration.fc2.block_n]),
        )
        fc1, fc2 = load_backend("numba").make_schedules(plan, self.weights.order, lists)
        return Work(configuration, fc1, fc2, activation_base=base)

    def gate_up(self, x: torch.Tensor, plan: DispatchPlan, work: Work, activation: torch.Tensor) -> None:
        """fc1: fill the ragged `activation` (flat, at least sum n_e W_e elements)."""
        if plan.rows:
            tile = work.configuration.fc1
            self._launch(
                gate_up_kernel(tile, self.dtype),
                (tile.threads_x, tile.threads_y),
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
                (tile.threads_x, tile.threads_y),
                work.fc2,
                (activation, plan.expert_offsets, self.weights.down_t, self.weights.offsets_int64),
                (work.activation_base, rows),
            )

    def combine(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """Sum rows [R, H] to y [T, H], each row with its combine weight."""
        return load_backend("numba").combine(rows, plan)

    def _launch(
        self,
        kernel: Any,
        block: tuple[int, int],
        schedule: TileSchedule,
        inputs: tuple[torch.Tensor, ...],
        base_and_output: tuple[torch.Tensor, torch.Tensor],
    ) -> None:
        """One block per entry the work list may have; those past its end find nothing to do."""
        base, output = base_and_output
        grid = min(schedule.bound, _SIMULATED_BLOCKS) if SIMULATED else schedule.bound
        tiles = (schedule.expert, schedule.row, schedule.column, schedule.count)
        launch(kernel, grid, block, self.device, *inputs, base, *tiles, output)

    def _buffers(self, plan: DispatchPlan) -> tuple[torch.Tensor, torch.Tensor]:
        """The ragged activation, sized by the widest expert because the counts are not known here, and rows [R, H]."""
        activation = torch.empty(plan.rows * max(self.spec.widths), dtype=self.dtype, device=self.device)
        return activation, torch.empty((plan.rows, self.spec.hidden), dtype=self.dtype, device=self.device)


def _list(tile: Tile | MmaTile, columns: Columns) -> ListRequest:
    return ListRequest(tile.block_m, columns.blocks, columns.most, tile.band)
