"""The layer: work lists, fc1, fc2, combine. Four launches, none sized by anything only the device knows.

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
from numpy.typing import NDArray
from triton.tools.tensor_descriptor import TensorDescriptor

from ...dispatch import DispatchPlan, ListRequest, TileSchedule
from ...dispatch.triton_rows import combine_splits
from ...dispatch.triton_schedule import make_schedules
from ...reference import ExpertWeights, LayerSpec
from ..choice import Choices, check_routing_class
from ..common import check_call, dtype_name
from ..grouped import Columns, column_blocks, executed_flops
from ..packing import PackedWeights, pack
from .blocks import ALIGNMENT
from .config import Configuration
from .down import down_kernel
from .gate_up import activate_kernel, gate_up_kernel
from .tile import Tile

# The interpreter runs programs one after the other; a few of them are enough to walk the list with a stride.
_INTERPRETED_PROCESSORS = 3


@dataclass(frozen=True)
class Work:
    """What is derived from one dispatch plan: the configuration of the call and the work lists of both GEMMs."""

    configuration: Configuration
    fc1: TileSchedule
    fc2: TileSchedule


@dataclass(frozen=True)
class Buffers:
    """What the launches of a call leave each other, laid out as `blocks.py` says.

    activation: [R, stride]            what fc1 makes and fc2 reads
    rows:       [splits, R, H]         what fc2 makes; float32 where there is more than one split
    sums:       float32[splits, R, 2 * stride] of fc1, or None where its inner dimension is not split
    """

    activation: torch.Tensor
    rows: torch.Tensor
    sums: torch.Tensor | None


@dataclass(frozen=True)
class TritonLayer:
    """An expert FFN with packed weights, ready to be called; see `Layer`."""

    spec: LayerSpec
    weights: PackedWeights
    device: torch.device
    dtype: torch.dtype
    choices: Choices[Configuration]
    routing_class: str
    columns: Mapping[Tile, Columns]
    operands: Mapping[Tile, Any]
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
        """Pack the weights; count column blocks and describe weights for every configuration a call may get."""
        processors = _INTERPRETED_PROCESSORS
        if device.type == "cuda":
            processors = torch.cuda.get_device_properties(device).multi_processor_count
        packed = pack(spec, weights, device, dtype, interleave=1)
        tiles = {tile for candidate in choices.candidates for tile in (candidate.fc1, candidate.fc2)}
        return cls(
            spec=spec,
            weights=packed,
            device=device,
            dtype=dtype,
            choices=choices,
            routing_class=check_routing_class(routing_class),
            columns={tile: _columns(spec, tile, device) for tile in tiles},
            operands={tile: _weight_operand(packed, tile) for tile in tiles},
            processors=processors,
        )

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer.__call__`: x [T, H] to y [T, H]; no host synchronisation, and a CUDA graph can capture it."""
        check_call(x, plan, self.spec, self.device, self.dtype)
        if plan.rows == 0:
            return torch.empty_like(x)
        work = self.plan(plan)
        buffers = self._buffers(plan, work)
        self.gate_up(x, plan, work, buffers)
        self.down(plan, work, buffers)
        return self.combine(plan, buffers)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """See `Layer.phases`. Run once here, so that each can be repeated or captured by itself in any order.

        "plan" makes its work lists anew each time; the GEMMs read equal ones made here.
        """
        check_call(x, plan, self.spec, self.device, self.dtype)
        work = self.plan(plan)
        buffers = self._buffers(plan, work)
        self.gate_up(x, plan, work, buffers)
        self.down(plan, work, buffers)
        return {
            "plan": lambda: self.plan(plan),
            "gemm1": lambda: self.gate_up(x, plan, work, buffers),
            "gemm2": lambda: self.down(plan, work, buffers),
            "combine": lambda: self.combine(plan, buffers),
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
        """The work lists of both GEMMs, made on the device."""
        configuration = self.choices.of(plan.tokens, self.routing_class)
        with _on(self.device):
            lists = (self._list(configuration.fc1), self._list(configuration.fc2))
            return Work(configuration, *make_schedules(plan, self.weights.order, lists))

    def gate_up(self, x: torch.Tensor, plan: DispatchPlan, work: Work, buffers: Buffers) -> None:
        """fc1: fill `buffers.activation`."""
        tile, stride = work.configuration.fc1, buffers.activation.shape[1]
        lists = self._lists(plan, work.fc1)
        out = buffers.activation if buffers.sums is None else buffers.sums
        arguments = (x, plan.row_token, self.operands[tile], out, *lists, self.spec.hidden, stride, plan.rows)
        self._launch(gate_up_kernel, tile, work.fc1, arguments, self._constants(tile))
        if buffers.sums is not None:
            constants = {"BLOCK_M": tile.block_m, "BLOCK_N": tile.block_n, "SPLIT_K": tile.split_k}
            arguments = (buffers.sums, buffers.activation, *lists, stride, plan.rows)
            self._launch(activate_kernel, tile, work.fc1, arguments, constants)

    def down(self, plan: DispatchPlan, work: Work, buffers: Buffers) -> None:
        """fc2: fill `buffers.rows` in plan order."""
        tile, activation = work.configuration.fc2, buffers.activation
        stride = activation.shape[1]
        operand: Any = activation
        if tile.descriptors == 2:
            operand = TensorDescriptor(activation, list(activation.shape), [stride, 1], [tile.block_m, tile.block_k])
        lists = self._lists(plan, work.fc2)
        arguments = (operand, self.operands[tile], buffers.rows, *lists, self.spec.hidden, stride, plan.rows)
        self._launch(down_kernel, tile, work.fc2, arguments, self._constants(tile))

    def combine(self, plan: DispatchPlan, buffers: Buffers) -> torch.Tensor:
        """Sum rows and their splits to y [T, H], each row with its combine weight."""
        with _on(self.device):
            return combine_splits(buffers.rows, plan, self.dtype)

    def _buffers(self, plan: DispatchPlan, work: Work) -> Buffers:
        """Memory between the launches, sized by the widest expert because the counts are not known here."""
        fc1, fc2 = work.configuration.fc1.split_k, work.configuration.fc2.split_k
        stride = -(-max(self.spec.widths) // ALIGNMENT) * ALIGNMENT

        def empty(*shape: int, dtype: torch.dtype = self.dtype) -> torch.Tensor:
            return torch.empty(shape, dtype=dtype, device=self.device)

        return Buffers(
            activation=empty(max(1, plan.rows), stride),  # a descriptor has at least one row
            rows=empty(fc2, plan.rows, self.spec.hidden, dtype=self.dtype if fc2 == 1 else torch.float32),
            sums=None if fc1 == 1 else empty(fc1, plan.rows, 2 * stride, dtype=torch.float32),
        )

    def _list(self, tile: Tile) -> ListRequest:
        columns = self.columns[tile]
        return ListRequest(tile.block_m, columns.blocks, columns.most, tile.band)

    def _lists(self, plan: DispatchPlan, schedule: TileSchedule) -> tuple[torch.Tensor, ...]:
        """What every kernel reads to find its tiles, in the order of its arguments."""
        tiles = (schedule.expert, schedule.row, schedule.column, schedule.count)
        return (plan.expert_offsets, self.weights.offsets_int64, *tiles)

    def _launch(
        self,
        kernel: Any,
        tile: Tile,
        schedule: TileSchedule,
        arguments: tuple[Any, ...],
        constants: Mapping[str, Any],
    ) -> None:
        """As many programs as the device holds at once, or as there may be tiles."""
        grid = (min(self.processors * tile.blocks_per_sm, schedule.bound),)
        with _on(self.device):
            kernel[grid](*arguments, **constants)

    def _constants(self, tile: Tile) -> dict[str, Any]:
        return {**tile.constants(self.spec), "num_warps": tile.num_warps, "num_stages": tile.num_stages}


def _columns(spec: LayerSpec, tile: Tile, device: torch.device) -> Columns:
    """Column blocks of every expert, each split counted as one."""
    widths = spec.expert_widths if tile.outputs == 2 else np.full(spec.experts, spec.hidden)
    columns = column_blocks(widths, [tile.block_n], device)[tile.block_n]
    return Columns(columns.blocks * tile.split_k, columns.most * tile.split_k)


def _weight_operand(packed: PackedWeights, tile: Tile) -> Any:
    """A GEMM's packed weights, behind a descriptor where its tile loads them through one."""
    matrix = packed.gate_up if tile.outputs == 2 else packed.down_t
    if not tile.descriptors:
        return matrix
    return TensorDescriptor(matrix, list(matrix.shape), [packed.hidden, 1], list(tile.weight_block()))


def _on(device: torch.device) -> torch.cuda.device:
    """Triton launches on the current device; on the CPU this changes nothing."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
