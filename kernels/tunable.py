"""What a tuner may ask of an implementation: its space of launch configurations, and what one of them would cost.

`mohge tune` asks through `Tunable`; the winners go to the table of `tuned.py`, which launchers read. A launcher knows
tokens, dtype and GPU by itself, but not how skewed a routing is: the counts stay on the device. Who knows tells it with
`for_routing`, or with `routing_class` when preparing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .interface import Layer
from .values import Value

if TYPE_CHECKING:
    import torch

    from ..reference import ExpertWeights, LayerSpec

__all__ = ["GemmWork", "Tunable", "Value", "for_routing"]


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
    """An implementation whose launch configuration can be chosen. Configurations are plain values by parameter name,
    "fc1_block_m" and so on; whole numbers, except where a choice has a name.
    """

    def space(self, spec: LayerSpec, dtype: str) -> dict[str, tuple[Value, ...]]:
        """Every parameter with its choices in rising order; some combinations `check_values` refuses.

        A parameter that another one's value makes meaningless (CUDA C++ warps in a kernel without tensor cores) may be
        left out of a configuration or have any value there.
        """
        ...

    def check_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> str | None:
        """None, or the rule that these values break, in one line. Costs nothing: no compiler, no device.

        The rules are those of the kernels and of Hopper's limits, not of the space: values between its choices pass.
        """
        ...

    def current_values(self, spec: LayerSpec, rows: int, dtype: str) -> dict[str, Value]:
        """What a launch with R rows of unknown routing would use now on the current GPU, from the table of tuned
        configurations or the built-in choice.
        """
        ...

    def compile_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> list[dict[str, Any]]:
        """One ahead-of-time record per GEMM kernel, fc1 first: the fields of `compiled.CompiledRecord`, among them
        name, registers, spills, shared_bytes, tensor_instructions, error.

        Needs no GPU and works in any process: where Triton interprets or Numba simulates, another one compiles. Takes
        seconds the first time; kept on disk after that. Raises ValueError with the rule that the values break.
        """
        ...

    def gemm_work(
        self, values: Mapping[str, Value], counts: NDArray[np.int64], spec: LayerSpec, dtype: str
    ) -> list[GemmWork]:
        """What the launches do for rows per expert `counts` int[E], fc1 first. Raises ValueError for a broken rule."""
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


def for_routing(layer: Layer, routing_class: str) -> Layer:
    """The same prepared layer, its weights shared, for calls whose routing is of a class ("any", "balanced", "skewed").

    A layer of an implementation that is not tuned by routing is returned as it is. Raises ValueError for no such class.
    """
    change = getattr(layer, "for_routing", None)
    return layer if change is None else change(routing_class)
