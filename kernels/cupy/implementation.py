"""The entry `cupy` of the table: what it supports, which version runs what, how it is prepared and tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...dispatch.cuda.engine import CupyEngine, Engine, default_engine
from ..choice import Choices, choices
from ..common import check_device, check_prepare, dtype_name, gpu_name
from ..interface import Layer
from ..shared_expert import with_shared_expert
from ..values import Value, broken_rule
from .config import (
    ELEMENTS,
    KINDS,
    SHIPPED,
    Config,
    Configuration,
    MmaConfig,
    TileConfig,
    choose_mma,
    choose_tile,
    from_values,
    space,
    to_values,
)
from .launch import CupyLayer

if TYPE_CHECKING:
    from ...reference import ExpertWeights, LayerSpec
    from ..tunable import GemmWork

VERSIONS = ("auto", *KINDS)
MOST_EXPERT_ELEMENTS = 2**30  # the kernels count one expert's gate and up, with the tiles' overhang, in an int


@dataclass(frozen=True)
class CupyImplementation:
    """The entry of the table. version "auto" takes mma where it can and tile elsewhere.

    engine: what compiles and launches the sources; None means CuPy on the GPU, found when a layer is prepared. With
    an engine that executes them on the CPU, everything below runs there.
    config: fixes the launch configuration, where the version is fixed; one for both GEMMs, or a `Configuration`. None
    takes the tuned table's, or chooses by R and E.
    """

    version: str = "auto"
    engine: Engine | None = None
    config: Config | Configuration | None = None
    name: str = "cupy"

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ValueError(f"version: expected one of {', '.join(VERSIONS)}, got {self.version!r}")
        fixed = self._fixed
        if fixed is not None and fixed.version != self.version:
            kind = KINDS.get(self.version)
            expected = f"a {kind.__name__}" if kind else "none, because the version is auto"
            raise ValueError(f"config: expected {expected}, got {type(fixed.fc1).__name__}")

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
            reason = _mma_cannot(spec, dtype_name(dtype))
        return reason

    def prepare(
        self,
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device | str,
        dtype: torch.dtype,
        routing_class: str = "any",
    ) -> Layer:
        """See `Implementation.prepare`. The kernels of a configuration are compiled at the first call that uses it.
        A call gets that of its size and of `routing_class` (see `tuned.py`).
        """
        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        engine = self.engine or default_engine()
        found = self._choices(spec, dtype_name(dtype), gpu_name(device))
        layer = CupyLayer.prepare(spec, weights, device, dtype, engine, found, routing_class)
        return with_shared_expert(layer, spec, weights, device, dtype)

    def space(self, spec: LayerSpec, dtype: str) -> dict[str, tuple[Value, ...]]:
        """See `Tunable.space` and, for the reasons, `config.py`."""
        return space(self._versions(spec, dtype))

    def check_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> str | None:
        """See `Tunable.check_values`."""
        return broken_rule(lambda: self._parse(values, spec, dtype))

    def current_values(self, spec: LayerSpec, rows: int, dtype: str) -> dict[str, Value]:
        """See `Tunable.current_values`."""
        return to_values(self._choices(spec, dtype, gpu_name()).of(-(-rows // spec.top_k), "any"))

    def compile_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> list[dict[str, Any]]:
        """See `Tunable.compile_values`; for sm_90a."""
        from .aot import compile_configuration

        return [asdict(record) for record in compile_configuration(self._parse(values, spec, dtype), dtype)]

    def gemm_work(
        self, values: Mapping[str, Value], counts: NDArray[np.int64], spec: LayerSpec, dtype: str
    ) -> list[GemmWork]:
        """See `Tunable.gemm_work`."""
        return self._parse(values, spec, dtype).works(counts, spec, dtype)

    def prepare_values(
        self,
        values: Mapping[str, Value],
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> Layer:
        """See `Tunable.prepare_values`."""
        config = self._parse(values, spec, dtype_name(dtype))
        return replace(self, version=config.version, config=config).prepare(spec, weights, device, dtype)

    @property
    def _fixed(self) -> Configuration | None:
        return Configuration.both(self.config) if isinstance(self.config, TileConfig | MmaConfig) else self.config

    def _versions(self, spec: LayerSpec, dtype: str) -> tuple[str, ...]:
        """What this one can run a layer with, the built-in choice first. Raises ValueError for an unknown dtype."""
        if dtype not in ELEMENTS:
            raise ValueError(f"dtype: expected one of {', '.join(ELEMENTS)}, got {dtype!r}")
        if self.version != "auto":
            return (self.version,)
        return ("tile",) if _mma_cannot(spec, dtype) else ("mma", "tile")

    def _parse(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> Configuration:
        """The configuration of flat values. Raises ValueError for one that breaks a rule or cannot run this layer."""
        versions = self._versions(spec, dtype)
        config = from_values(values)
        reason = _mma_cannot(spec, dtype) if config.version == "mma" else None
        if reason is not None or config.version not in versions:
            raise ValueError(f"version: {reason or f'expected {versions[0]}, got {config.version}'}")
        return config

    def _choices(self, spec: LayerSpec, dtype: str, gpu: str) -> Choices[Configuration]:
        version = self._versions(spec, dtype)[0]
        choose = {"tile": choose_tile, "mma": choose_mma}[version]
        return choices(
            self.name,
            gpu,
            spec,
            dtype,
            built_in=lambda rows: Configuration.both(choose(rows, spec.experts)),
            offered=tuple(map(Configuration.both, SHIPPED[version].values())),
            parse=lambda values: self._parse(values, spec, dtype),
            fixed=self._fixed,
            tunable=self.version == "auto",  # rows of the table may name either version
        )


def _mma_cannot(spec: LayerSpec, dtype: str) -> str | None:
    """None, or why the tensor-core version cannot run this case."""
    if dtype not in ("float16", "bfloat16"):
        return f"its tensor-core kernel computes in 16-bit types: expected float16 or bfloat16, got {dtype}"
    if spec.hidden % 8:
        return f"its tensor-core kernel moves 16-byte chunks: expected hidden to be a multiple of 8, got {spec.hidden}"
    return None


IMPLEMENTATION = CupyImplementation()
