"""The layer: work lists, fc1, fc2, combine. Six launches, none sized by anything only the device knows.

Its floor for `mohge-3b`, 16384 tokens of uniform routing (R = 98304 rows, 1536 an expert), bfloat16, one H200 with a
matrix rate of 790 TFLOP/s and a copy rate of 4.3 TB/s, both measured:

            FLOPs      bytes to and from memory                                       by FLOPs   by bytes
    fc1     0.3350 T   x 34 MB + gate, up 218 MB + activation 164 MB     = 415 MB     0.424 ms   0.097 ms
    fc2     0.1675 T   activation 164 MB + down 109 MB + rows 201 MB     = 474 MB     0.212 ms   0.110 ms
    combine            rows 201 MB + y 34 MB                             = 235 MB                0.055 ms
    layer   0.5025 T                                                                  0.691 ms, 728 TFLOP/s

Both GEMMs are bound by the tensor cores, by four and two times. Widths of `mohge-3b` are multiples of fc1's 128 columns
and H of fc2's 256, so only the last row block of an expert is padded: half a block of 128 in 1536 rows, 4 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import triton
from numpy.typing import NDArray

from ...dispatch import DispatchPlan, TileSchedule, load_backend
from ...reference import ExpertWeights, LayerSpec
from ..choice import Choices, check_routing_class
from ..common import check_call, dtype_name
from ..grouped import Columns, Work, column_blocks, executed_flops
from ..packing import PackedWeights, pack
from .config import Configuration, Tile
from .down import down_kernel
from .gate_up import gate_up_kernel
from .ragged import activation_base_kernel

# The interpreter runs programs one after the other; a few of them are enough to walk the list with a stride.
_INTERPRETED_PROCESSORS = 3


@dataclass(frozen=True)
class TritonLayer:
    """An expert FFN with packed weights, ready to be called; see `Layer`."""

    spec: LayerSpec
    weights: PackedWeights
    device: torch.device
    dtype: torch.dtype
    choices: Choices[Configuration]
    routing_class: str
    fc1_columns: Mapping[int, Columns]  # by block_n
    fc2_columns: Mapping[int, Columns]
    processors: int

    @classmethod
    def prepare(
        cls,
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device,
        dtype: torch.dtype,
        choices: Choices[Configuration],
        routing_class: str,
    ) -> TritonLayer:
        """Pack the weights and count column blocks for every configuration a call may get."""
        hidden = np.full(spec.experts, spec.hidden)
        processors = _INTERPRETED_PROCESSORS
        if device.type == "cuda":
            processors = torch.cuda.get_device_properties(device).multi_processor_count
        return cls(
            spec=spec,
            weights=pack(spec, weights, device, dtype),
            device=device,
            dtype=dtype,
            choices=choices,
            routing_class=check_routing_class(routing_class),
            fc1_columns=column_blocks(spec.expert_widths, (tiles.fc1.block_n for tiles in choices.candidates), device),
            fc2_columns=column_blocks(hidden, (tiles.fc2.block_n for tiles in choices.candidates), device),
            processors=processors,
        )

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer.__call__`: x [T, H] to y [T, H]; no host synchronisation, and a CUDA graph can capture it."""
        check_call(x, plan, self.spec, self.device, self.dtype)
        if plan.rows == 0:
            return torch.empty_like(x)
        work = self.plan(plan)
        activation, rows = self._buffers(plan)
        self.gate_up(x, plan, work, activation)
        self.down(plan, work, activation, rows)
        return self.combine(rows, plan)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """See `Layer.phases`. Run once here, so that each can be repeated or captured by itself in any order.

        "plan" makes its work lists anew each time; the GEMMs read equal ones made here.
        """
        check_call(x, plan, self.spec, self.device, self.dtype)
        work = self.plan(plan)
        activation, rows = self._buffers(plan)
        self.gate_up(x, plan, work, activation)
        self.down(plan, work, activation, rows)
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

    def for_routing(self, routing_class: str) -> TritonLayer:
        """See `tunable.for_routing`."""
        return replace(self, routing_class=check_routing_class(routing_class))

    def plan(self, plan: DispatchPlan) -> Work:
        """The work lists of both GEMMs and the bases of the ragged activation, made on the device."""
        configuration = self.choices.of(plan.tokens, self.routing_class)
        base = torch.empty(self.spec.experts, dtype=torch.int64, device=self.device)
        with _on(self.device):
            activation_base_kernel[(1,)](
                plan.expert_offsets,
                self.weights.offsets_int64,
                base,
                self.spec.experts,
                BLOCK_E=min(1024, triton.next_power_of_2(self.spec.experts)),
            )
        return Work(
            configuration=configuration,
            fc1=self._schedule(plan, configuration.fc1, self.fc1_columns),
            fc2=self._schedule(plan, configuration.fc2, self.fc2_columns),
            activation_base=base,
        )

    def gate_up(self, x: torch.Tensor, plan: DispatchPlan, work: Work, activation: torch.Tensor) -> None:
        """fc1: fill the ragged `activation` (flat, at least sum n_e W_e elements)."""
        tile, schedule, hidden = work.configuration.fc1, work.fc1, self.spec.hidden
        with _on(self.device):
            gate_up_kernel[self._grid(tile, schedule)](
                x,
                plan.row_token,
                plan.expert_offsets,
                self.weights.gate_up,
                self.weights.offsets_int64,
                work.activation_base,
                activation,
                schedule.expert,
                schedule.row,
                schedule.column,
                schedule.count,
                hidden,
                **self._constants(tile),
            )

    def down(self, plan: DispatchPlan, work: Work, activation: torch.Tensor, rows: torch.Tensor) -> None:
        """fc2: fill `rows` [R, H] in plan order."""
        tile, schedule, hidden = work.configuration.fc2, work.fc2, self.spec.hidden
        with _on(self.device):
            down_kernel[self._grid(tile, schedule)](
                activation,
                work.activation_base,
                plan.expert_offsets,
                self.weights.down_t,
                self.weights.offsets_int64,
                rows,
                schedule.expert,
                schedule.row,
                schedule.column,
                schedule.count,
                hidden,
                **self._constants(tile),
            )

    def combine(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """Sum rows [R, H] to y [T, H], each row with its combine weight."""
        return load_backend("triton").combine(rows, plan)

    def _buffers(self, plan: DispatchPlan) -> tuple[torch.Tensor, torch.Tensor]:
        """The ragged activation, sized by the widest expert because the counts are not known here, and rows [R, H]."""
        activation = torch.empty(plan.rows * max(self.spec.widths), dtype=self.dtype, device=self.device)
        return activation, torch.empty((plan.rows, self.spec.hidden), dtype=self.dtype, device=self.device)

    def _schedule(self, plan: DispatchPlan, tile: Tile, columns: Mapping[int, Columns]) -> TileSchedule:
        blocks = columns[tile.block_n]
        make_schedule = load_backend("triton").make_schedule
        return make_schedule(plan, tile.block_m, blocks.blocks, self.weights.order, blocks.most, tile.band)

    def _grid(self, tile: Tile, schedule: TileSchedule) -> tuple[int]:
        return (min(self.processors * tile.blocks_per_sm, schedule.bound),)

    def _constants(self, tile: Tile) -> dict[str, Any]:
        return {**tile.constants(self.spec), "num_warps": tile.num_warps, "num_stages": tile.num_stages}


def _on(device: torch.device) -> torch.cuda.device:
    """Triton launches on the current device; on the CPU this changes nothing."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
