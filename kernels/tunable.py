"""What a tuner may ask of an implementation: its space of launch configurations, and what one of them would cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .interface import Layer

if TYPE_CHECKING:
    import torch

    from ..reference import ExpertWeights, LayerSpec

Value = int | str | bool


@dataclass(frozen=True)
class GemmWork:
    """What one GEMM launch does under a configuration, counted on the host.

    kernel:     the kernel's name, that of its ahead-of-time record
    tile_flops: float[tiles], FLOPs each tile of the work list executes, padding included, in launch order
    bytes:      what the tiles read from and write to memory when every operand tile is read once per use and L2 keeps
                nothing: an upper bound of the traffic
    least_bytes: every input read once and every output written once
    threads:    per block
    """

    kernel: str
    tile_flops: NDArray[np.float64]
    bytes: int
    least_bytes: int
    threads: int


@runtime_checkable
class Tunable(Protocol):
    """An implementation whose launch configuration can be chosen. Configurations are plain values by parameter name."""

    def space(self, spec: LayerSpec, dtype: str) -> dict[str, tuple[Value, ...]]:
        """Every parameter with its choices in rising order; some combinations `check_values` refuses."""
        ...

    def check_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> str | None:
        """None, or the rule that these values break, in one line. Costs nothing: no compiler, no device."""
        ...

    def current_values(self, spec: LayerSpec, rows: int, dtype: str) -> dict[str, Value]:
        """What a launch with R rows would use now, from the table of tuned configurations or the built-in choice."""
        ...

    def compile_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> list[dict[str, Any]]:
        """One ahead-of-time record per GEMM kernel: name, registers, spills, shared_bytes, tensor_instructions, error.

        Needs no GPU, but a process without interpreter and simulator. Takes seconds.
        """
        ...

    def gemm_work(
        self, values: Mapping[str, Value], counts: NDArray[np.int64], spec: LayerSpec, dtype: str
    ) -> list[GemmWork]:
        """What the launches do for rows per expert `counts` int[E], fc1 first."""
        ...

    def prepare_values(
        self,
        values: Mapping[str, Value],
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> Layer:
        """`Implementation.prepare` with every launch fixed to these values. Raises ValueError with the broken rule."""
        ...
