"""From a plan to two launches: work lists, the ragged activation, fc1, fc2, combine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...dispatch import ListRequest, TileSchedule, combine, make_schedules
from ...dispatch.cuda.engine import Engine, TensorMap
from ..choice import Choices, check_routing_class
from ..common import check_call, dtype_name
from ..grouped import Columns, column_blocks, executed_flops
from .config import ELEMENTS, Config, Configuration
from .hopper_config import SwappedConfig, WgmmaConfig, padded
from .weights import TiledWeights, tile_weights

if TYPE_CHECKING:
    from ...dispatch import DispatchPlan
    from ...reference import ExpertWeights, LayerSpec

FOLDER = Path(__file__).parent
# What this kernel reads before it waits for the grid before: weights, offsets, widths and its work list, all of them
# written before this call's fc1. Everything but `rows` and the activation.
SETTLED = {"swapped_fc2": range(2, 10)}
HOST_BLOCKS = 3  # where an injected engine runs on the CPU: few, so that every block walks several tiles


@dataclass(frozen=True)
class Buffers:
    """What one call passes from phase to phase: two work lists, the activation [R, S_max], rows [R, H].

    The tile and mma kernels use the activation's memory as ragged blocks (work.cuh), those for Hopper as the matrix.
    """

    schedules: tuple[TileSchedule, ...]
    activation: torch.Tensor
    rows: torch.Tensor


@dataclass(frozen=True)
class CupyLayer:
    """Packed weights, and the configurations that calls may get; see `Layer`."""

    spec: LayerSpec
    packed: TiledWeights
    engine: Engine
    choices: Choices[Configuration]
    routing_class: str
    blocks: int  # how many blocks fill the device when one fits on each multiprocessor
    fc1_columns: Mapping[tuple[bool, int], Columns]  # by whether widths are padded, and columns a tile stores
    fc2_columns: Mapping[int, Columns]

    @classmethod
    def prepare(
        cls,
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device,
        dtype: torch.dtype,
        engine: Engine,
        choices: Choices[Configuration],
        routing_class: str,
    ) -> CupyLayer:
        """Pack the weights and count column blocks for every configuration a call may get."""
        hidden = np.full(spec.experts, spec.hidden)
        tiles = choices.candidates
        fc1_columns = {}
        for whole, widths in ((False, spec.expert_widths), (True, padded(spec.expert_widths))):
            sizes = (each.fc1.fc1_columns for each in tiles if each.whole_stages == whole)
            fc1_columns |= {(whole, size): found for size, found in column_blocks(widths, sizes, device).items()}
        return cls(
            spec=spec,
            packed=tile_weights(spec, weights, device, dtype),
            engine=engine,
            choices=choices,
            routing_class=check_routing_class(routing_class),
            blocks=_multiprocessors(device),
            fc1_columns=fc1_columns,
            fc2_columns=column_blocks(hidden, (each.fc2.block_n for each in tiles), device),
        )

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer`."""
        x = self._checked(x, plan)
        config = self.choices.of(plan.tokens, self.routing_class)
        buffers = self._buffers(plan, self._schedules(plan, config))
        self._gemm1(x, plan, buffers, config)
        self._gemm2(plan, buffers, config)
        return combine(buffers.rows, plan)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """See `Layer`; every phase finds its inputs made, in buffers allocated here."""
        x = self._checked(x, plan)
        config = self.choices.of(plan.tokens, self.routing_class)
        buffers = self._buffers(plan, self._schedules(plan, config))
        self._gemm1(x, plan, buffers, config)
        self._gemm2(plan, buffers, config)
        return {
            "plan": lambda: self._schedules(plan, config),
            "gemm1": lambda: self._gemm1(x, plan, buffers, config),
            "gemm2": lambda: self._gemm2(plan, buffers, config),
            "combine": lambda: combine(buffers.rows, plan),
        }

    def executed_flops(self, counts: NDArray[np.int64]) -> int:
        """See `Layer.executed_flops`: every tile at its full size."""
        counts = np.asarray(counts, dtype=np.int64)
        config = self.choices.of(int(counts.sum()) // self.spec.top_k, self.routing_class)
        return executed_flops(config.works(counts, self.spec, dtype_name(self.packed.gate_up.dtype)))

    def for_routing(self, routing_class: str) -> CupyLayer:
        """See `tunable.for_routing`."""
        return replace(self, routing_class=check_routing_class(routing_class))

    def _checked(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """x, on 16 bytes as cp.async needs it. Raises ValueError for a call that does not fit."""
        check_call(x, plan, self.spec, self.packed.gate_up.device, self.packed.gate_up.dtype)
        return x if x.data_ptr() % 16 == 0 else x.clone()

    def _schedules(self, plan: DispatchPlan, config: Configuration) -> tuple[TileSchedule, ...]:
        """The work lists of fc1 and fc2, widest experts first, so that the longest tiles do not come last."""
        fc1, fc2 = config.fc1, config.fc2
        first = self.fc1_columns[config.whole_stages, fc1.fc1_columns]
        second = self.fc2_columns[fc2.block_n]
        requests = (
            ListRequest(fc1.block_m, first.blocks, first.most, fc1.band),
            ListRequest(fc2.block_m, second.blocks, second.most, fc2.band),
        )
        return make_schedules(plan, self.packed.order, requests)

    def _buffers(self, plan: DispatchPlan, schedules: tuple[TileSchedule, ...]) -> Buffers:
        weights = self.packed.down_t
        return Buffers(
            schedules=schedules,
            activation=weights.new_empty((plan.rows, self.packed.most_padded)),
            rows=weights.new_empty((plan.rows, self.spec.hidden)),
        )

    def _gemm1(self, x: torch.Tensor, plan: DispatchPlan, buffers: Buffers, config: Configuration) -> None:
        weights: Any = self.packed.gate_up
        if isinstance(config.fc1, WgmmaConfig | SwappedConfig):
            weights = TensorMap(weights, config.fc1.box_n, config.fc1.block_k)
        operands = (buffers.activation, x, weights, plan.row_token)
        self._launch(config, 0, operands, plan, buffers.schedules[0])

    def _gemm2(self, plan: DispatchPlan, buffers: Buffers, config: Configuration) -> None:
        if plan.rows == 0:  # and nothing a tensor map could describe
            return
        activation: Any = buffers.activation
        weights: Any = self.packed.down_t
        if config.whole_stages:
            depth = config.fc2.block_k
            activation, weights = TensorMap(activation, config.fc2.block_m, depth), TensorMap(weights, depth, depth)
        self._launch(config, 1, (buffers.rows, activation, weights), plan, buffers.schedules[1])

    def _launch(
        self,
        config: Configuration,
        gemm: int,
        operands: tuple[Any, ...],
        plan: DispatchPlan,
        schedule: TileSchedule,
    ) -> None:
        """Launch fc1 (gemm 0) or fc2 (1)."""
        tile = (config.fc1, config.fc2)[gemm]
        module = self.engine.load(FOLDER / f"{config.version}.cu", defines(tile, self.packed.gate_up.dtype))
        widths = self.packed.padded_int32 if config.whole_stages else self.packed.widths_int32
        experts = (plan.expert_offsets, self.packed.offsets_int64, widths)
        work = (schedule.expert, schedule.row, schedule.column, schedule.count)
        sizes = (self.spec.hidden, self.packed.most_padded)
        # A tile a block, as many as there may be; the other versions' blocks walk the list.
        blocks = schedule.bound if config.version == "wgmma" else self.blocks * tile.blocks_per_sm
        module.launch(
            config.kernels[gemm],
            grid=(min(schedule.bound, blocks),),
            block=(tile.threads,),
            args=(*operands, *experts, *work, *sizes),
            shared_bytes=tile.shared_bytes,
            early=config.version in ("persistent", "swapped"),
            settled=SETTLED.get(config.kernels[gemm], ()),
        )


def defines(config: Config, dtype: torch.dtype) -> dict[str, str]:
    """The compile-time constants of one configuration and dtype, as the .cu files read them."""
    return {"ELEMENT": ELEMENTS[dtype_name(dtype)], **config.defines()}


def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return HOST_BLOCKS
    return torch.cuda.get_device_properties(device).multi_processor_count
