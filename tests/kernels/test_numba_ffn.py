"""The Numba FFN, simulated on tiny shapes, against the reference; the compiled kernels' resources; a real GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from mohge.dispatch import make_plan
from mohge.kernels.numba import IMPLEMENTATION
from mohge.kernels.numba.ceiling import cuda_core_tflops, share_of_cuda_cores
from mohge.kernels.numba.config import LARGE, SIMULATED, SMALL, Tile, choose
from mohge.reference import ExpertWeights, LayerSpec, Routing, expert_ffn

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@dataclass(frozen=True)
class Case:
    name: str
    tokens: int
    hidden: int
    widths: tuple[int, ...]
    top_k: int = 1
    only: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float32


CASES = (
    Case("zero-tokens", 0, 4, (4, 8)),
    Case("one-token", 1, 5, (1, 3)),
    Case("empty-expert", 5, 4, (3, 4, 5), only=(0, 2)),
    Case("all-on-one", 9, 6, (2, 5), only=(1,)),
    Case("hidden-one-width-one", 3, 1, (1,)),
    Case("odd", 7, 9, (3, 7, 6), top_k=2),
    Case("odd-float16", 7, 9, (3, 7, 6), top_k=2, dtype=torch.float16),
    Case("odd-bfloat16", 7, 9, (3, 7, 6), top_k=2, dtype=torch.bfloat16),
)


def relative_error(case: Case, device: str) -> float:
    spec = LayerSpec(case.name, case.hidden, case.widths, 1, case.top_k, len(case.widths))
    generator = np.random.default_rng(3)
    used = np.array(case.only if case.only is not None else range(spec.experts))
    ids = used[np.argsort(generator.random((case.tokens, len(used))), axis=1)[:, : case.top_k]]
    routing = Routing(ids, generator.random(ids.shape, dtype=np.float32))
    weights = ExpertWeights.random(spec, 1)
    x = torch.from_numpy(generator.standard_normal((case.tokens, case.hidden), dtype=np.float32)).to(case.dtype)
    on_device = Routing(torch.from_numpy(ids).to(device), torch.from_numpy(routing.weights).to(device))
    layer = IMPLEMENTATION.prepare(spec, weights, device, case.dtype)
    plan = make_plan(on_device, spec, backend="numba")
    y = layer(x.to(device), plan).double().cpu().numpy()
    expected = expert_ffn(x.double().numpy(), weights, routing, spec)
    assert y.shape == expected.shape
    return float(np.linalg.norm(y - expected) / max(np.linalg.norm(expected), 1e-30))


@pytest.mark.skipif(torch.cuda.is_available(), reason="simulated only without a GPU")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_simulated_layer_matches_the_reference(case: Case):
    assert relative_error(case, "cpu") < TOLERANCE[case.dtype]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_gpu_layer_matches_the_reference(dtype: torch.dtype):
    for tokens in (3, 700):
        case = Case("gpu", tokens, 130, (64, 100, 129, 256), top_k=2, dtype=dtype)
        assert relative_error(case, "cuda") < TOLERANCE[dtype]


@pytest.mark.gpu
def test_gpu_graph_replays_the_call():
    spec = LayerSpec("graph", 128, (64, 128), 2, 2, 2)
    layer = IMPLEMENTATION.prepare(spec, ExpertWeights.random(spec), "cuda", torch.bfloat16)
    ids = torch.rand(200, 4, device="cuda").argsort(dim=1)[:, :2]
    plan = make_plan(Routing(ids, torch.rand(200, 2, device="cuda")), spec, backend="numba")
    x = torch.randn(200, 128, device="cuda", dtype=torch.bfloat16)
    layer(x, plan)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = layer(x, plan)
    x.copy_(torch.randn_like(x))
    graph.replay()
    assert torch.equal(y, layer(x, plan))


def test_executed_flops_count_whole_tiles():
    spec = LayerSpec("flops", 5, (3,), 1, 1, 1)
    if torch.cuda.is_available():
        pytest.skip("tiles of the simulator")
    layer = IMPLEMENTATION.prepare(spec, ExpertWeights.random(spec), "cpu", torch.float32)
    # 1 row in 4; fc1 4 x 4 columns x 8 deep, twice; fc2 4 x 8 columns x 4 deep
    assert layer.executed_flops(np.array([1])) == 2 * 2 * 4 * 4 * 8 + 2 * 4 * 8 * 4


def test_configuration_follows_mean_rows():
    assert choose(64, 64) is SMALL
    assert choose(64 * 1000, 64) is LARGE
    assert choose(64 * 1000, 64, simulated=True) is SIMULATED


def test_tile_refuses_what_the_kernel_cannot_do():
    with pytest.raises(ValueError, match="power of two, got 12"):
        Tile(block_m=12, block_n=8, block_k=4, thread_m=2, thread_n=2)
    with pytest.raises(ValueError, match="threads"):
        Tile(block_m=4, block_n=4, block_k=16, thread_m=2, thread_n=2)


def test_kernels_compile_for_hopper_without_spills(tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    command = [sys.executable, "-m", "mohge.kernels.numba.aot", "--only", "gate_up"]
    command += ["--dtype", "bfloat16", "--ptx", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    records = json.loads(done.stdout)
    assert {record["configuration"] for record in records} == {"small", "large"}
    for record in records:
        tile = {"small": SMALL, "large": LARGE}[record["configuration"]].fc1
        assert record["shared_bytes"] == tile.shared_bytes, record
        assert record["registers"] >= tile.least_registers, record
        assert record["spills"] == 0, record
        assert 32 < record["registers"] <= 255, record
        assert 16384 < record["shared_bytes"] <= 49152, record
    code = (tmp_path / "gate_up-large-bfloat16.ptx").read_text()
    assert code.count("fma.rn.f32") >= 64  # an 8 x 8 thread tile, unrolled and in registers
    assert "ld.shared.v4.f32" in code
    assert "ld.local" not in code


def test_the_ceiling_of_the_cuda_cores_is_theirs_at_the_clock_held():
    # NVIDIA's data sheet of the H200: 67 TFLOP/s in float32; of the A100: 19.5 (108 multiprocessors at 1410 MHz).
    assert cuda_core_tflops(132, 1980.0) == pytest.approx(67, rel=0.005)
    assert cuda_core_tflops(108, 1410.0, (8, 0)) == pytest.approx(19.5, rel=0.005)
    assert share_of_cuda_cores(33.45, 132, 1980.0) == pytest.approx(0.5, rel=0.001)
    with pytest.raises(ValueError, match=r"capability: expected one of 7\.0, .*, got 6\.1"):
        cuda_core_tflops(28, 1500.0, (6, 1))
    with pytest.raises(ValueError, match="sm_mhz: expected more than 0, got 0"):
        cuda_core_tflops(132, 0.0)
