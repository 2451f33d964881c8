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
    TINY,
    choose,
    configurations,
    from_values,
    offered,
    to_values,
)
from mohge.kernels.triton.tile import FLATTENED, SPECIALISED, Tile
from mohge.reference import LayerSpec

SPEC = LayerSpec.preset("mohge-3b")


@pytest.mark.parametrize(
    ("rows", "dtype", "expected"),
    [
        (0, "bfloat16", TINY),
        (16, "bfloat16", TINY),
        (17, "bfloat16", SMALL),
        (64 * 6, "bfloat16", SMALL),
        (16 * 64, "float16", SMALL),
        (16 * 64 + 1, "float16", MEDIUM),
        (96 * 64, "bfloat16", MEDIUM),
        (16384 * 6, "bfloat16", LARGE),
        (1, "float32", SMALL_FLOAT32),
        (10**9, "float32", LARGE_FLOAT32),
    ],
)
def test_tiles_follow_the_mean_rows_of_an_expert(rows: int, dtype: str, expected: object) -> None:
    assert choose(rows, SPEC, dtype) == expected


@pytest.mark.parametrize(
    ("hidden", "widths", "fc1", "fc2"),
    [
        (1024, (384, 640), 1, 2),
        (1024, (384, 641), 1, 0),  # a step of 64 would end among the next expert's weights
        (1028, (384, 640), 0, 0),  # rows start on 8 bytes
        (1032, (32, 64), 1, 0),
    ],
)
def test_descriptors_are_used_where_the_sizes_of_a_layer_allow_them(
    hidden: int, widths: tuple[int, ...], fc1: int, fc2: int
) -> None:
    spec = LayerSpec("sizes", hidden, widths, 1, 1, 2)
    for tiles in offered(spec, "bfloat16"):
        assert (tiles.fc1.descriptors, tiles.fc2.descriptors) == (fc1, fc2)
        values = to_values(tiles)
        assert from_values(values, spec, "bfloat16", tiles.name) == tiles
        for gemm, found, most in (("fc1", fc1, 1), ("fc2", fc2, 2)):
            if not found:
                with pytest.raises(ValueError, match=f"{gemm}: descriptors: expected 0 "):
                    from_values({**values, f"{gemm}_descriptors": most}, spec, "bfloat16")


def test_pointers_replace_descriptors_and_what_needs_them() -> None:
    spec = LayerSpec("odd", 1024, (65,), 1, 1, 1)
    tile = Tile(64, 128, 64, num_warps=4, num_stages=4, descriptors=2, loop=SPECIALISED)
    assert tile.for_layer(SPEC, "bfloat16") is tile
    assert tile.for_layer(spec, "bfloat16") == replace(tile, descriptors=0, loop=0)


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
        ({"split_k": 3}, "split_k: expected a power of two from 1, got 3"),
        ({"descriptors": 2}, "descriptors: expected 0 or 1, got 2"),
        ({"swap": 2}, "swap: expected 0 or 1, got 2"),
        ({"loop": SPECIALISED}, "loop: expected 0 or 1, got 2"),
        ({"epilogue": 4}, "epilogue: expected 1 or 2, got 4"),
    ],
)
def test_impossible_tiles_are_refused(change: dict[str, int], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        replace(LARGE.fc1, **change)


@pytest.mark.parametrize(
    ("tile", "change", "rule"),
    [
        (LARGE.fc1, {"num_stages": 5}, "expected at most 232448 bytes of shared memory, got 245800"),
        (LARGE.fc1, {"blocks_per_sm": 2}, "blocks_per_sm: expected 2 x 196640 bytes of shared memory"),
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
        assert from_values(to_values(configuration), SPEC, dtype, configuration.name) == configuration


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"descriptors": 1}, "loop: expected descriptors 2 for loop 2, got 1"),
        ({"num_warps": 8}, "loop: expected num_warps 4 for loop 2, got 8"),
        ({"block_m": 32}, "loop: expected block_m 64 for loop 2, got 32"),
        ({"block_n": 256, "block_k": 16}, "loop: expected block_n up to 128 for loop 2, got 256"),
        ({"blocks_per_sm": 2}, "loop: expected blocks_per_sm 1 for loop 2, got 2"),
        ({"outputs": 2, "loop": FLATTENED, "descriptors": 0, "split_k": 2}, "loop: expected split_k 1 for loop 1, got"),
    ],
)
def test_a_loop_is_refused_where_the_compiler_would_ignore_it_or_fail(change: dict[str, int], rule: str) -> None:
    tile = Tile(64, 128, 64, num_warps=4, num_stages=4, descriptors=2, loop=SPECIALISED)
    assert tile.threads == 384
    with pytest.raises(ValueError, match=rule):
        replace(tile, **change)


def test_descriptors_are_for_half_precision() -> None:
    with pytest.raises(ValueError, match="descriptors: expected 0 for float32, got 1"):
        replace(SMALL_FLOAT32.fc1, descriptors=1).check_fits("float32")


def test_a_flattened_loop_stores_beside_its_loads_and_two_parts_need_half_of_it() -> None:
    tile = replace(LARGE.fc1, loop=FLATTENED, num_stages=3, epilogue=1)
    plain = replace(tile, loop=0).shared_bytes("bfloat16")
    assert tile.shared_bytes("bfloat16") - plain == 128 * 128 * 2
    assert replace(tile, epilogue=2).shared_bytes("bfloat16") - plain == 128 * 64 * 2
