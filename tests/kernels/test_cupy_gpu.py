"""The CUDA C++ kernels on a GPU: larger shapes, captured in a graph, and against their execution on the host."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from mohge.dispatch import DispatchPlan, make_plan
from mohge.kernels.cupy.config import Config
from mohge.kernels.cupy.implementation import CupyImplementation, cannot
from mohge.kernels.cupy.shipped import PERSISTENT, SHIPPED
from mohge.reference import ExpertWeights, LayerSpec, Routing, expert_ffn

pytestmark = pytest.mark.gpu

LIMIT = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}  # relative Frobenius error
VERSIONS = [(version, dtype) for version in SHIPPED for dtype in LIMIT if version == "tile" or dtype != torch.float32]
CONFIGS = [(version, config) for version, configs in SHIPPED.items() for config in configs.values()]
MEDIUM = LayerSpec("medium", 264, (72, 200, 96, 333), 4, 5, 3)


@pytest.fixture(autouse=True)
def _only_where_it_runs(request: pytest.FixtureRequest) -> None:
    """Skips a version that the GPU at hand cannot run, with the reason it gives itself."""
    version = request.node.callspec.params.get("version") if hasattr(request.node, "callspec") else None
    reason = cannot(version, MEDIUM, "float16", torch.cuda.get_device_capability()) if version else None
    if reason is not None:
        pytest.skip(reason)


def draw_routing(spec: LayerSpec, tokens: int, seed: int, most: int | None = None) -> Routing:
    """Random distinct experts per token, out of the first `most`."""
    generator = np.random.default_rng(seed)
    ids = np.argsort(generator.random((tokens, most or spec.experts)), axis=1)[:, : spec.top_k]
    return Routing(ids, generator.random(ids.shape).astype(np.float32))


def on(device: str, routing: Routing) -> Routing:
    return Routing(torch.from_numpy(routing.expert_ids).to(device), torch.from_numpy(routing.weights).to(device))


def draw_x(spec: LayerSpec, tokens: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(tokens, spec.hidden, generator=torch.Generator().manual_seed(seed)).to(dtype)


def error(y: torch.Tensor, x: torch.Tensor, weights: ExpertWeights, routing: Routing, spec: LayerSpec) -> float:
    def rounded(matrix: Any) -> np.ndarray:
        return torch.as_tensor(matrix).to(x.dtype).double().numpy()

    gate, up, down = ([rounded(matrix) for matrix in getattr(weights, name)] for name in ("gate", "up", "down"))
    expected = expert_ffn(x.double().numpy(), ExpertWeights(gate, up, down), routing, spec)
    difference = np.linalg.norm(y.double().cpu().numpy() - expected) / max(np.linalg.norm(expected), 1e-30)
    return float(np.nan_to_num(difference, nan=np.inf))


@pytest.mark.parametrize(("version", "dtype"), VERSIONS)
@pytest.mark.parametrize(("tokens", "most"), [(0, None), (1, None), (7, None), (300, 5), (1999, None)])
def test_matches_the_reference(version: str, dtype: torch.dtype, tokens: int, most: int | None) -> None:
    weights = ExpertWeights.random(MEDIUM)
    routing = draw_routing(MEDIUM, tokens, seed=tokens, most=most)
    x = draw_x(MEDIUM, tokens, dtype)
    layer = CupyImplementation(version).prepare(MEDIUM, weights, "cuda", dtype)
    y = layer(x.cuda(), make_plan(on("cuda", routing), MEDIUM))
    assert error(y, x, weights, routing, MEDIUM) < LIMIT[dtype]


@pytest.mark.parametrize(
    ("version", "dtype"),
    [(version, torch.float32 if version == "tile" else torch.bfloat16) for version in reversed(SHIPPED)],
)
@pytest.mark.parametrize("tokens", [8, 64, 1000])
def test_matches_the_reference_on_the_released_layer(version: str, dtype: torch.dtype, tokens: int) -> None:
    spec = LayerSpec.preset("mohge-3b")
    weights = ExpertWeights.random(spec)
    routing = draw_routing(spec, tokens, seed=3)
    x = draw_x(spec, tokens, dtype)
    y = CupyImplementation(version).prepare(spec, weights, "cuda", dtype)(
        x.cuda(), make_plan(on("cuda", routing), spec)
    )
    assert error(y, x, weights, routing, spec) < LIMIT[dtype]


@pytest.mark.parametrize(("version", "dtype"), VERSIONS)
def test_odd_widths(version: str, dtype: torch.dtype) -> None:
    spec = LayerSpec("odd", 37 if version == "tile" else 40, (1, 13, 47), 2, 2, 2)
    weights = ExpertWeights.random(spec)
    routing = draw_routing(spec, 101, seed=4)
    x = draw_x(spec, 101, dtype)
    y = CupyImplementation(version).prepare(spec, weights, "cuda", dtype)(
        x.cuda(), make_plan(on("cuda", routing), spec)
    )
    assert error(y, x, weights, routing, spec) < LIMIT[dtype]


@pytest.mark.parametrize(("version", "dtype"), VERSIONS)
def test_captured_graph_follows_a_changed_routing(version: str, dtype: torch.dtype) -> None:
    tokens = 500
    weights = ExpertWeights.random(MEDIUM)
    layer = CupyImplementation(version).prepare(MEDIUM, weights, "cuda", dtype)
    x = draw_x(MEDIUM, tokens, dtype).cuda()
    plan = make_plan(on("cuda", draw_routing(MEDIUM, tokens, seed=5)), MEDIUM)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        layer(x, plan)  # compiles and loads, which a capture may not
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = layer(x, plan)
    for seed, most in ((6, None), (7, 5)):
        routing = draw_routing(MEDIUM, tokens, seed, most)
        copy_plan(make_plan(on("cuda", routing), MEDIUM), plan)
        fresh = draw_x(MEDIUM, tokens, dtype, seed)
        x.copy_(fresh)
        y.fill_(float("nan"))
        graph.replay()
        assert error(y, fresh, weights, routing, MEDIUM) < LIMIT[dtype]


def copy_plan(source: DispatchPlan, target: DispatchPlan) -> None:
    for field in fields(DispatchPlan):
        getattr(target, field.name).copy_(getattr(source, field.name))


@pytest.mark.parametrize(("version", "config"), CONFIGS)
def test_gpu_and_host_execution_agree(version: str, config: Config, host_engine: Any) -> None:
    """Same sources, same inputs: only the order of additions inside one mma, and fused multiply-adds, may differ."""
    spec = LayerSpec("twin", 136, (72, 160, 21), 2, 2, 2)
    weights = ExpertWeights.random(spec)
    routing = draw_routing(spec, 41, seed=8)
    x = draw_x(spec, 41, torch.float16)
    host = CupyImplementation(version, host_engine, config).prepare(spec, weights, "cpu", torch.float16)
    gpu = CupyImplementation(version, None, config).prepare(spec, weights, "cuda", torch.float16)
    expected = host(x, make_plan(on("cpu", routing), spec))
    y = gpu(x.cuda(), make_plan(on("cuda", routing), spec))
    torch.testing.assert_close(y.cpu(), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("version", [version for version in SHIPPED if version != "tile"])
def test_repeated_calls_are_bit_identical(version: str) -> None:
    layer = CupyImplementation(version).prepare(MEDIUM, ExpertWeights.random(MEDIUM), "cuda", torch.bfloat16)
    x = draw_x(MEDIUM, 700, torch.bfloat16).cuda()
    plan = make_plan(on("cuda", draw_routing(MEDIUM, 700, seed=9)), MEDIUM)
    first = layer(x, plan)
    for _ in range(5):
        assert torch.equal(layer(x, plan), first)


@pytest.mark.parametrize("version", ["persistent"])
def test_turns_and_shared_tiles_over_many_tiles_a_block(version: str) -> None:
    """Widths on both sides of the shipped threshold, some 30 tiles for every block, launched back to back."""
    spec = LayerSpec("turns", 512, (256, 1152), 4, 4, 2)
    weights = ExpertWeights.random(spec)
    routing = draw_routing(spec, 12000, seed=10)
    x = draw_x(spec, 12000, torch.bfloat16)
    plan = make_plan(on("cuda", routing), spec)
    layers = [
        CupyImplementation(name, None, config).prepare(spec, weights, "cuda", torch.bfloat16)
        for name, config in ((version, PERSISTENT), ("mma", SHIPPED["mma"]["many rows"]))
    ]
    moved = x.cuda()
    for _ in range(3):  # an early start must not let one call's grids meet another's
        persistent, mma = layers[0](moved, plan), layers[1](moved, plan)
        torch.testing.assert_close(persistent, mma, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("version", ["swapped"])
@pytest.mark.parametrize("config", SHIPPED["swapped"].values(), ids=str)
def test_weights_asked_for_early_meet_the_right_work_list(version: str, config: Config) -> None:
    """fc2 reads its work list before fc1 has ended: routings that differ take turns, with and without fc1 between."""
    spec = LayerSpec("early", 512, (256, 1152), 4, 4, 2)
    layer = CupyImplementation(version, None, config)
    layer = layer.prepare(spec, ExpertWeights.random(spec), "cuda", torch.bfloat16)
    x = draw_x(spec, 200, torch.bfloat16).cuda()
    plans = [make_plan(on("cuda", draw_routing(spec, 200, seed, most)), spec) for seed, most in ((11, None), (12, 5))]
    expected = [layer(x, plan) for plan in plans]
    torch.cuda.synchronize()
    answers = [layer(x, plan) for _ in range(20) for plan in plans]
    for number, answer in enumerate(answers):
        assert torch.equal(answer, expected[number % 2])
    phases = [layer.phases(x, plan) for plan in plans]
    for _ in range(20):
        for phase in phases:
            phase["gemm2"]()
    for phase, answer in zip(phases, expected, strict=True):
        phase["gemm2"]()
        assert torch.equal(phase["combine"](), answer)
