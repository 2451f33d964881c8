"""Expert weights as all CUDA C++ versions read them: gate and up in alternating blocks, widths in whole stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...reference import ExpertWeights, LayerSpec
from ..packing import as_tensor, copy_gate_up
from .hopper_config import padded

INTERLEAVE = 8  # gate rows before as many up rows: one thread of a tensor core then sums both of the same column


@dataclass(frozen=True)
class TiledWeights:
    """All experts' weights along the rows of two matrices; expert e has P_e >= W_e rows, P_e a multiple of 64.

    gate_up:       [sum of 2 P_e, H]  expert e from row 2 offsets[e] on: gate rows 0-7, up rows 0-7, gate rows 8-15, ...
    down_t:        [sum of P_e, H]    expert e from row offsets[e] on; Down_e transposed
    widths:        int64[E] on the host, W_e
    most_padded:   the largest P_e
    offsets_int64: int64[E + 1] on the device, prefix sums of P_e
    widths_int32, padded_int32: int32[E] on the device, W_e and P_e
    order:         int32[E] on the device, experts by descending width, ties to the lower id

    Rows past W_e are zero: they add nothing to any sum, and their activation silu(0) * 0 is zero, so that a kernel may
    work on whole stages. A width that is a multiple of 64, as all released layers have them, costs nothing.
    """

    gate_up: torch.Tensor
    down_t: torch.Tensor
    widths: NDArray[np.int64]
    most_padded: int
    offsets_int64: torch.Tensor
    widths_int32: torch.Tensor
    padded_int32: torch.Tensor
    order: torch.Tensor


def tile_weights(
    spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype
) -> TiledWeights:
    """Round every expert's matrices to `dtype` and lay them out on `device`, one expert at a time.

    weights may hold NumPy or torch arrays of any float dtype. Raises ValueError for shapes that do not fit `spec`.
    """
    weights.check(spec)
    widths = spec.expert_widths
    rows = padded(widths)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(rows)])
    gate_up = torch.zeros((2 * int(offsets[-1]), spec.hidden), dtype=dtype, device=device)
    down_t = torch.zeros((int(offsets[-1]), spec.hidden), dtype=dtype, device=device)
    for expert, width in enumerate(widths):
        start = int(offsets[expert])
        whole = -(-int(width) // INTERLEAVE) * INTERLEAVE
        gate, up = (_with_rows(matrices[expert], whole) for matrices in (weights.gate, weights.up))
        copy_gate_up(gate_up[2 * start : 2 * (start + whole)], gate, up, INTERLEAVE)
        down_t[start : start + int(width)].copy_(as_tensor(weights.down[expert]).t())
    return TiledWeights(
        gate_up=gate_up,
        down_t=down_t,
        widths=widths,
        most_padded=int(rows.max()),
        offsets_int64=torch.from_numpy(offsets).to(device),
        widths_int32=torch.from_numpy(widths.astype(np.int32)).to(device),
        padded_int32=torch.from_numpy(rows.astype(np.int32)).to(device),
        order=torch.from_numpy(np.argsort(-widths, kind="stable").astype(np.int32)).to(device),
    )


def _with_rows(matrix: Any, rows: int) -> torch.Tensor:
    """The matrix with zero rows behind it up to `rows`; itself where it has as many."""
    tensor = as_tensor(matrix)
    if tensor.shape[0] == rows:
        return tensor
    return torch.nn.functional.pad(tensor, (0, 0, 0, rows - tensor.shape[0]))
