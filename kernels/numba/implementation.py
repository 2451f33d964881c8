"""The entry `numba` of the table: what it supports, how it is prepared and tuned. Numba is imported when asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..choice import Choices, choices
from ..values import Value, broken_rule
from .config import COMPILED, SIMULATED, Configuration, choose, from_values, space, to_values

if TYPE_CHECKING:
    import torch

    from ...reference import ExpertWeights, LayerSpec
    from ..interface import Layer
    from ..tunable import GemmWork


@dataclass(frozen=True)
class NumbaImplementation:
    """Two grouped GEMMs on the CUDA cores over a device-built work list; see `layer.py`."""

    name: str = "numba"
    description: str = "one launch per GEMM for all widths: register-blocked FMAs, no tensor cores, written in Python"

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:  # noqa: ARG002
        """See `Implementation.supports`. Any hidden size and widths; float32, float16, bfloat16.

        Needs a CUDA GPU, or the CPU with NUMBA_ENABLE_CUDASIM=1 (for correctness: a simulated GPU is slow beyond any
        comparison).
        """
        import torch

        from ...dispatch import unavailable
        from ..common import DTYPES, dtype_name

        if dtype not in DTYPES:
            return f"expected one of {', '.join(map(dtype_name, DTYPES))}, got {dtype_name(dtype)}"
        return unavailable("numba", torch.device(device))

    def prepare(
        self,
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device | str,
        dtype: torch.dtype,
        configuration: Configuration | None = None,
        routing_class: str = "any",
    ) -> Layer:
        """See `Implementation.prepare`. `configuration` fixes the tiles; otherwise a call gets those of its size and
        of `routing_class` (see `tuned.py`).
        """
        import torch

        from ..common import check_prepare, dtype_name, gpu_name
        from ..shared_expert import with_shared_expert

        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        from .layer import NumbaLayer

        found = self._choices(spec, dtype_name(dtype), gpu_name(device), configuration)
        layer = NumbaLayer.prepare(spec, weights, device, dtype, found, routing_class)
        return with_shared_expert(layer, spec, weights, device, dtype)

    def space(self, spec: LayerSpec, dtype: str) -> dict[str, tuple[Value, ...]]:  # noqa: ARG002
        """See `Tunable.space` and, for the reasons, `config.py`."""
        return space()

    def check_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> str | None:  # noqa: ARG002
        """See `Tunable.check_values`."""
        return broken_rule(lambda: from_values(values, dtype))

    def current_values(self, spec: LayerSpec, rows: int, dtype: str) -> dict[str, Value]:
        """See `Tunable.current_values`."""
        from ..common import gpu_name

        return to_values(self._choices(spec, dtype, gpu_name()).of(-(-rows // spec.top_k), "any"))

    def compile_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> list[dict[str, Any]]:
        """See `Tunable.compile_values`; for compute capability 9.0."""
        from .aot import compile_configuration

        return [asdict(record) for record in compile_configuration(values, spec, dtype)]

    def gemm_work(
        self, values: Mapping[str, Value], counts: NDArray[np.int64], spec: LayerSpec, dtype: str
    ) -> list[GemmWork]:
        """See `Tunable.gemm_work`."""
        return from_values(values, dtype).works(counts, spec, dtype)

    def prepare_values(
        self,
        values: Mapping[str, Value],
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> Layer:
        """See `Tunable.prepare_values`."""
        from ..common import dtype_name

        return self.prepare(spec, weights, device, dtype, from_values(values, dtype_name(dtype)))

    def _choices(
        self, spec: LayerSpec, dtype: str, gpu: str, fixed: Configuration | None = None
    ) -> Choices[Configuration]:
        from ...dispatch.numba_bridge import SIMULATED as SIMULATING

        return choices(
            self.name,
            gpu,
            spec,
            dtype,
            built_in=lambda rows: choose(rows, spec.experts, simulated=SIMULATING),
            offered=(SIMULATED,) if SIMULATING else COMPILED,
            parse=lambda values: from_values(values, dtype),
            fixed=fixed,
        )


IMPLEMENTATION = NumbaImplementation()
