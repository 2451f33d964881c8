"""The Triton layer on a real GPU: sizes the interpreter cannot reach, graph capture, repeatability."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mohge.dispatch import make_plan
from mohge.kernels.triton import IMPLEMENTATION
from mohge.kernels.triton.config import Configuration, compiled_ahead
from mohge.reference import ExpertWeights, LayerSpec, Routing

pytestmark = pytest.mark.gpu

SPEC = LayerSpec("wide and narrow", hidden=1024, widths=(384, 640, 1280), experts_per_group=4, top_k=3, top_groups=3)
TOKENS = [1, 7, 64, 300, 700, 3000]  # mean rows per expert from 0.25 to 750: every built-in configuration
EVERY = compiled_ahead("bfloat16")  # and the alternatives


def routing(spec: LayerSpec, tokens: int, seed: int) -> Routing:
    """Distinct experts, skewed to the low ids; expert E - 1 is never used."""
    generator = torch.Generator().manual_seed(seed)
    odds = torch.linspace(4.0, 0.0, spec.experts).expand(max(tokens, 1), -1) + 1e-6
    odds = odds[:tokens].clone()
    odds[:, -1] = 0.0
    ids = torch.multinomial(odds, spec.top_k, generator=generator) if tokens else torch.empty(0, spec.top_k).long()
    return Routing(ids.cuda(), torch.rand(tokens, spec.top_k, generator=generator).cuda())


def expected(x: torch.Tensor, weights: ExpertWeights, routed: Routing, dtype: torch.dtype) -> torch.Tensor:
    """The layer in float64 on the GPU, expert by expert, from weights rounded to `dtype`."""
    y = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
    for expert in range(len(weights.gate)):
        token, slot = (routed.expert_ids == expert).nonzero(as_tuple=True)
        gate, up, down = (
            torch.from_numpy(np.asarray(matrix[expert])).to(x.device, dtype).double()
            for matrix in (weights.gate, weights.up, weights.down)
        )
        rows = x[token].double()
        out = (torch.nn.functional.silu(rows @ gate.t()) * (rows @ up.t())) @ down.t()
        y.index_add_(0, token, out * routed.weights[token, slot].double()[:, None])
    return y


def relative_error(y: torch.Tensor, wanted: torch.Tensor) -> float:
    assert bool(torch.isfinite(y).all())
    return float((y.double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.bfloat16, 8e-3), (torch.float16, 1e-3), (torch.float32, 2e-6)],
    ids=["bfloat16", "float16", "float32"],
)
def test_every_configuration_equals_the_formula(tokens: int, dtype: torch.dtype, tolerance: float) -> None:
    weights = ExpertWeights.random(SPEC, seed=tokens)
    layer = IMPLEMENTATION.prepare(SPEC, weights, "cuda", dtype)
    x = torch.randn(tokens, SPEC.hidden, device="cuda").to(dtype)
    routed = routing(SPEC, tokens, seed=tokens)
    y = layer(x, make_plan(routed, SPEC))
    assert relative_error(y, expected(x, weights, routed, dtype)) < tolerance


@pytest.mark.parametrize("tiles", EVERY, ids=lambda tiles: tiles.name)
def test_any_configuration_at_any_size_equals_the_formula_and_repeats_its_bits(tiles: Configuration) -> None:
    weights = ExpertWeights.random(SPEC, seed=5)
    layer = IMPLEMENTATION.prepare(SPEC, weights, "cuda", torch.bfloat16, tiles)
    for tokens in (1, 65, 700):
        x = torch.randn(tokens, SPEC.hidden, device="cuda").bfloat16()
        routed = routing(SPEC, tokens, seed=tokens)
        plan = make_plan(routed, SPEC)
        y = layer(x, plan)
        assert relative_error(y, expected(x, weights, routed, torch.bfloat16)) < 8e-3
        for _ in range(3):
            assert torch.equal(layer(x, plan), y)


@pytest.mark.parametrize("hidden", [1, 33, 200, 2880])
def test_any_hidden_and_widths(hidden: int) -> None:
    spec = LayerSpec("odd", hidden, (1, 7, 100, 129), 2, 2, 4)
    weights = ExpertWeights.random(spec)
    layer = IMPLEMENTATION.prepare(spec, weights, "cuda", torch.bfloat16)
    for tokens in (5, 300, 1500):
        x = torch.randn(tokens, hidden, device="cuda").bfloat16()
        routed = routing(spec, tokens, seed=tokens)
        y = layer(x, make_plan(routed, spec))
        assert relative_error(y, expected(x, weights, routed, torch.bfloat16)) < 1.5e-2


@pytest.mark.parametrize("tokens", [1, 64, 300, 3000])
def test_two_runs_give_the_same_bits(tokens: int) -> None:
    layer = IMPLEMENTATION.prepare(SPEC, ExpertWeights.random(SPEC), "cuda", torch.bfloat16)
    x = torch.randn(tokens, SPEC.hidden, device="cuda").bfloat16()
    plan = make_plan(routing(SPEC, tokens, seed=3), SPEC)
    first = layer(x, plan)
    for _ in range(3):
        assert torch.equal(layer(x, plan), first)


@pytest.mark.parametrize(
    ("tokens", "tiles"),
    [(1, None), (64, None), (300, None), (3000, None), *((700, tiles) for tiles in EVERY)],
    ids=lambda value: getattr(value, "name", value),
)
def test_captured_graph_follows_a_changed_routing(tokens: int, tiles: Configuration | None) -> None:
    """Plan and layer captured once; replayed on other experts and other inputs they equal a fresh call."""
    layer = IMPLEMENTATION.prepare(SPEC, ExpertWeights.random(SPEC), "cuda", torch.bfloat16, tiles)
    x = torch.randn(tokens, SPEC.hidden, device="cuda").bfloat16()
    static = routing(SPEC, tokens, seed=0)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # compile before capturing
        layer(x, make_plan(static, SPEC))
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = layer(x, make_plan(static, SPEC))
    for seed in (1, 2):
        other = routing(SPEC, tokens, seed)
        if seed == 2:  # every token to the same experts
            other.expert_ids.copy_(torch.arange(SPEC.top_k, device="cuda").expand(tokens, -1))
        static.expert_ids.copy_(other.expert_ids)
        static.weights.copy_(other.weights)
        x.copy_(torch.randn(tokens, SPEC.hidden, device="cuda"))
        graph.replay()
        assert torch.equal(y, layer(x, make_plan(other, SPEC)))


def test_zero_tokens() -> None:
    layer = IMPLEMENTATION.prepare(SPEC, ExpertWeights.random(SPEC), "cuda", torch.bfloat16)
    x = torch.empty(0, SPEC.hidden, device="cuda", dtype=torch.bfloat16)
    plan = make_plan(routing(SPEC, 0, seed=0), SPEC)
    assert layer(x, plan).shape == (0, SPEC.hidden)
    for phase in layer.phases(x, plan).values():
        phase()
    torch.cuda.synchronize()


def test_addresses_beyond_32_bits() -> None:
    """R * H = 2.5e9 elements: the last rows lie past 2^31."""
    spec = LayerSpec("tall", hidden=4096, widths=(16, 32), experts_per_group=1, top_k=2, top_groups=2)
    tokens = 300_000
    weights = ExpertWeights.random(spec)
    layer = IMPLEMENTATION.prepare(spec, weights, "cuda", torch.bfloat16)
    x = torch.randn(tokens, spec.hidden, device="cuda", dtype=torch.bfloat16)
    ids = torch.tensor([0, 1], device="cuda").expand(tokens, 2).contiguous()
    routed = Routing(ids, torch.rand(tokens, 2, device="cuda"))
    y = layer(x, make_plan(routed, spec))
    for part in (slice(0, 64), slice(tokens - 64, tokens)):
        wanted = expected(x[part], weights, Routing(ids[part], routed.weights[part]), torch.bfloat16)
        assert relative_error(y[part], wanted) < 8e-3
