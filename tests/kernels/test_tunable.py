"""What a tuner asks of triton, cupy and numba: spaces, rules, and the work of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mohge.kernels import load
from mohge.kernels.tunable import Tunable
from mohge.kernels.values import Value
from mohge.reference import ExpertWeights, LayerSpec

NAMES = ("triton", "cupy", "numba")
SPEC = LayerSpec("three widths", 40, (8, 24, 17), 2, 2, 3)
LARGE_SPEC = LayerSpec.preset("mohge-3b")
DTYPES = ("bfloat16", "float16", "float32")

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="interprets, simulates and executes on the host")


# ---- spaces and rules


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_current_values_are_in_the_space_and_break_no_rule(name: str, dtype: str) -> None:
    implementation = load(name)
    assert isinstance(implementation, Tunable)
    space = implementation.space(LARGE_SPEC, dtype)
    for parameter, choices in space.items():
        assert len(set(choices)) == len(choices) > 0
        assert list(choices) == sorted(choices), parameter
    for rows in (0, 6, 16384 * 6):
        values = implementation.current_values(LARGE_SPEC, rows, dtype)
        assert implementation.check_values(values, LARGE_SPEC, dtype) is None
        simulated = name == "numba"  # whose simulator gets blocks of fewer threads than a GPU ever should
        assert simulated or all(value in space[parameter] for parameter, value in values.items())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"fc1_block_m": 24}, r"fc1: .*(power of two|warp tiles in multiples of 16 x 16)"),
        ({"fc2_block_k": 4096}, r"fc2: "),
        ({"fc2_blocks_per_sm": 0}, r"fc2: blocks_per_sm: expected at least 1, got 0"),
        ({"fc1_block_n": "64"}, r"fc1_block_n: expected a whole number, got '64'"),
        ({"fc1_band": True}, r"fc1_band: expected a whole number, got True"),
        ({"fc3_block_m": 16}, r"fc3_block_m: no such parameter; expected fc1_block_m"),
        ({"fc2_block_m": None}, r"fc2_block_m: expected a value, got none"),
    ],
    ids=str,
)
def test_a_broken_rule_is_said_in_one_line_everywhere(
    name: str, change: dict[str, Any], rule: str, small_values: dict[str, dict[str, Value]]
) -> None:
    implementation: Any = load(name)
    values = {key: value for key, value in {**small_values[name], **change}.items() if value is not None}
    said = implementation.check_values(values, SPEC, "float16")
    assert said is not None
    assert "\n" not in said
    counts = np.ones(SPEC.experts, dtype=np.int64)
    for ask in (
        lambda: implementation.gemm_work(values, counts, SPEC, "float16"),
        lambda: implementation.compile_values(values, SPEC, "float16"),
        lambda: implementation.prepare_values(values, SPEC, ExpertWeights.random(SPEC), "cpu", torch.float16),
    ):
        with pytest.raises(ValueError, match=rule) as caught:
            ask()
        assert str(caught.value) == said


def test_cuda_cpp_offers_the_versions_that_can_run_a_layer(small_values: dict[str, dict[str, Value]]) -> None:
    cupy = load("cupy")
    assert isinstance(cupy, Tunable)
    assert cupy.space(LARGE_SPEC, "bfloat16")["version"] == ("mma", "persistent", "swapped", "tile", "wgmma")
    assert "fc1_thread_m" in cupy.space(LARGE_SPEC, "bfloat16")
    for spec, dtype in ((LARGE_SPEC, "float32"), (replace(LARGE_SPEC, hidden=1028), "bfloat16")):
        space = cupy.space(spec, dtype)
        assert space["version"] == ("tile",)
        assert "fc1_stages" not in space
        assert "version: its tensor-core kernel" in (cupy.check_values(small_values["cupy"], spec, dtype) or "")
    both = {**small_values["cupy"], "fc1_thread_m": 3}  # of the other version: may be there, means nothing
    assert cupy.check_values(both, LARGE_SPEC, "float16") is None
    assert "version: expected one of tile, mma, wgmma, persistent, swapped, got 'wmma'" in (
        cupy.check_values({**both, "version": "wmma"}, LARGE_SPEC, "float16") or ""
    )


# ---- work


@pytest.mark.parametrize("name", NAMES)
def test_work_is_that_of_the_real_work_lists(
    name: str,
    launches: Callable[[str], Any],
    small_values: dict[str, dict[str, Value]],
    make_problem: Callable[..., Any],
) -> None:
    """Tile by tile in launch order, against the lists that a layer makes on the device."""
    implementation, _ = launches(name)
    values = small_values[name]
    dtype = torch.float16
    this = make_problem(SPEC, 40, dtype, used=4)
    layer = implementation.prepare_values(values, SPEC, this.weights, "cpu", dtype)
    works = implementation.gemm_work(values, this.counts, SPEC, "float16")
    phase = layer.phases(this.x, this.plan)["plan"]()
    schedules = phase if isinstance(phase, tuple) else (phase.fc1, phase.fc2)
    for gemm, work, schedule in zip(("fc1", "fc2"), works, schedules, strict=True):
        expert = schedule.expert[: int(schedule.count)].numpy()
        block_m, block_n, block_k = (int(values[f"{gemm}_block_{side}"]) for side in "mnk")
        inner = np.full(SPEC.experts, SPEC.hidden) if gemm == "fc1" else SPEC.expert_widths
        # A tensor-core tile of CUDA C++ has the gate and the up columns within its block_n.
        outputs = 2 if gemm == "fc1" and name != "cupy" else 1
        flops = 2 * outputs * block_m * block_n * (-(-inner // block_k) * block_k)
        flops = flops / int(values.get(f"{gemm}_split_k", 1))
        np.testing.assert_array_equal(work.tile_flops, flops[expert])
        assert work.least_bytes <= work.bytes
    assert layer.executed_flops(this.counts) == sum(work.tile_flops.sum() for work in works)


def test_work_counted_by_hand(small_values: dict[str, dict[str, Value]]) -> None:
    """H 40; experts 0 and 1 are 8 wide, 2 and 3 are 24, 4 and 5 are 17; 3 rows on expert 1 and 17 on expert 2."""
    implementation: Any = load("triton")
    fc1, fc2 = implementation.gemm_work(small_values["triton"], np.array([0, 3, 17, 0, 0, 0]), SPEC, "float16")
    # fc1, 16 x 32 tiles, 48 deep with padding: two row blocks of the wider expert come first, then one.
    assert fc1.tile_flops.tolist() == [2 * 2 * 16 * 32 * 48] * 3
    # fc2, 32 x 16 tiles, 32 deep: one row block and three column blocks each, shared by two splits.
    assert fc2.tile_flops.tolist() == [32 * 16 * 32] * 12
    assert (fc1.kernel, fc1.threads, fc2.kernel, fc2.threads) == ("gate_up", 128, "down", 64)
    # fc1 reads 20 rows of x, gate and up once a row block, and writes n_e W_e; x [10, 40] exists once.
    written = 3 * 8 + 17 * 24
    assert fc1.bytes == 2 * (20 * 40 + 2 * 40 * (8 + 2 * 24) + written)
    assert fc1.least_bytes == 2 * (10 * 40 + 2 * 40 * (8 + 24) + written)
    # fc2 reads the activation once for each of three column blocks, and writes the sums of two splits in float32.
    assert fc2.bytes == 2 * (3 * written + 40 * (8 + 24)) + 2 * 4 * 20 * 40
    assert fc2.least_bytes == 2 * (written + 40 * (8 + 24)) + 2 * 4 * 20 * 40
    # With fc1 in two splits the gate and up sums of both are written and read again before the activation is stored.
    split = {**small_values["triton"], "fc1_split_k": 2}
    halves, _ = implementation.gemm_work(split, np.array([0, 3, 17, 0, 0, 0]), SPEC, "float16")
    assert halves.tile_flops.sum() == fc1.tile_flops.sum()
    assert halves.bytes - fc1.bytes == halves.least_bytes - fc1.least_bytes == 2 * (2 * 2 * 4 * written)
    nothing = implementation.gemm_work(small_values["triton"], np.zeros(6, dtype=np.int64), SPEC, "float16")
    assert [(len(work.tile_flops), work.bytes) for work in nothing] == [(0, 0)] * 2
    with pytest.raises(ValueError, match="counts: expected 6 whole numbers of rows"):
        implementation.gemm_work(small_values["triton"], np.ones(5, dtype=np.int64), SPEC, "float16")
