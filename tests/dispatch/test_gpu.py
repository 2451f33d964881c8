"""On a GPU: every backend equals the reference, never waits for the device, and can be captured in a CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from mohge.dispatch import (
    BACKENDS,
    DispatchPlan,
    ListRequest,
    TileSchedule,
    combine,
    make_plan,
    make_schedules,
    permute,
)
from mohge.reference import Routing
from mohge.reference.permutation import combine_rows, permutation, permute_rows

pytestmark = [pytest.mark.gpu, pytest.mark.parametrize("backend", BACKENDS)]

HIDDEN = 136


class Layer:
    """Routing to combined rows with everything on the GPU; calling it is what must not wait."""

    def __init__(self, case, backend: str, requests: tuple[ListRequest, ...]) -> None:
        self.case, self.backend = case, backend
        self.routing = Routing(torch.from_numpy(case.routing.expert_ids).cuda(), self.weights(case))
        self.x = torch.randn(case.tokens, HIDDEN, generator=torch.Generator().manual_seed(5)).cuda()
        self.order = torch.arange(case.experts, dtype=torch.int32).flip(0).cuda()
        self.requests = [replace(asked, columns=asked.columns.cuda()) for asked in requests]

    @staticmethod
    def weights(case) -> torch.Tensor:
        return torch.from_numpy(case.routing.weights).cuda()

    def __call__(self) -> tuple[DispatchPlan, tuple[TileSchedule, ...], torch.Tensor, torch.Tensor]:
        plan = make_plan(self.routing, self.case.spec, self.backend)
        schedules = make_schedules(plan, self.order, self.requests, self.backend)
        rows = permute(self.x, plan, self.backend)
        return plan, schedules, rows, combine(rows, plan, self.backend)


@contextmanager
def waiting_forbidden() -> Iterator[None]:
    """Torch raises for its own synchronising calls inside; what CuPy and Numba do shows under graph capture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says once that this mode is a prototype
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def check(assert_same_plan, assert_same_schedule):
    def compare(layer: Layer, case, results) -> None:
        plan, schedules, rows, y = results
        assert plan.row_token.device == layer.x.device
        assert_same_plan(plan, case)
        for schedule, asked in zip(schedules, layer.requests, strict=True):
            assert_same_schedule(schedule, plan, asked.block_rows, asked.columns, layer.order.tolist(), asked.band)
        expected = permutation(case.routing, case.spec)
        np.testing.assert_array_equal(rows.cpu().numpy(), permute_rows(layer.x.cpu().numpy(), expected))
        reference = combine_rows(rows.cpu().numpy(), expected)
        np.testing.assert_allclose(y.cpu().numpy(), reference, rtol=2e-6, atol=2e-6)

    return compare


def test_equals_the_reference(backend, routing_case, usable_backend, list_requests, check):
    usable_backend(backend, "cuda")
    layer = Layer(routing_case, backend, list_requests(routing_case.experts))
    check(layer, routing_case, layer())


@pytest.mark.parametrize("tokens", [1, 64, 1000])
def test_never_waits_for_the_device(backend, tokens, make_case, usable_backend, list_requests, check):
    usable_backend(backend, "cuda")
    case = make_case("no-wait", tokens=tokens, top_k=6, experts=64)
    layer = Layer(case, backend, list_requests(case.experts))
    layer()  # compiles
    torch.cuda.synchronize()
    with waiting_forbidden():
        results = layer()
    check(layer, case, results)


@pytest.mark.parametrize("tokens", [1, 64, 1000])
def test_a_captured_graph_follows_the_routing(backend, tokens, make_case, usable_backend, list_requests, check):
    """Capture forbids waiting altogether, and a replay on other ids shows that no value was baked in."""
    usable_backend(backend, "cuda")
    first = make_case("captured", tokens=tokens, top_k=6, experts=64)
    layer = Layer(first, backend, list_requests(first.experts))
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        layer()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = layer()
    for other in (
        first,
        make_case("replayed", tokens, 6, 64, seed=9),
        make_case("few", tokens, 6, 64, tuple(range(9))),
    ):
        layer.routing.expert_ids.copy_(torch.from_numpy(other.routing.expert_ids))
        layer.routing.weights.copy_(layer.weights(other))
        graph.replay()
        torch.cuda.synchronize()
        check(layer, other, results)


def test_values_are_checked_on_request_only(backend, make_case, usable_backend):
    usable_backend(backend, "cuda")
    case = make_case("repeated", tokens=3, top_k=2, experts=4)
    weights = Layer.weights(case)
    ids = torch.zeros(3, 2, dtype=torch.int64, device="cuda")
    assert make_plan(Routing(ids, weights), case.spec, backend).expert_offsets.tolist() == [0, 6, 6, 6, 6]
    with pytest.raises(ValueError, match="expected distinct experts"):
        make_plan(Routing(ids, weights), case.spec, backend, validate=True)


def test_more_elements_than_int32_counts(backend, make_case, usable_backend):
    """64k tokens, K = 8, H = 7168: R * H = 3.8e9. With weights of 1/8 combine undoes permute exactly."""
    usable_backend(backend, "cuda")
    if torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip("needs 12 GiB of free GPU memory")
    case = make_case("large", tokens=2**16, top_k=8, experts=256)
    ids = torch.from_numpy(case.routing.expert_ids).cuda()
    plan = make_plan(Routing(ids, torch.full(ids.shape, 0.125, device="cuda")), case.spec, backend)
    x = torch.randn(2**16, 7168, dtype=torch.bfloat16, device="cuda")
    rows = permute(x, plan, backend)
    some = torch.tensor([0, 299_594, 2**18, plan.rows - 1], device="cuda")  # row 299594 is the first beyond 2**31
    assert torch.equal(rows[some], x[plan.row_token[some].long()])
    assert torch.equal(combine(rows, plan, backend), x)
