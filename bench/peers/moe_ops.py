"""`moe_ops`: the Triton grouped GEMM of the package moe-ops (0.1.0), two calls per width, with our permute and combine.

For each run of experts of equal width W with rows x_g [R_g, H]: a_g = silu(x_g Gate^T) * (x_g Up^T) [R_g, W] with
torch's SwiGLU, out_g = a_g Down^T [R_g, H]: `torch_grouped_mm` with another library's GEMM in the place of torch's. Its
own permute is not used: its counting sort leaves the order of rows to atomics, and all sides get the same plan here.

Its TMA kernel chooses tiles by the number of experts alone, so the first call's choice holds for all widths of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from ...kernels.common import check_prepare, check_triton, dtype_name
from ...kernels.interface import Layer
from ...kernels.shared_expert import with_shared_expert
from ...kernels.torch_grouped_mm import TorchGroupedLayer
from ...reference import ExpertWeights, LayerSpec

# By its name, since a type checker without the package would take it for this file.
moe_ops: Any = import_module("moe_ops")

STRIDE_BYTES = 16  # of the rows that TMA reads


@dataclass(frozen=True)
class MoeOps:
    """The entry of the table."""

    name: str = "moe_ops"
    description: str = (
        "moe-ops: its Triton grouped GEMM pair per width, with this suite's plan, permute and combine and torch's "
        "SwiGLU; where widths differ, waits for the GPU once a call, to read the bounds"
    )

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:
        """See `Implementation.supports`: 16-bit types, rows of whole 16 bytes."""
        device = torch.device(device)
        reason = check_triton(dtype, device)
        if reason is not None:
            return reason
        if device.type == "cuda" and dtype == torch.float32:
            return "expected float16 or bfloat16, which it is made for, got float32"
        multiple = STRIDE_BYTES // dtype.itemsize
        for size, what in ((spec.hidden, "hidden"), *((width, "every width") for width in spec.widths)):
            if size % multiple:
                return f"expected {what} to be a multiple of {multiple} ({dtype_name(dtype)}, 16-byte rows), got {size}"
        return None

    def prepare(self, spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype) -> Layer:
        """See `Implementation.prepare`."""
        device = torch.device(device)
        check_prepare(self.supports(spec, dtype, device), self.name)
        layer = TorchGroupedLayer.prepare(spec, weights, device, dtype, multiply)
        return with_shared_expert(layer, spec, weights, device, dtype)


def multiply(rows: torch.Tensor, matrices: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """See `kernels.torch_grouped_mm.Multiply`. Matrices [n, K, N] may be a transposed view of [n, N, K]: no copy.

    The kernel without TMA reads n + 1 offsets that begin with 0, the one with TMA takes the ends as they are.
    """
    transposed = not matrices.is_contiguous()
    stored: Any = matrices.transpose(1, 2) if transposed else matrices
    offsets = ends
    if rows.device.type != "cuda" or not moe_ops.supports_tma(rows.dtype):
        offsets = torch.nn.functional.pad(ends, (1, 0))
    return moe_ops.grouped_gemm(rows, stored, offsets, trans_b=transposed)


MOE_OPS = MoeOps()
