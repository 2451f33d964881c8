"""The tile list of a grouped GEMM as explicit loops: what every backend's tile schedule is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Integers = Sequence[int] | NDArray[np.integer]


def tile_list(
    counts: Integers, block_rows: int, columns: Integers, order: Integers, band: int = 8
) -> list[tuple[int, int, int]]:
    """Every output tile as (expert, first row, column block), in the order they are worked on.

    counts int[E] rows per expert; columns int[E] column blocks per expert; order int[E] the experts in the order their
    tiles are listed; block_rows and band in rows and row blocks. First rows are absolute indices into rows sorted by
    expert. Inside an expert: the row blocks of a band first, then the next column, then the next band.

    Raises ValueError for lengths that differ, negative numbers, blocks or bands below 1, and an order that does not
    name every expert once.

    >>> tile_list(counts=[2, 2, 0, 2], block_rows=1, columns=[1, 1, 1, 2], order=[3, 0, 1, 2], band=2)
    [(3, 4, 0), (3, 5, 0), (3, 4, 1), (3, 5, 1), (0, 0, 0), (0, 1, 0), (1, 2, 0), (1, 3, 0)]
    """
    counts, columns, order = ([int(value) for value in values] for values in (counts, columns, order))
    _check(counts, block_rows, columns, order, band)
    first_rows = [sum(counts[:expert]) for expert in range(len(counts))]
    return [
        (expert, first_rows[expert] + block * block_rows, column)
        for expert in order
        for block, column in _tiles(-(-counts[expert] // block_rows), columns[expert], band)
    ]


def _tiles(blocks: int, columns: int, band: int) -> Iterator[tuple[int, int]]:
    for first in range(0, blocks, band):
        for column in range(columns):
            for block in range(first, min(first + band, blocks)):
                yield block, column


def _check(counts: list[int], block_rows: int, columns: list[int], order: list[int], band: int) -> None:
    for name, values in (("columns", columns), ("order", order)):
        if len(values) != len(counts):
            raise ValueError(f"{name}: expected {len(counts)} numbers like counts, got {len(values)}")
    for name, least in (("counts", min(counts, default=0)), ("columns", min(columns, default=0))):
        if least < 0:
            raise ValueError(f"{name}: expected no negative number, got {least}")
    if sorted(order) != list(range(len(counts))):
        raise ValueError(f"order: expected every expert of 0 to {len(counts) - 1} once, got {order}")
    for name, value in (("block_rows", block_rows), ("band", band)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
