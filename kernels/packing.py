"""Expert weights of unequal width in two flat matrices with no padding, made once per device and dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..reference import ExpertWeights, LayerSpec


@dataclass(frozen=True)
class PackedWeights:
    """All experts' weights along the rows of two matrices; expert e has width W_e and starts at width_offsets[e].

    gate_up:           [Σ 2·W_e, H]  expert e owns rows 2·width_offsets[e] to 2·width_offsets[e + 1]
    down_t:            [Σ W_e, H]    expert e owns rows width_offsets[e] to width_offsets[e + 1]; Down_e transposed
    interleave:        n, how gate and up rows alternate inside an expert, see below
    widths:            int64[E] on the host, W_e
    width_offsets:     int64[E + 1] on the host, prefix sums of W_e
    widths_int32:      int32[E] on the device
    offsets_int32:     int32[E + 1] on the device, the same numbers as width_offsets
    offsets_int64:     int64[E + 1] on the device, for addresses: ΣW_e·H may pass 2^31
    order:             int32[E] on the device, experts by descending width, ties to the lower id

    Rows of one expert in gate_up: with interleave = 0 all W gate rows, then all W up rows. With interleave = n they
    alternate in blocks: n gate rows, the n up rows with the same indices, the next n gate rows, and so on; where n
    does not divide W, the last pair of blocks has W mod n rows each. For W = 3:

        interleave   rows of the expert
        0            g0 g1 g2 u0 u1 u2
        1            g0 u0 g1 u1 g2 u2
        2            g0 g1 u0 u1 g2 u2      (the tail pair is one row each)
    """

    gate_up: torch.Tensor
    down_t: torch.Tensor
    interleave: int
    widths: NDArray[np.int64]
    width_offsets: NDArray[np.int64]
    widths_int32: torch.Tensor
    offsets_int32: torch.Tensor
    offsets_int64: torch.Tensor
    order: torch.Tensor

    @property
    def experts(self) -> int:
        """E."""
        return len(self.widths)

    @property
    def hidden(self) -> int:
        """H."""
        return int(self.gate_up.shape[1])

    def gate_up_of(self, first: int, last: int | None = None) -> torch.Tensor:
        """The gate/up rows of expert `first`, or of experts first to last - 1, as a view [2·ΣW, H]."""
        last = first + 1 if last is None else last
        return self.gate_up[2 * int(self.width_offsets[first]) : 2 * int(self.width_offsets[last])]

    def down_t_of(self, first: int, last: int | None = None) -> torch.Tensor:
        """The transposed down rows of expert `first`, or of experts first to last - 1, as a view [ΣW, H]."""
        last = first + 1 if last is None else last
        return self.down_t[int(self.width_offsets[first]) : int(self.width_offsets[last])]


def pack(
    spec: LayerSpec,
    weights: ExpertWeights,
    device: torch.device | str,
    dtype: torch.dtype,
    *,
    interleave: int = 0,
) -> PackedWeights:
    """Round every expert's matrices to `dtype` and lay them out as `PackedWeights` on `device`.

    The two results are the only full-size allocations: experts are copied into them one at a time. weights may hold
    NumPy or torch arrays of any float dtype. Raises ValueError for shapes that do not fit `spec` or a negative
    interleave.
    """
    if interleave < 0:
        raise ValueError(f"interleave: expected 0 or more rows, got {interleave}")
    weights.check(spec)
    device = torch.device(device)
    widths = spec.expert_widths
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(widths)])
    total = int(offsets[-1])
    gate_up = torch.empty((2 * total, spec.hidden), dtype=dtype, device=device)
    down_t = torch.empty((total, spec.hidden), dtype=dtype, device=device)
    for expert in range(spec.experts):
        start, end = int(offsets[expert]), int(offsets[expert + 1])
        copy_gate_up(gate_up[2 * start : 2 * end], weights.gate[expert], weights.up[expert], interleave)
        down_t[start:end].copy_(as_tensor(weights.down[expert]).t())
    order = np.argsort(-widths, kind="stable").astype(np.int32)
    return PackedWeights(
        gate_up=gate_up,
        down_t=down_t,
        interleave=interleave,
        widths=widths,
        width_offsets=offsets,
        widths_int32=torch.from_numpy(widths.astype(np.int32)).to(device),
        offsets_int32=torch.from_numpy(offsets.astype(np.int32)).to(device),
        offsets_int64=torch.from_numpy(offsets.copy()).to(device),
        order=torch.from_numpy(order).to(device),
    )


def copy_gate_up(target: torch.Tensor, gate: Any, up: Any, interleave: int = 0) -> None:
    """Write one expert's gate and up, [W, H] each, into its rows `target` [2·W, H] in `PackedWeights`'s order."""
    gate, up = as_tensor(gate), as_tensor(up)
    width, hidden = gate.shape
    block = min(interleave, width) or width
    whole = width // block * block
    pairs = target[: 2 * whole].view(whole // block, 2, block, hidden)
    pairs[:, 0].copy_(gate[:whole].reshape(-1, block, hidden))
    pairs[:, 1].copy_(up[:whole].reshape(-1, block, hidden))
    if whole < width:
        tail = target[2 * whole :].view(2, width - whole, hidden)
        tail[0].copy_(gate[whole:])
        tail[1].copy_(up[whole:])


def as_tensor(matrix: Any) -> torch.Tensor:
    """A NumPy or torch array as a tensor where it lives, without a copy unless NumPy says it is read-only."""
    if isinstance(matrix, torch.Tensor):
        return matrix
    matrix = np.asarray(matrix)
    return torch.from_numpy(matrix if matrix.flags.writeable else matrix.copy())
