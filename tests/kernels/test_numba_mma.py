"""Numba on tensor cores: the lanes of every fragment simulated against the reference, the binary read, a real GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mohge.dispatch import make_plan
from mohge.kernels import load
from mohge.kernels.numba.implementation import TENSOR_CORES
from mohge.kernels.numba.mma_config import LARGE, SIMULATED, SMALL, MmaConfiguration, MmaTile, choose
from mohge.kernels.tunable import Tunable
from mohge.kernels.tuned import TunedRow, spec_class, write_table
from mohge.kernels.values import Value
from mohge.reference import ExpertWeights, LayerSpec, Routing, expert_ffn

TOLERANCE = {torch.float16: 1e-3, torch.bfloat16: 8e-3}
PRESET = LayerSpec.preset("mohge-3b")
simulated = pytest.mark.skipif(torch.cuda.is_available(), reason="simulated only without a GPU")


@dataclass(frozen=True)
class Case:
    intent: str
    tokens: int
    hidden: int
    widths: tuple[int, ...]
    top_k: int = 1
    only: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.bfloat16
    tiles: MmaConfiguration | None = None


# Two warps each way with their own rows and columns, chunks that turn with two lines, and a stage more than steps.
FOUR_WARPS = MmaConfiguration(
    "four warps",
    fc1=MmaTile(block_m=32, block_n=16, block_k=32, warps_m=2, warps_n=2, stages=2, outputs=2),
    fc2=MmaTile(block_m=32, block_n=32, block_k=32, warps_m=2, warps_n=2, stages=4),
)
# A whole row of banks for each line.
LONG_LINES = MmaConfiguration(
    "long lines",
    fc1=MmaTile(block_m=16, block_n=16, block_k=64, warps_m=1, warps_n=2, stages=2, outputs=2),
    fc2=MmaTile(block_m=16, block_n=16, block_k=64, warps_m=1, warps_n=2, stages=3),
)
CASES = (
    Case("zero tokens", 0, 8, (8, 16)),
    Case("one token, the smallest sizes", 1, 8, (8,)),
    Case("empty expert, first and last in use", 3, 16, (8, 16, 8), only=(0, 2)),
    Case("more rows than a tile, all on one expert", 35, 8, (8, 16), only=(1,)),
    Case("nothing divides a tile", 7, 40, (24, 8), top_k=2),
    Case("float16", 7, 40, (24, 8), top_k=2, dtype=torch.float16),
    Case("four warps", 20, 40, (24,), tiles=FOUR_WARPS),
    Case("lines of 64", 5, 72, (24,), tiles=LONG_LINES, dtype=torch.float16),
)


def relative_error(case: Case, device: str) -> float:
    spec = LayerSpec(case.intent, case.hidden, case.widths, 1, case.top_k, len(case.widths))
    generator = np.random.default_rng(3)
    used = np.array(case.only if case.only is not None else range(spec.experts))
    ids = used[np.argsort(generator.random((case.tokens, len(used))), axis=1)[:, : case.top_k]]
    routing = Routing(ids, generator.random(ids.shape, dtype=np.float32))
    weights = ExpertWeights.random(spec, 1)
    x = torch.from_numpy(generator.standard_normal((case.tokens, case.hidden), dtype=np.float32)).to(case.dtype)
    on_device = Routing(torch.from_numpy(ids).to(device), torch.from_numpy(routing.weights).to(device))
    layer = TENSOR_CORES.prepare(spec, weights, device, case.dtype, case.tiles)
    y = layer(x.to(device), make_plan(on_device, spec, backend="numba")).double().cpu().numpy()
    expected = expert_ffn(x.double().numpy(), weights, routing, spec)
    assert y.shape == expected.shape
    return float(np.linalg.norm(y - expected) / max(np.linalg.norm(expected), 1e-30))


@simulated
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.intent)
def test_simulated_layer_matches_the_reference(case: Case) -> None:
    assert relative_error(case, "cpu") < TOLERANCE[case.dtype]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("tokens", [1, 35, 700])
@pytest.mark.parametrize("tiles", [None, FOUR_WARPS, LARGE, SMALL], ids=lambda tiles: tiles.name if tiles else "chosen")
def test_gpu_layer_matches_the_reference(dtype: torch.dtype, tokens: int, tiles: MmaConfiguration | None) -> None:
    case = Case("gpu", tokens, 136, (64, 104, 136, 256), top_k=2, dtype=dtype, tiles=tiles)
    assert relative_error(case, "cuda") < TOLERANCE[dtype]


@simulated
def test_it_can_be_tuned_and_launches_what_the_table_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_values: dict[str, dict[str, Value]],
    make_problem: Callable[..., Any],
) -> None:
    implementation = load("numba_mma")
    assert isinstance(implementation, Tunable)
    space = implementation.space(PRESET, "bfloat16")
    assert all(list(choices) == sorted(set(choices)) for choices in space.values())
    spec = LayerSpec("two widths", 16, (8, 16), 1, 1, 2)
    this = make_problem(spec, 12, torch.float16)
    values = small_values["numba_mma"]
    table = tmp_path / "table.json"
    monkeypatch.setenv("MOHGE_TUNED", str(table))
    write_table(
        [TunedRow("numba_mma", "cpu", spec_class(spec), 64, "any", "float16", values, "synthetic", "none")], table
    )
    assert implementation.current_values(spec, 12, "float16") == values
    layer = implementation.prepare(spec, this.weights, "cpu", torch.float16)
    work = layer.phases(this.x, this.plan)["plan"]()
    assert (work.configuration.fc1.block_m, work.configuration.fc2.stages) == (16, 3)
    works = implementation.gemm_work(values, this.counts, spec, "float16")
    assert [len(each.tile_flops) for each in works] == [int(each.count) for each in (work.fc1, work.fc2)]
    assert layer.executed_flops(this.counts) == sum(each.tile_flops.sum() for each in works)
    assert this.error(layer) < TOLERANCE[torch.float16]


RULES = {
    "no power of two": ({"fc1_block_m": 24}, "fc1: block_m: expected a power of two, got 24"),
    "a warp without a tile": ({"fc2_warps_n": 4}, "fc2: expected at least 16 x 8 outputs a warp"),
    "one stage": ({"fc1_stages": 1}, "fc1: stages: expected at least 2, got 1"),
    "too much shared memory": ({"fc2_stages": 64}, "fc2: expected at most 49152 bytes of shared memory"),
    "more threads than chunks": (
        {"fc1_warps_n": 2, "fc1_block_k": 16, "fc1_block_m": 16},
        "fc1: expected tiles of at least one chunk a thread",
    ),
    "places that change from copy to copy": (
        {"fc2_block_k": 64},
        "fc2: expected threads for at least 8 lines of block_k at once, got 4",
    ),
    "blocks": ({"fc2_blocks_per_sm": 0}, "fc2: blocks_per_sm: expected at least 1, got 0"),
    "registers": (
        {"fc2_block_m": 128, "fc2_block_n": 128, "fc2_block_k": 16},
        "fc2: expected numbers for at most 255 registers a thread",
    ),
    "unknown": ({"fc1_thread_m": 2}, "fc1_thread_m: no such parameter"),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_said_in_one_line(rule: str, small_values: dict[str, dict[str, Value]]) -> None:
    change, message = RULES[rule]
    said = TENSOR_CORES.check_values({**small_values["numba_mma"], **change}, PRESET, "float16")
    assert said is not None
    assert said.startswith(message)
    assert "\n" not in said


@simulated
def test_what_it_cannot_run_is_a_reason() -> None:
    cpu = torch.device("cpu")
    assert TENSOR_CORES.supports(PRESET, torch.float16, cpu) is None
    assert "expected float16 or bfloat16, got float32" in str(TENSOR_CORES.supports(PRESET, torch.float32, cpu))
    odd = replace(PRESET, widths=(384, 12) * 4)
    assert "expected every width to be a multiple of 8, got 12" in str(TENSOR_CORES.supports(odd, torch.float16, cpu))
    with pytest.raises(ValueError, match="numba_mma: moves 16-byte chunks"):
        TENSOR_CORES.prepare(odd, ExpertWeights.random(odd), "cpu", torch.float16)
    assert TENSOR_CORES.check_values({}, PRESET, "float32") == "dtype: expected one of float16, bfloat16, got 'float32'"


def test_configuration_follows_mean_rows() -> None:
    assert choose(64, 64) is SMALL
    assert choose(64 * 1000, 64) is LARGE
    assert choose(64 * 1000, 64, simulated=True) is SIMULATED


def test_kernels_reach_the_tensor_cores_without_spills() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    command = [sys.executable, "-m", "mohge.kernels.numba.aot", "--only", "mma_gate_up,mma_down"]
    command += ["--dtype", "bfloat16"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    records = json.loads(done.stdout)
    assert len(records) == 4
    for record in records:
        tiles = {"small": SMALL, "large": LARGE}[record["configuration"]]
        tile = tiles.fc1 if record["name"] == "mma_gate_up" else tiles.fc2
        steps = tile.block_k // 16
        assert record["tensor_instructions"] == tile.m_tiles * tile.n_tiles * tile.outputs * steps, record
        assert record["spills"] == 0, record
        assert record["shared_bytes"] == tile.shared_bytes, record
        assert tile.least_registers <= record["registers"] <= 255, record
        # Two blocks of either fit a multiprocessor.
        assert 2 * tile.threads * record["registers"] <= 65536, record
        assert 2 * record["shared_bytes"] <= 227 * 1024, record
