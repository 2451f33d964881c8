"""From a plan to two launches: work lists, the ragged activation, fc1, fc2, combine; and which version runs what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...dispatch import TileSchedule, combine, make_schedule
from ...dispatch.cuda.engine import CupyEngine, Engine, default_engine
from ..common import check_call, check_device, check_prepare, dtype_name
from ..interface import Layer
from ..packing import PackedWeights, pack
from ..shared_expert import with_shared_expert
from .config import ELEMENTS, MMA_CONFIGS, TILE_CONFIGS, Config, MmaConfig, TileConfig, choose_mma, choose_tile

if TYPE_CHECKING:
    from ...dispatch import DispatchPlan
    from ...reference import ExpertWeights, LayerSpec

FOLDER = Path(__file__).parent
VERSIONS = ("auto", "tile", "mma")
MOST_EXPERT_ELEMENTS = 2**30  # the kernels count one expert's gate and up, with the tiles' overhang, in an int
HOST_BLOCKS = 3  # where an injected engine runs on the CPU: few, so that every block walks several tiles


@dataclass(frozen=True)
class Buffers:
    """What one call passes from phase to phase: two work lists, the ragged activation [R * S_max], rows [R, H]."""

    schedules: tuple[TileSchedule, TileSchedule]
    activation: torch.Tensor
    rows: torch.Tensor


@dataclass(frozen=True)
class CupyLayer:
    """Packed weights and the kernels of one version. config fixes the launch configuration; None chooses by R and E."""

    spec: LayerSpec
    packed: PackedWeights
    version: str
    engine: Engine
    blocks: int  # how many blocks fill the device when one fits on each multiprocessor
    columns: Mapping[Config, tuple[torch.Tensor, torch.Tensor]]  # column blocks of every expert in fc1 and in fc2
    config: Config | None = None

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """See `Layer`."""
        x = self._checked(x, plan)
        config = self._config(plan.rows)
        buffers = self._buffers(plan, self._schedules(plan, config))
        self._gemm1(x, plan, buffers, config)
        self._gemm2(plan, buffers, config)
        return combine(buffers.rows, plan)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """See `Layer`; every phase finds its inputs made, in buffers allocated here."""
        x = self._checked(x, plan)
        config = self._config(plan.rows)
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
        """FLOPs of whole tiles: rows, columns and the inner dimension rounded up to the blocks."""
        counts = np.asarray(counts, dtype=np.int64)
        config = self._config(int(counts.sum()))
        widths, hidden = self.packed.widths, self.spec.hidden
        rows = _blocks(counts, config.block_m) * config.block_m
        fc1 = 2 * config.fc1_columns * _blocks(widths, config.fc1_columns) * _padded(hidden, config.block_k)
        fc2 = _padded(hidden, config.block_n) * _padded(widths, config.block_k)
        return 2 * int((rows * (fc1 + fc2)).sum())

    def _checked(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """x, on 16 bytes as cp.async needs it. Raises ValueError for a call that does not fit."""
        check_call(x, plan, self.spec, self.packed.gate_up.device, self.packed.gate_up.dtype)
        return x if x.data_ptr() % 16 == 0 else x.clone()

    def _config(self, rows: int) -> Config:
        choose = choose_mma if self.version == "mma" else choose_tile
        return self.config or choose(rows, self.spec.experts)

    def _schedules(self, plan: DispatchPlan, config: Config) -> tuple[TileSchedule, TileSchedule]:
        """The work lists of fc1 and fc2, widest experts first, so that the longest tiles do not come last."""
        fc1_columns, fc2_columns = self.columns[config]
        fc1_most = _blocks(int(self.packed.widths.max()), config.fc1_columns)
        fc2_most = _blocks(self.spec.hidden, config.block_n)
        order = self.packed.order
        return (
            make_schedule(plan, config.block_m, fc1_columns, order, fc1_most),
            make_schedule(plan, config.block_m, fc2_columns, order, fc2_most),
        )

    def _buffers(self, plan: DispatchPlan, schedules: tuple[TileSchedule, TileSchedule]) -> Buffers:
        weights = self.packed.down_t
        return Buffers(
            schedules=schedules,
            activation=weights.new_empty(plan.rows * self._most_stride),
            rows=weights.new_empty((plan.rows, self.spec.hidden)),
        )

    @property
    def _most_stride(self) -> int:
        """S_max: the largest row stride of the ragged activation, in elements (work.cuh)."""
        return _padded(int(self.packed.widths.max()), 8)

    def _gemm1(self, x: torch.Tensor, plan: DispatchPlan, buffers: Buffers, config: Config) -> None:
        operands = (buffers.activation, x, self.packed.gate_up, plan.row_token)
        self._launch("fc1", operands, plan, buffers.schedules[0], config)

    def _gemm2(self, plan: DispatchPlan, buffers: Buffers, config: Config) -> None:
        operands = (buffers.rows, buffers.activation, self.packed.down_t)
        self._launch("fc2", operands, plan, buffers.schedules[1], config)

    def _launch(
        self, kernel: str, operands: tuple[Any, ...], plan: DispatchPlan, schedule: TileSchedule, config: Config
    ) -> None:
        module = self.engine.load(FOLDER / f"{self.version}.cu", defines(config, self.packed.gate_up.dtype))
        work = (schedule.expert, schedule.row, schedule.column, schedule.count)
        sizes = (self.spec.hidden, self._most_stride)
        module.launch(
            f"{self.version}_{kernel}",
            grid=(min(schedule.bound, self.blocks * config.blocks_per_sm),),
            block=(config.threads,),
            args=(*operands, plan.expert_offsets, self.packed.offsets_int64, *work, *sizes),
            shared_bytes=config.shared_bytes,
        )


@dataclass(frozen=True)
class CupyImplementation:
    """The entry of the table. version "auto" takes mma where it can and tile elsewhere.

    engine: what compiles and launches the sources; None means CuPy on the GPU, found when a layer is prepared. With
    an engine that executes them on the CPU, everything below runs there.
    config: fixes the launch configuration, where the version is fixed; None chooses by R and E.
    """

    version: str = "auto"
    engine: Engine | None = None
    config: Config | None = None
    name: str = "cupy"

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ValueError(f"version: expected one of {', '.join(VERSIONS)}, got {self.version!r}")
        kind = {"tile": TileConfig, "mma": MmaConfig}.get(self.version)
        if self.config is not None and (kind is None or not isinstance(self.config, kind)):
            expected = f"a {kind.__name__}" if kind else "none, because the version is auto"
            raise ValueError(f"config: expected {expected}, got {type(self.config).__name__}")

    @property
    def description(self) -> str:
        """See `Implementation.description`."""
        what = {
            "auto": "CUDA C++: tensor cores for 16-bit types, CUDA cores for float32",
            "tile": "CUDA C++ shared-memory tiles on the CUDA cores",
            "mma": "CUDA C++ on tensor cores (mma.sync) with a cp.async pipeline",
        }
        return f"{what[self.version]}; one launch per GEMM for all widths, gather and SwiGLU fused into the first"

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:
        """See `Implementation.supports`: a CUDA device, unless the engine runs elsewhere; mma only what it can load."""
        reason = check_device(dtype, device)
        if reason is None and self.engine is None:
            reason = CupyEngine.unavailable(device)
        if reason is None and 2 * max(spec.widths) * spec.hidden > MOST_EXPERT_ELEMENTS:
            reason = f"expected 2 * W * H of at most 2^30, got W {max(spec.widths)} and H {spec.hidden}"
        if reason is None and self.version == "mma":
            reason = _mma_cannot(spec, dtype)
        return reason

    def prepare(self, spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype) -> Layer:
        """See `Implementation.prepare`. The kernels of a configuration are compiled at the first call that uses it."""
        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        version = self.version
        if version == "auto":
            version = "tile" if _mma_cannot(spec, dtype) else "mma"
        packed = pack(spec, weights, device, dtype)
        candidates = MMA_CONFIGS if version == "mma" else TILE_CONFIGS
        configs = [self.config] if self.config else candidates.values()
        layer = CupyLayer(
            spec=spec,
            packed=packed,
            version=version,
            engine=self.engine or default_engine(),
            blocks=_multiprocessors(device),
            columns={config: _column_blocks(packed, config) for config in configs},
            config=self.config,
        )
        return with_shared_expert(layer, spec, weights, device, dtype)


def defines(config: Config, dtype: torch.dtype) -> dict[str, str]:
    """The compile-time constants of one configuration and dtype, as the .cu files read them."""
    return {"ELEMENT": ELEMENTS[dtype_name(dtype)], **config.defines()}


def _column_blocks(packed: PackedWeights, config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Column blocks of every expert in fc1 and in fc2, int32[E] each, on the weights' device."""
    fc1 = _blocks(packed.widths, config.fc1_columns).astype(np.int32)
    fc2 = np.full_like(fc1, _blocks(packed.hidden, config.block_n))
    return torch.from_numpy(fc1).to(packed.order.device), torch.from_numpy(fc2).to(packed.order.device)


def _mma_cannot(spec: LayerSpec, dtype: torch.dtype) -> str | None:
    """None, or why the tensor-core version cannot run this case."""
    if dtype not in (torch.float16, torch.bfloat16):
        return f"its tensor-core kernel computes in 16-bit types: expected float16 or bfloat16, got {dtype_name(dtype)}"
    if spec.hidden % 8:
        return f"its tensor-core kernel moves 16-byte chunks: expected hidden to be a multiple of 8, got {spec.hidden}"
    return None


def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return HOST_BLOCKS
    return torch.cuda.get_device_properties(device).multi_processor_count


def _blocks(size: Any, block: int) -> Any:
    return -(-size // block)


def _padded(size: Any, block: int) -> Any:
    return _blocks(size, block) * block
