"""Which tiles a case gets, and what they cost."""

from __future__ import annotations

from dataclasses import replace

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
    from_values,
    to_values,
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


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"block_m": 8}, "block_m: expected a power of two from 16, got 8"),
        ({"block_n": 96}, "block_n: expected a power of two from 16, got 96"),
        ({"num_warps": 3}, "num_warps: expected a power of two from 1, got 3"),
        ({"num_warps": 32}, "num_warps: expected at most 16, got 32"),
        ({"num_stages": 0}, "num_stages: expected at least 1, got 0"),
        ({"band": 0}, "band: expected at least 1, got 0"),
        ({"num_warps": 4}, "expected at most 128 sums a thread, got 256"),
    ],
)
def test_impossible_tiles_are_refused(change: dict[str, int], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        replace(LARGE.fc1, **change)


@pytest.mark.parametrize(
    ("tile", "change", "rule"),
    [
        (LARGE.fc1, {"num_stages": 5}, "expected at most 232448 bytes of shared memory, got 245760"),
        (LARGE.fc1, {"blocks_per_sm": 2}, "blocks_per_sm: expected 2 x 196608 bytes of shared memory"),
        (SMALL.fc2, {"num_stages": 1, "num_warps": 16, "blocks_per_sm": 5}, "within 65536 registers and 64 warps"),
    ],
)
def test_tiles_that_do_not_fit_on_hopper_are_refused(tile: Tile, change: dict[str, int], rule: str) -> None:
    tile.check_fits("bfloat16")
    with pytest.raises(ValueError, match=rule):
        replace(tile, **change).check_fits("bfloat16")


@pytest.mark.parametrize("dtype", BUCKETS)
def test_built_in_configurations_obey_the_rules_and_survive_the_way_through_values(dtype: str) -> None:
    for configuration in configurations(dtype):
        assert from_values(to_values(configuration), dtype, configuration.name) == configuration
