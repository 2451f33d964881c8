"""The entry `cupy` of the table: what it supports, which version runs what, how it is prepared and tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from .config import ELEMENTS, HOPPER, KINDS, Config, Configuration
from .launch import CupyLayer
from .shipped import MOST_ROWS_FOR_SWAPPED, built_in, offered
from .space import from_values, space, to_values

if TYPE_CHECKING:
    from ...dispatch.compilation import Compilation, Target
    from ...reference import ExpertWeights, LayerSpec
    from ..tunable import GemmWork

VERSIONS = ("auto", *KINDS)
FASTEST_FIRST = ("persistent", "swapped", "wgmma", "mma", "tile")  # with many rows an expert
HOPPER_CAPABILITY = (9, 0)
MOST_EXPERT_ELEMENTS = 2**30  # the kernels count one expert's gate and up, with the tiles' overhang, in an int


@dataclass(frozen=True)
class CupyImplementation:
    """The entry of the table. version "auto" takes the fastest that can run a layer on the GPU at hand: persistent on
    Hopper (swapped for few rows an expert), mma on older and newer GPUs, tile for float32 and where H is no multiple of
    8; `chosen` says which, and why none above it.

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
            "auto": "CUDA C++: Hopper's wgmma and TMA or mma for 16-bit types, CUDA cores for float32",
            "tile": "CUDA C++ shared-memory tiles on the CUDA cores",
            "mma": "CUDA C++ on tensor cores (mma.sync) with a cp.async pipeline",
            "wgmma": "CUDA C++ for Hopper: wgmma fed by TMA, one tile a block",
            "persistent": "CUDA C++ for Hopper: wgmma fed by TMA, persistent blocks, ping-pong for narrow experts",
            "swapped": "CUDA C++ for Hopper and few rows: weights as the left operand, streamed once by TMA",
        }
        return f"{what[self.version]}; one launch per GEMM for all widths, gather and SwiGLU fused into the first"

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:
        """See `Implementation.supports`: a CUDA device, unless the engine runs elsewhere; mma only what it can load."""
        reason = check_device(dtype, device)
        if reason is None and self.engine is None:
            reason = CupyEngine.unavailable(device)
        if reason is None and 2 * max(spec.widths) * spec.hidden > MOST_EXPERT_ELEMENTS:
            reason = f"expected 2 * W * H of at most 2^30, got W {max(spec.widths)} and H {spec.hidden}"
        if reason is None and self.version != "auto":
            reason = cannot(self.version, spec, dtype_name(dtype), self._capability(device))
        return reason

    def chosen(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str:
        """The version that runs a layer with many rows on `device`, that for few rows where it is another one, and why
        those that would be faster do not.
        """
        name, capability = dtype_name(dtype), self._capability(device)
        versions = self._versions(spec, name, capability)
        best, few = versions[0], built_in(versions, 0, spec.experts).version
        also = [f"{few} up to {MOST_ROWS_FOR_SWAPPED} rows an expert"] if few != best else []
        above = FASTEST_FIRST[: FASTEST_FIRST.index(best)] if self.version == "auto" else ()
        reasons = [f"not {version}: {cannot(version, spec, name, capability)}" for version in above]
        return "; ".join([best, *also, *reasons])

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
        found = self._choices(spec, dtype_name(dtype), gpu_name(device), self._capability(device))
        layer = CupyLayer.prepare(spec, weights, device, dtype, engine, found, routing_class)
        return with_shared_expert(layer, spec, weights, device, dtype)

    def space(self, spec: LayerSpec, dtype: str) -> dict[str, tuple[Value, ...]]:
        """See `Tunable.space` and, for the reasons, `space.py`."""
        return space(self._versions(spec, dtype, self._capability()))

    def check_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> str | None:
        """See `Tunable.check_values`."""
        return broken_rule(lambda: self._parse(values, spec, dtype))

    def current_values(self, spec: LayerSpec, rows: int, dtype: str) -> dict[str, Value]:
        """See `Tunable.current_values`."""
        found = self._choices(spec, dtype, gpu_name(), self._capability())
        return to_values(found.of(-(-rows // spec.top_k), "any"))

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

    def compilations(self, spec: LayerSpec, dtype: str, tokens: Sequence[int], target: Target) -> list[Compilation]:
        """See `ahead.Ahead`: the GEMMs' cubins, and the work lists that Triton makes for them."""
        from .aot import launched

        found = self._choices(spec, dtype, target.gpu, target.capability).launched(tokens)
        return [each for one in found for each in launched(one, spec, dtype, target)]

    @property
    def _fixed(self) -> Configuration | None:
        config = self.config
        return config if config is None or isinstance(config, Configuration) else Configuration.both(config)

    def _capability(self, device: torch.device | None = None) -> tuple[int, int]:
        """Of a GPU, by default the current one; Hopper's without one: an engine of the tests has all its instructions,
        and what is compiled ahead of time is compiled for it.
        """
        if not torch.cuda.is_available() or (device is not None and device.type != "cuda"):
            return HOPPER_CAPABILITY
        return torch.cuda.get_device_capability(device)

    def _versions(self, spec: LayerSpec, dtype: str, capability: tuple[int, int]) -> tuple[str, ...]:
        """What this one can run a layer with, the fastest first. Raises ValueError for an unknown dtype."""
        if dtype not in ELEMENTS:
            raise ValueError(f"dtype: expected one of {', '.join(ELEMENTS)}, got {dtype!r}")
        if self.version != "auto":
            return (self.version,)
        return tuple(version for version in FASTEST_FIRST if cannot(version, spec, dtype, capability) is None)

    def _parse(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> Configuration:
        """The configuration of flat values. Raises ValueError for one that breaks a rule or cannot run this layer."""
        versions = self._versions(spec, dtype, self._capability())
        config = from_values(values)
        if config.version not in versions:
            reason = cannot(config.version, spec, dtype, self._capability())
            raise ValueError(f"version: {reason or f'expected {versions[0]}, got {config.version}'}")
        return config

    def _choices(self, spec: LayerSpec, dtype: str, gpu: str, capability: tuple[int, int]) -> Choices[Configuration]:
        versions = self._versions(spec, dtype, capability)
        return choices(
            self.name,
            gpu,
            spec,
            dtype,
            built_in=lambda rows: built_in(versions, rows, spec.experts),
            offered=offered(versions),
            parse=lambda values: self._parse(values, spec, dtype),
            fixed=self._fixed,
            tunable=self.version == "auto" or self.name != "cupy",  # rows of cupy may name any version
        )


def cannot(version: str, spec: LayerSpec, dtype: str, capability: tuple[int, int]) -> str | None:
    """None, or why a version cannot run a layer of this dtype on a GPU of this compute capability."""
    if version == "tile":
        return None
    if dtype not in ("float16", "bfloat16"):
        return f"its tensor-core kernel computes in 16-bit types: expected float16 or bfloat16, got {dtype}"
    if spec.hidden % 8:
        return f"its tensor-core kernel moves 16-byte chunks: expected hidden to be a multiple of 8, got {spec.hidden}"
    if capability < (8, 0):
        return f"mma of bfloat16 and cp.async need compute capability 8.0, the GPU has {capability[0]}.{capability[1]}"
    if version in HOPPER and capability != HOPPER_CAPABILITY:
        return f"wgmma needs compute capability 9.0 (Hopper), the GPU has {capability[0]}.{capability[1]}"
    return None


IMPLEMENTATION = CupyImplementation()
