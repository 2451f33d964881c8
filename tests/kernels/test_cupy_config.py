"""Configurations, what the implementation says it supports, and the FLOPs it counts: no kernel runs here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mohge.kernels.cupy.config import KINDS, Config, Configuration, MmaConfig, SwappedConfig, TileConfig, WgmmaConfig
from mohge.kernels.cupy.implementation import FASTEST_FIRST, CupyImplementation, cannot
from mohge.kernels.cupy.shipped import (
    MMA_CONFIGS,
    MOST_ROWS_FOR_SWAPPED,
    PERSISTENT,
    PERSISTENT_CONFIGS,
    SWAPPED_CONFIGS,
    TILE_CONFIGS,
    WGMMA_CONFIGS,
    built_in,
    choose_mma,
    choose_swapped,
    choose_tile,
    offered,
)
from mohge.kernels.cupy.space import from_values, space, to_values
from mohge.reference import ExpertWeights, LayerSpec

CPU = torch.device("cpu")
SPEC = LayerSpec("small", 24, (8, 40), 1, 1, 1)
TILE = TILE_CONFIGS["many rows"]
MMA = MMA_CONFIGS["many rows"]
WGMMA = WGMMA_CONFIGS["many rows"]
SWAPPED = SWAPPED_CONFIGS["few rows"]


class NoEngine:
    """An engine nobody may ask for anything."""

    def load(self, source_file: Any, defines: Any) -> Any:
        raise AssertionError(f"nothing may be loaded here, but {source_file} was with {defines}")


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (TILE, {"block_k": 0}),
        (TILE, {"thread_m": 3}),
        (TILE, {"thread_m": 1, "thread_n": 1}),
        (TILE, {"block_m": 72, "block_k": 5}),
        (TILE, {"block_n": 4}),
        (MMA, {"stages": 1}),
        (MMA, {"block_k": 48}),
        (MMA, {"block_m": 40}),
        (MMA, {"block_n": 96, "warps_n": 3}),
        (MMA, {"warps_m": 8, "warps_n": 8}),
        (MMA, {"stages": 9}),
        (WGMMA, {"block_m": 64}),
        (WGMMA, {"block_m": 256}),
        (WGMMA, {"block_n": 192}),
        (WGMMA, {"stages": 1}),
        (WGMMA, {"stages": 5}),
        (WGMMA, {"band": 0}),
        (PERSISTENT_CONFIGS["fc2"], {"pingpong_below": -1}),
        (SWAPPED, {"block_m": 24}),
        (SWAPPED, {"block_m": 256}),
        (SWAPPED, {"block_n": 256}),
        (SWAPPED, {"stages": 1}),
        (SWAPPED, {"stages": 13}),
        (SWAPPED, {"band": 0}),
    ],
)
def test_impossible_configurations_are_refused(config: Config, change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(config, **change)


@pytest.mark.parametrize("choose", [choose_tile, choose_mma])
def test_blocks_grow_with_the_rows_of_an_expert(choose: Any) -> None:
    heights = [choose(rows, 64).block_m for rows in (0, 1, 64 * 8, 64 * 64, 64 * 1000)]
    assert heights == sorted(heights)
    assert heights[0] == heights[1] == 16
    assert heights[-1] == 128


def test_with_swapped_operands_tiles_grow_too_and_fill_shared_memory() -> None:
    means = (0, 1, 6, 8, 9, 20, 44, 45, 96, 1000)
    assert [choose_swapped(64 * mean, 64).block_m for mean in means] == [8, 8, 16, 16, 32, 32, 64, 128, 128, 128]
    for config in SWAPPED_CONFIGS.values():
        with pytest.raises(ValueError, match="shared memory"):
            replace(config, stages=config.stages + 1)


@pytest.mark.parametrize(
    ("implementation", "spec", "dtype", "reason"),
    [
        (CupyImplementation(), SPEC, torch.float16, "cpu"),
        (CupyImplementation(engine=NoEngine()), SPEC, torch.float64, "float64"),
        (CupyImplementation("mma", NoEngine()), SPEC, torch.float32, "float32"),
        (CupyImplementation("mma", NoEngine()), replace(SPEC, hidden=20), torch.float16, "multiple of 8, got 20"),
        (CupyImplementation("tile", NoEngine()), replace(SPEC, widths=(2**26, 8)), torch.float16, "2\\^30"),
        (CupyImplementation("auto", NoEngine()), replace(SPEC, hidden=20), torch.float16, None),
        (CupyImplementation("mma", NoEngine()), replace(SPEC, widths=(1, 7)), torch.bfloat16, None),
        (CupyImplementation("wgmma", NoEngine()), SPEC, torch.float32, "float32"),
        (
            CupyImplementation("persistent", NoEngine()),
            replace(SPEC, hidden=20),
            torch.float16,
            "multiple of 8, got 20",
        ),
        (CupyImplementation("persistent", NoEngine()), replace(SPEC, widths=(1, 7)), torch.bfloat16, None),
        (CupyImplementation("auto", NoEngine()), SPEC, torch.float32, None),
    ],
)
def test_supports_says_why_not(
    implementation: CupyImplementation, spec: LayerSpec, dtype: torch.dtype, reason: str | None
) -> None:
    answer = implementation.supports(spec, dtype, CPU)
    if reason is None:
        assert answer is None
        return
    assert answer is not None
    with pytest.raises(ValueError, match=reason):
        implementation.prepare(spec, ExpertWeights([], [], []), CPU, dtype)


def test_version_and_configuration_must_agree() -> None:
    with pytest.raises(ValueError, match="expected one of auto, tile, mma, wgmma, persistent, swapped, got 'wmma'"):
        CupyImplementation("wmma")
    with pytest.raises(ValueError, match="config: expected a TileConfig"):
        CupyImplementation("tile", config=MMA)
    with pytest.raises(ValueError, match="config: expected a WgmmaConfig, got PersistentConfig"):
        CupyImplementation("wgmma", config=PERSISTENT_CONFIGS["fc1"])
    with pytest.raises(ValueError, match="expected one version, got WgmmaConfig and PersistentConfig"):
        Configuration(WGMMA, PERSISTENT_CONFIGS["fc1"])


@pytest.mark.parametrize(
    ("capability", "dtype", "hidden", "runs", "says"),
    [
        ((9, 0), "bfloat16", 24, {*KINDS}, "persistent; swapped up to 44 rows an expert"),
        ((8, 0), "bfloat16", 24, {"tile", "mma"}, "wgmma needs compute capability 9.0 (Hopper), the GPU has 8.0"),
        ((10, 0), "float16", 24, {"tile", "mma"}, "the GPU has 10.0"),
        ((7, 5), "float16", 24, {"tile"}, "need compute capability 8.0, the GPU has 7.5"),
        ((9, 0), "float16", 20, {"tile"}, "expected hidden to be a multiple of 8, got 20"),
        ((9, 0), "float32", 24, {"tile"}, "expected float16 or bfloat16, got float32"),
    ],
)
def test_a_version_runs_where_its_instructions_are(
    capability: tuple[int, int], dtype: str, hidden: int, runs: set[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(SPEC, hidden=hidden)
    assert {version for version in KINDS if cannot(version, spec, dtype, capability) is None} == runs
    monkeypatch.setattr(CupyImplementation, "_capability", lambda *_: capability)
    chosen = CupyImplementation().chosen(spec, getattr(torch, dtype), CPU)
    best = next(version for version in FASTEST_FIRST if version in runs)
    assert chosen.split(";")[0] == best
    assert says in chosen
    for version in set(KINDS) - runs:
        assert CupyImplementation(version, NoEngine()).supports(spec, getattr(torch, dtype), CPU) is not None


def test_few_rows_get_swapped_operands_and_many_the_persistent_kernel() -> None:
    assert sorted(FASTEST_FIRST) == sorted(KINDS)
    most = MOST_ROWS_FOR_SWAPPED
    versions = [built_in(FASTEST_FIRST, 64 * mean, 64).version for mean in (0, 1, 16, most, most + 1, 1536)]
    assert versions == ["swapped", "swapped", "swapped", "swapped", "persistent", "persistent"]
    given = {built_in(FASTEST_FIRST, 64 * mean, 64) for mean in range(2 * most)}
    assert given == set(offered(FASTEST_FIRST))
    for versions in (("mma", "tile"), ("wgmma",), ("tile",), ("swapped",), ("persistent",)):
        assert built_in(versions, 10**6, 64) in offered(versions)
        assert built_in(versions, 10**6, 64).version == versions[0]


def test_values_there_and_back() -> None:
    assert from_values(to_values(PERSISTENT)) == PERSISTENT
    values = {**to_values(PERSISTENT), "version": "wgmma"}  # pingpong_below means nothing there
    assert from_values(values) == Configuration.both(WGMMA)
    mixed = Configuration(SWAPPED, SWAPPED_CONFIGS["single rows"])
    assert from_values(to_values(mixed)) == mixed
    assert "fc2_pingpong_below" in space(("persistent", "mma"))
    assert "fc2_pingpong_below" not in space(("mma", "tile"))


def test_executed_flops_count_whole_tiles() -> None:
    config = MmaConfig(block_m=16, block_n=32, block_k=16, stages=2, warps_m=1, warps_n=1)
    layer = CupyImplementation("mma", NoEngine(), config).prepare(SPEC, ExpertWeights.random(SPEC), CPU, torch.float16)
    # Expert 0: 17 rows are 2 blocks of 16; W 8 is one block of 16 gate and 16 up columns; H 24 is padded to 32.
    # Expert 1: 1 row is 1 block; W 40 is 3 such column blocks, and 48 deep in fc2.
    first = 32 * (32 * 32 + 32 * 16)
    second = 16 * (96 * 32 + 32 * 48)
    assert layer.executed_flops(np.array([17, 1])) == 2 * (first + second)
    assert layer.executed_flops(np.array([0, 0])) == 0


def test_hopper_tiles_work_on_whole_stages() -> None:
    layer = CupyImplementation("wgmma", NoEngine(), WgmmaConfig(block_m=128, block_n=128, stages=3))
    layer = layer.prepare(SPEC, ExpertWeights.random(SPEC), CPU, torch.float16)
    # fc1: one row block and 64 of W's columns an expert, H 24 in one stage of 64. fc2: one column block, W in one.
    assert layer.executed_flops(np.array([17, 1])) == 2 * 2 * (128 * 128 * 64 + 128 * 128 * 64)


def test_narrow_tiles_cover_padded_widths() -> None:
    """Tiles of 32 activation columns: W 8 and 40 are padded to 64, all of which fc2 reads, so both make two tiles."""
    layer = CupyImplementation("swapped", NoEngine(), SwappedConfig(block_m=8, block_n=64, stages=2))
    layer = layer.prepare(SPEC, ExpertWeights.random(SPEC), CPU, torch.float16)
    # fc1: three and one row blocks of 8, two tiles each, H 24 in one stage. fc2: one tile, W in one stage.
    assert layer.executed_flops(np.array([17, 1])) == 2 * (3 + 1) * (2 * 64 * 8 * 64 + 64 * 8 * 64)


def test_exact_tiles_execute_the_useful_flops_only() -> None:
    spec = LayerSpec("exact", 128, (64, 128), 1, 1, 1)
    config = TileConfig(block_m=32, block_n=64, block_k=16, thread_m=4, thread_n=4)
    layer = CupyImplementation("tile", NoEngine(), config).prepare(spec, ExpertWeights.random(spec), CPU, torch.float32)
    counts = np.array([64, 32])
    assert layer.executed_flops(counts) == 6 * 128 * (64 * 64 + 32 * 128)
