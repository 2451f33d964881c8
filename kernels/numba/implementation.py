"""The entry `numba` of the table: what it supports, how it is prepared and tuned. Numba is imported when asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..choice import Choices, choices
from ..values import Value, broken_rule
from . import config, mma_config

if TYPE_CHECKING:
    import torch

    from ...reference import ExpertWeights, LayerSpec
    from ..interface import Layer
    from ..tunable import GemmWork
    from .config import Configuration
    from .mma_config import MmaConfiguration

    AnyConfiguration = Configuration | MmaConfiguration


@dataclass(frozen=True)
class NumbaImplementation:
    """Two grouped GEMMs over a device-built work list; see `layer.py`.

    tensor_cores: with mma.sync (`mma_gate_up.py`, `mma_down.py`), else with FMAs on the CUDA cores (`gate_up.py`,
    `down.py`)
    """

    name: str = "numba"
    description: str = "one launch per GEMM for all widths: register-blocked FMAs, no tensor cores, written in Python"
    tensor_cores: bool = False

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:
        """See `Implementation.supports`. On CUDA cores any hidden size and widths in float32, float16 and bfloat16; on
        tensor cores multiples of 8 in the 16-bit types.

        Needs a CUDA GPU, or the CPU with NUMBA_ENABLE_CUDASIM=1 (for correctness: a simulated GPU is slow beyond any
        comparison).
        """
        import torch

        from ...dispatch import unavailable
        from ..common import DTYPES, dtype_name

        if dtype not in DTYPES:
            return f"expected one of {', '.join(map(dtype_name, DTYPES))}, got {dtype_name(dtype)}"
        reason = unavailable("numba", torch.device(device))
        if reason is None and self.tensor_cores:
            reason = mma_config.cannot(spec, dtype_name(dtype))
        return reason

    def prepare(
        self,
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device | str,
        dtype: torch.dtype,
        configuration: AnyConfiguration | None = None,
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
        from .mma_layer import NumbaMmaLayer

        found = self._choices(spec, dtype_name(dtype), gpu_name(device), configuration)
        kind = NumbaMmaLayer if self.tensor_cores else NumbaLayer
        layer = kind.prepare(spec, weights, device, dtype, found, routing_class)
        return with_shared_expert(layer, spec, weights, device, dtype)

    def space(self, spec: LayerSpec, dtype: str) -> dict[str, tuple[Value, ...]]:  # noqa: ARG002
        """See `Tunable.space` and, for the reasons, `config.py`."""
        return self._config.space()

    def check_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> str | None:  # noqa: ARG002
        """See `Tunable.check_values`."""
        return broken_rule(lambda: self._config.from_values(values, dtype))

    def current_values(self, spec: LayerSpec, rows: int, dtype: str) -> dict[str, Value]:
        """See `Tunable.current_values`."""
        from ..common import gpu_name

        return self._config.to_values(self._choices(spec, dtype, gpu_name()).of(-(-rows // spec.top_k), "any"))

    def compile_values(self, values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> list[dict[str, Any]]:
        """See `Tunable.compile_values`; for compute capability 9.0."""
        from .aot import compile_configuration

        return [asdict(record) for record in compile_configuration(values, spec, dtype, self.tensor_cores)]

    def gemm_work(
        self, values: Mapping[str, Value], counts: NDArray[np.int64], spec: LayerSpec, dtype: str
    ) -> list[GemmWork]:
        """See `Tunable.gemm_work`."""
        return self._config.from_values(values, dtype).works(counts, spec, dtype)

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

        return self.prepare(spec, weights, device, dtype, self._config.from_values(values, dtype_name(dtype)))

    def _choices(self, spec: LayerSpec, dtype: str, gpu: str, fixed: AnyConfiguration | None = None) -> Choices[Any]:
        from ...dispatch.numba_bridge import SIMULATED

        config = self._config
        return choices(
            self.name,
            gpu,
            spec,
            dtype,
            built_in=lambda rows: config.choose(rows, spec.experts, simulated=SIMULATED),
            offered=(config.SIMULATED,) if SIMULATED else config.COMPILED,
            parse=lambda values: config.from_values(values, dtype),
            fixed=fixed,
        )

    @property
    def _config(self) -> Any:
        """The module that knows this version's tiles."""
        return mma_config if self.tensor_cores else config


IMPLEMENTATION = NumbaImplementation()
TENSOR_CORES = NumbaImplementation(
    name="numba_mma",
    description="one launch per GEMM for all widths: tensor cores (mma.sync) and cp.async from inline PTX, in Python",
    tensor_cores=True,
)
