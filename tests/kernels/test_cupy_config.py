"""Configurations, what the implementation says it supports, and the FLOPs it counts: no kernel runs here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mohge.kernels.cupy.config import MMA_CONFIGS, TILE_CONFIGS, MmaConfig, TileConfig, choose_mma, choose_tile
from mohge.kernels.cupy.implementation import CupyImplementation
from mohge.reference import ExpertWeights, LayerSpec

CPU = torch.device("cpu")
SPEC = LayerSpec("small", 24, (8, 40), 1, 1, 1)
TILE = TILE_CONFIGS["many rows"]
MMA = MMA_CONFIGS["many rows"]


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
    ],
)
def test_impossible_configurations_are_refused(config: TileConfig | MmaConfig, change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(config, **change)


@pytest.mark.parametrize("choose", [choose_tile, choose_mma])
def test_blocks_grow_with_the_rows_of_an_expert(choose: Any) -> None:
    heights = [choose(rows, 64).block_m for rows in (0, 1, 64 * 8, 64 * 64, 64 * 1000)]
    assert heights == sorted(heights)
    assert heights[0] == heights[1] == 16
    assert heights[-1] == 128


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
    with pytest.raises(ValueError, match="version: expected one of auto, tile, mma, got 'wmma'"):
        CupyImplementation("wmma")
    with pytest.raises(ValueError, match="config: expected a TileConfig"):
        CupyImplementation("tile", config=MMA)


def test_executed_flops_count_whole_tiles() -> None:
    config = MmaConfig(block_m=16, block_n=32, block_k=16, stages=2, warps_m=1, warps_n=1)
    layer = CupyImplementation("mma", NoEngine(), config).prepare(SPEC, ExpertWeights.random(SPEC), CPU, torch.float16)
    # Expert 0: 17 rows are 2 blocks of 16; W 8 is one block of 16 gate and 16 up columns; H 24 is padded to 32.
    # Expert 1: 1 row is 1 block; W 40 is 3 such column blocks, and 48 deep in fc2.
    first = 32 * (32 * 32 + 32 * 16)
    second = 16 * (96 * 32 + 32 * 48)
    assert layer.executed_flops(np.array([17, 1])) == 2 * (first + second)
    assert layer.executed_flops(np.array([0, 0])) == 0


def test_exact_tiles_execute_the_useful_flops_only() -> None:
    spec = LayerSpec("exact", 128, (64, 128), 1, 1, 1)
    config = TileConfig(block_m=32, block_n=64, block_k=16, thread_m=4, thread_n=4)
    layer = CupyImplementation("tile", NoEngine(), config).prepare(spec, ExpertWeights.random(spec), CPU, torch.float32)
    counts = np.array([64, 32])
    assert layer.executed_flops(counts) == 6 * 128 * (64 * 64 + 32 * 128)
