"""What every implementation with one launch per GEMM counts on the host: column blocks, tiles, FLOPs, bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .tunable import GemmWork

if TYPE_CHECKING:
    import torch

    from ..dispatch import TileSchedule
    from ..reference import LayerSpec


@dataclass(frozen=True)
class Work:
    """What is derived from one dispatch plan: the configuration of the call, the work lists of both GEMMs, and where
    each expert's activation starts, int64[E].
    """

    configuration: Any
    fc1: TileSchedule
    fc2: TileSchedule
    activation_base: torch.Tensor


@dataclass(frozen=True)
class TileShape:
    """What one entry of a work list computes: `rows` by `columns` outputs, the inner dimension in steps of `depth`.

    outputs: sums behind one output column: 2 for fc1, whose columns need a gate and an up sum, else 1
    threads: per block
    splits:  how many entries share the steps of a block, evenly to within one; each writes float32 sums to be added
    """

    rows: int
    columns: int
    depth: int
    outputs: int
    threads: int
    splits: int = 1


@dataclass(frozen=True)
class Columns:
    """Column blocks of every expert for one GEMM and block width: int32[E] on the device, and the most of them."""

    blocks: torch.Tensor
    most: int


def column_blocks(widths: NDArray[np.int64], block_widths: Iterable[int], device: torch.device) -> dict[int, Columns]:
    """For each width of a column block, how many of them every expert's `widths` int[E] columns need.

    Made when a layer is prepared: a copy to the device inside a call would wait for it.
    """
    import torch

    result = {}
    for block in sorted(set(block_widths)):
        blocks = -(-widths // block)
        result[block] = Columns(torch.from_numpy(blocks.astype(np.int32)).to(device), int(blocks.max()))
    return result


def gemm_works(
    spec: LayerSpec,
    counts: NDArray[np.int64],
    tiles: tuple[TileShape, TileShape],
    kernels: Sequence[str],
    itemsize: int,
) -> list[GemmWork]:
    """What fc1 and fc2 do for rows per expert `counts` int[E], elements of `itemsize` bytes; see `GemmWork`.

    The work list names experts by descending width, ties to the lower id, as `packing.pack` orders them. Inside one
    expert all tiles cost the same, so the order that bands give them there changes nothing in `tile_flops`.
    Raises ValueError for counts that are not one whole number of rows an expert.
    """
    counts = np.asarray(counts)
    if counts.shape != (spec.experts,) or not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ValueError(f"counts: expected {spec.experts} whole numbers of rows, got {counts.dtype}{counts.shape}")
    counts = counts.astype(np.int64)
    widths = spec.expert_widths
    hidden = np.full_like(widths, spec.hidden)
    tokens = int(counts.sum()) // spec.top_k
    inner, outer = (hidden, widths), (widths, hidden)
    # fc1 gathers its rows from x [T, H], so each of them is there once; fc2 reads what fc1 left, n_e rows an expert.
    inputs = (tokens * spec.hidden, int(counts @ widths))
    return [
        _gemm_work(kernels[gemm], tiles[gemm], counts, inner[gemm], outer[gemm], inputs[gemm], widths, itemsize)
        for gemm in (0, 1)
    ]


def _gemm_work(
    kernel: str,
    tile: TileShape,
    counts: NDArray[np.int64],
    inner: NDArray[np.int64],
    outer: NDArray[np.int64],
    inputs: int,
    widths: NDArray[np.int64],
    itemsize: int,
) -> GemmWork:
    """One GEMM: experts of counts[e] rows, inner[e] deep and outer[e] wide; `inputs` elements of activations exist."""
    row_blocks, columns = -(-counts // tile.rows), -(-outer // tile.columns)
    entries = row_blocks * columns * tile.splits
    flops = 2 * tile.outputs * tile.rows * tile.columns * (-(-inner // tile.depth) * tile.depth) / tile.splits
    order = np.argsort(-widths, kind="stable")
    weights = tile.outputs * inner * outer
    written = int(counts @ outer)
    read = int((counts * inner * columns + weights * row_blocks).sum())
    stored = itemsize * written
    if tile.splits > 1:
        sums = 4 * tile.outputs * tile.splits * written  # float32
        # Those of fc1 are read again, to add them before the product of gate and up; combine adds those of fc2.
        stored = sums if tile.outputs == 1 else 2 * sums + stored
    return GemmWork(
        kernel=kernel,
        tile_flops=np.repeat(flops[order], entries[order]).astype(np.float64),
        bytes=itemsize * read + stored,
        least_bytes=itemsize * (inputs + int(weights[counts > 0].sum())) + stored,
        threads=tile.threads,
    )


def executed_flops(works: Iterable[GemmWork]) -> int:
    """The FLOPs of all tiles of some launches, padding included."""
    return int(sum(work.tile_flops.sum() for work in works))
