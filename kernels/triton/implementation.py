"""The entry `triton` of the table: what it supports, how it is prepared. Triton is imported when first asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import SHARED_BYTES, Configuration

if TYPE_CHECKING:
    import torch

    from ...reference import ExpertWeights, LayerSpec
    from ..interface import Layer


class TritonImplementation:
    """One persistent launch per GEMM over a device-built work list; see `layer.py`."""

    name = "triton"
    description = "one persistent Triton launch per GEMM for all widths; gather and SwiGLU fused into the first"

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:  # noqa: ARG002
        """See `Implementation.supports`. Any hidden size and widths; float32, float16, bfloat16.

        Needs a GPU whose blocks may use 192 KiB of shared memory (compute capability 9.0 or 10.0), or the CPU with
        TRITON_INTERPRET=1, where bfloat16 is refused.
        """
        import torch

        from ...dispatch import unavailable
        from ..common import check_device

        device = torch.device(device)
        reason = check_device(dtype, device) or unavailable("triton", device)
        if reason is not None:
            return reason
        if device.type == "cpu" and dtype == torch.bfloat16:
            return "Triton's interpreter computes bfloat16 dot products wrongly; use float16 or float32 on the CPU"
        if device.type == "cuda":
            shared = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
            if shared < SHARED_BYTES:
                return f"needs {SHARED_BYTES // 1024} KiB of shared memory a block, this GPU has {shared // 1024}"
        return None

    def prepare(
        self,
        spec: LayerSpec,
        weights: ExpertWeights,
        device: torch.device | str,
        dtype: torch.dtype,
        configuration: Configuration | None = None,
    ) -> Layer:
        """See `Implementation.prepare`. `configuration` fixes the tiles; otherwise a call gets those of its size."""
        import torch

        from ..common import check_prepare
        from ..shared_expert import with_shared_expert

        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        from .layer import TritonLayer

        layer = TritonLayer.prepare(spec, weights, device, dtype, configuration)
        return with_shared_expert(layer, spec, weights, device, dtype)


IMPLEMENTATION = TritonImplementation()
