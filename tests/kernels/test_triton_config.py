"""Which tiles a case gets, and what they cost."""

from __future__ import annotations

import pytest

from mohge.kernels.triton.config import (
    BUCKETS,
    LARGE,
    LARGE_FLOAT32,
    MEDIUM,
    SMALL,
    SMALL_FLOAT32,
    Tile,
    choose,
    configurations,
    tile_flops,
)


@pytest.mark.parametrize(
    ("rows", "experts", "dtype", "expected"),
    [
        (0, 64, "bfloat16", SMALL),
        (64 * 6, 64, "bfloat16", SMALL),
        (16 * 64, 64, "float16", SMALL),
        (16 * 64 + 1, 64, "float16", MEDIUM),
        (96 * 64, 64, "bfloat16", MEDIUM),
        (16384 * 6, 64, "bfloat16", LARGE),
        (1, 1, "float32", SMALL_FLOAT32),
        (10**9, 1, "float32", LARGE_FLOAT32),
    ],
)
def test_tiles_follow_the_mean_rows_of_an_expert(rows: int, experts: int, dtype: str, expected: object) -> None:
    assert choose(rows, experts, dtype) is expected


@pytest.mark.parametrize("dtype", BUCKETS)
def test_names_of_a_dtype_are_distinct(dtype: str) -> None:
    names = [configuration.name for configuration in configurations(dtype)]
    assert len(set(names)) == len(names)


def test_tile_flops_round_every_side_up() -> None:
    tile = Tile(block_m=4, block_n=8, block_k=2, num_warps=1, num_stages=1)
    # 5 rows fill two row blocks, 9 columns two column blocks, 3 deep two steps; an expert without rows costs nothing.
    assert tile_flops([5, 0], [3, 3], [9, 9], tile, outputs=2) == 2 * 2 * 8 * 16 * 4
    assert tile_flops([4], [2], [8], tile, outputs=1) == 2 * 4 * 8 * 2
