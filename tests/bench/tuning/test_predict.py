"""The model against numbers worked by hand, and what it must not reverse."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mohge.bench.records import Environment, Roof, Run
from mohge.bench.tuning.predict import (
    H200,
    MOST_TILES,
    Machine,
    machine_from_run,
    makespan,
    predicted_us,
    resident_blocks,
)
from mohge.kernels.tunable import GemmWork

# 2 SMs, 2e6 FLOP / µs in all, 1e3 bytes / µs from memory and twice that from L2, nothing for a launch.
TOY = Machine("toy", sms=2, tensor_tflops=2.0, fma_tflops=1.0, copy_tbps=0.001, launch_us=0.0)
FULL = {"registers": 255, "shared_bytes": 200 * 1024, "tensor_instructions": 1}


def work(flops: list[float], total: int = 0, least: int = 0, threads: int = 128) -> GemmWork:
    return GemmWork("up", np.array(flops), total, least, threads)


@pytest.mark.parametrize(
    ("times", "slots", "expected"),
    [
        ([], 4, 0.0),
        ([3.0], 4, 3.0),
        ([1, 2, 3], 4, 3.0),
        ([3, 1, 1, 1], 2, 3.0),
        ([1, 1, 1, 3], 2, 4.0),
        ([2] * 5, 1, 10),
    ],
)
def test_makespan(times: list[float], slots: int, expected: float) -> None:
    assert makespan(np.array(times, dtype=float), slots) == expected


def test_makespan_of_very_many_tiles_is_bounded_by_mean_load_and_one_tile() -> None:
    assert makespan(np.ones(MOST_TILES + 100), 100) == pytest.approx((MOST_TILES + 100) / 100 + 1)


@pytest.mark.parametrize(
    ("registers", "shared", "threads", "most", "expected"),
    [
        (255, 0, 256, None, 1),  # 8 warps x 8192 registers are all there are
        (128, 0, 256, None, 2),
        (32, 100 * 1024, 128, None, 2),  # 2 x 101 KiB of 228
        (32, 0, 1024, None, 2),
        (16, 0, 32, None, 32),
        (32, 0, 128, 3, 3),
        (255, 227 * 1024, 512, None, 1),  # does not fit: what it would cost is still asked
    ],
)
def test_resident_blocks(registers: int, shared: int, threads: int, most: int | None, expected: int) -> None:
    assert resident_blocks({"registers": registers, "shared_bytes": shared}, threads, most) == expected


def test_arithmetic_bound_tiles_fill_the_slots() -> None:
    # One block an SM: 1e6 FLOP / µs a slot; three tiles of 3 µs on two slots end after 6.
    assert predicted_us([work([3e6] * 3)], [FULL], {}, TOY) == pytest.approx(6.0)


def test_without_tensor_instructions_the_fma_rate_counts() -> None:
    scalar = {**FULL, "tensor_instructions": 0}
    assert predicted_us([work([3e6] * 3)], [scalar], {}, TOY) == pytest.approx(12.0)


def test_memory_is_a_floor_and_l2_a_rate() -> None:
    assert predicted_us([work([1.0] * 2, least=5000)], [FULL], {}, TOY) == pytest.approx(5.0)
    assert predicted_us([work([1.0] * 2, total=8000)], [FULL], {}, TOY) == pytest.approx(4.0)


def test_launches_add_up_and_cost() -> None:
    machine = replace(TOY, launch_us=0.5)
    assert predicted_us([work([3e6]), work([1e6])], [FULL, FULL], {}, machine) == pytest.approx(3 + 1 + 1)


def test_padding_costs_and_residency_evens_out() -> None:
    small = {**FULL, "registers": 64, "shared_bytes": 0}
    assert predicted_us([work([4e6] * 2)], [FULL], {}, TOY) > predicted_us([work([3e6] * 2)], [FULL], {}, TOY)
    one = predicted_us([work([1e6] * 5)], [small], {"fc1_blocks_per_sm": 1}, TOY)
    two = predicted_us([work([1e6] * 5)], [small], {"fc1_blocks_per_sm": 2}, TOY)
    assert (one, two) == (pytest.approx(3.0), pytest.approx(4.0))  # five tiles: three waves of 1 µs, or two of 2


def test_a_missing_record_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected one for each of 1 launches, got 0"):
        predicted_us([work([1.0])], [], {}, H200)


def test_rates_from_a_run_with_roofs() -> None:
    roof = Roof({"bfloat16": 700.0, "float32": 50.0}, 3.0)
    run = Run(["x"], "t", "", Environment({"name": "NVIDIA H100", "sms": 114}, roof))
    machine = machine_from_run(run, "run.json")
    assert (machine.name, machine.sms, machine.tensor_tflops, machine.fma_tflops) == ("NVIDIA H100", 114, 700.0, 50.0)
    assert "run.json" in machine.source
    json.dumps(machine.to_dict())
    with pytest.raises(ValueError, match="measured roofs"):
        machine_from_run(Run(["x"], "t", "", Environment()), "run.json")
