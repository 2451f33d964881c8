"""The entry `numba` of the table: what it supports and how it is prepared. Numba is imported when first asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .config import Configuration

if TYPE_CHECKING:
    import torch

    from ...reference import ExpertWeights, LayerSpec
    from ..interface import Layer


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
    ) -> Layer:
        """See `Implementation.prepare`. `configuration` fixes the tiles; without it a call gets those of its size."""
        import torch

        from ..common import check_prepare
        from ..shared_expert import with_shared_expert

        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        from .layer import NumbaLayer

        layer = NumbaLayer(spec, weights, device, dtype, configuration)
        return with_shared_expert(layer, spec, weights, device, dtype)


IMPLEMENTATION = NumbaImplementation()
