"""The CUDA C++ dispatch kernels, executed on the host, against the plain reference; and on a GPU, against the host."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from mohge.dispatch.cupy_backend import MOST_EXPERTS, THREADS, CupyBackend
from mohge.dispatch.plan import DispatchPlan, ListRequest

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
HIDDENS = (1, 24, 1032)  # one element; 16-byte packs; packs that a block of 256 threads takes several rounds for


@pytest.fixture(scope="module")
def backend(host_engine: Any) -> CupyBackend:
    return CupyBackend(host_engine)


def plan_of(backend: CupyBackend, case: Any, device: str = "cpu") -> DispatchPlan:
    expert_ids, weights = (torch.from_numpy(a).to(device) for a in (case.routing.expert_ids, case.routing.weights))
    return backend.make_plan(expert_ids, weights, case.experts)


def schedule_arguments(case: Any, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(case.seed)
    columns, order = generator.integers(0, 4, case.experts), generator.permutation(case.experts)
    return torch.from_numpy(columns.astype(np.int32)).to(device), torch.from_numpy(order.astype(np.int32)).to(device)


def numbers(rows: int, hidden: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(rows, hidden, generator=torch.Generator().manual_seed(hidden)).to(dtype)


def combined(rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
    """The definition, in float64."""
    weighted = rows.double()[plan.token_row.long()] * plan.row_weight.double()[plan.token_row.long()][..., None]
    return weighted.sum(1)


def test_plan_is_the_stable_order(backend, routing_case, assert_same_plan):
    assert_same_plan(plan_of(backend, routing_case), routing_case)


@pytest.mark.parametrize(("block_rows", "band"), [(1, 8), (4, 3), (64, 1)])
def test_schedule_lists_every_tile_once(backend, routing_case, assert_same_schedule, block_rows, band):
    plan = plan_of(backend, routing_case)
    columns, order = schedule_arguments(routing_case)
    (schedule,) = backend.make_schedules(plan, order, [ListRequest(block_rows, columns, int(columns.max()), band)])
    assert_same_schedule(schedule, plan, block_rows, columns, order, band)


def test_lists_asked_for_together(backend, routing_case, list_requests, assert_same_schedule):
    plan = plan_of(backend, routing_case)
    _, order = schedule_arguments(routing_case)
    requests = list_requests(plan.experts)
    for schedule, asked in zip(backend.make_schedules(plan, order, requests), requests, strict=True):
        assert_same_schedule(schedule, plan, asked.block_rows, asked.columns, order, asked.band)


def test_more_experts_than_a_block_has_threads(backend, make_case, list_requests, assert_same_schedule):
    case = make_case("many", tokens=150, top_k=2, experts=THREADS + 44)
    plan = plan_of(backend, case)
    _, order = schedule_arguments(case)
    requests = list_requests(plan.experts)
    for schedule, asked in zip(backend.make_schedules(plan, order, requests), requests, strict=True):
        assert_same_schedule(schedule, plan, asked.block_rows, asked.columns, order, asked.band)


@pytest.mark.parametrize("lists", [0, 1, 2, 3])
def test_one_launch_for_two_lists(host_engine, make_case, list_requests, lists):
    grids = []

    class Watched:
        """The host's engine, which is asked for one module here."""

        def load(self, source, defines):
            self.module = host_engine.load(source, defines)
            return self

        def launch(self, name, grid, *rest):
            grids.append(grid)
            self.module.launch(name, grid, *rest)

    case = make_case("lists", tokens=5, top_k=2, experts=4)
    _, order = schedule_arguments(case)
    plan = plan_of(CupyBackend(host_engine), case)
    watched: Any = Watched()
    schedules = CupyBackend(watched).make_schedules(plan, order, list_requests(4)[:lists])
    assert len(schedules) == lists
    assert [grid[1] for grid in grids] == {0: [], 1: [1], 2: [2], 3: [2, 1]}[lists]


def test_rows_go_there_and_back(backend, routing_case):
    plan = plan_of(backend, routing_case)
    x = numbers(plan.tokens, 24, torch.float32)
    rows = backend.permute(x, plan)
    assert torch.equal(rows, x[plan.row_token.long()])
    torch.testing.assert_close(backend.combine(rows, plan).double(), combined(rows, plan), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("hidden", HIDDENS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_of_every_dtype_and_size(backend, make_case, dtype, hidden):
    plan = plan_of(backend, make_case("rows", tokens=5, top_k=3, experts=4))
    x = numbers(plan.tokens, hidden, dtype)
    assert torch.equal(backend.permute(x, plan), x[plan.row_token.long()])
    rows = numbers(plan.rows, hidden, dtype)
    y = backend.combine(rows, plan)
    assert y.dtype == dtype
    exact = combined(rows, plan)
    half_unit = torch.finfo(dtype).eps / 2
    bound = half_unit * exact.abs() + 4 * torch.finfo(torch.float32 if dtype != torch.float64 else dtype).eps * 3
    assert ((y.double() - exact).abs() <= bound).all()


def test_rows_that_start_off_a_16_byte_boundary(backend, make_case):
    plan = plan_of(backend, make_case("off", tokens=3, top_k=2, experts=4))
    whole = numbers(1, 3 * 8 + 1, torch.float16).flatten()
    x = whole[1:].view(3, 8)
    assert torch.equal(backend.permute(x, plan), x[plan.row_token.long()])


@pytest.mark.parametrize("top_k", [*range(1, 10), 16, 19])
def test_combine_takes_any_number_of_slots(backend, make_case, top_k):
    """Rows come in batches of eight and what is left; 12 columns are packs of half the widest in float16."""
    plan = plan_of(backend, make_case("slots", tokens=3, top_k=top_k, experts=20))
    rows = numbers(plan.rows, 12, torch.float16)
    torch.testing.assert_close(backend.combine(rows, plan).double(), combined(rows, plan), rtol=1e-3, atol=1e-3)
    if top_k > 2:  # first 1e8, then 1, at last -1e8: 0 in float32 in this order, 1 where the small term comes last
        rows = torch.zeros(plan.rows, 1)
        for slot, value in ((0, 1e8), (1, 1.0), (-1, -1e8)):
            rows[plan.token_row[:, slot].long()] = value
        equal = DispatchPlan(plan.expert_offsets, plan.row_token, plan.token_row, torch.ones(plan.rows))
        assert torch.equal(backend.combine(rows, equal), torch.zeros(3, 1))


def test_combine_adds_the_slots_in_order(backend):
    """1e8 + 1 - 1e8 is 0 in float32 from the left, and 1 in any order that keeps the small term."""
    plan = DispatchPlan(
        expert_offsets=torch.tensor([0, 1, 2, 3], dtype=torch.int32),
        row_token=torch.zeros(3, dtype=torch.int32),
        token_row=torch.tensor([[2, 0, 1]], dtype=torch.int32),
        row_weight=torch.ones(3),
    )
    assert backend.combine(torch.tensor([[1.0], [-1e8], [1e8]]), plan).item() == 0.0
    assert backend.combine(torch.tensor([[-1e8], [1.0], [1e8]]), plan).item() == 1.0


def test_bad_input_is_refused(backend, make_case):
    plan = plan_of(backend, make_case("bad", tokens=3, top_k=2, experts=4))
    with pytest.raises(ValueError, match=r"torch\.int32"):
        backend.permute(torch.zeros(3, 8, dtype=torch.int32), plan)
    with pytest.raises(ValueError, match=f"at most {MOST_EXPERTS} experts"):
        backend.make_plan(torch.zeros(1, 1, dtype=torch.int32), torch.ones(1, 1), MOST_EXPERTS + 1)


def test_without_an_engine_the_cpu_is_refused():
    assert "NVIDIA GPU" in (CupyBackend().unavailable(torch.device("cpu")) or "")


@pytest.mark.gpu
def test_gpu_agrees_with_the_host(backend, routing_case, list_requests):
    gpu = CupyBackend()
    host_plan, gpu_plan = plan_of(backend, routing_case), plan_of(gpu, routing_case, "cuda")
    for field in fields(host_plan):
        assert torch.equal(getattr(gpu_plan, field.name).cpu(), getattr(host_plan, field.name)), field.name
    _, order = schedule_arguments(routing_case)
    requests = list_requests(host_plan.experts)
    on_gpu = [replace(asked, columns=asked.columns.cuda()) for asked in requests]
    gpu_schedules = gpu.make_schedules(gpu_plan, order.cuda(), on_gpu)
    for mine, theirs in zip(gpu_schedules, backend.make_schedules(host_plan, order, requests), strict=True):
        for name in ("expert", "row", "column", "count"):
            assert torch.equal(getattr(mine, name).cpu(), getattr(theirs, name)), name
    for dtype in DTYPES:
        x = numbers(host_plan.tokens, 24, dtype)
        rows = backend.permute(x, host_plan)
        gpu_rows = gpu.permute(x.cuda(), gpu_plan)
        assert torch.equal(gpu_rows.cpu(), rows)
        assert torch.equal(gpu.combine(gpu_rows, gpu_plan).cpu(), backend.combine(rows, host_plan))


@pytest.mark.gpu
def test_gpu_at_full_size():
    gpu, generator = CupyBackend(), torch.Generator(device="cuda").manual_seed(0)
    expert_ids = torch.rand(16384, 64, device="cuda", generator=generator).topk(6).indices
    plan = gpu.make_plan(expert_ids, torch.rand(16384, 6, device="cuda", generator=generator), 64)
    source = expert_ids.flatten().sort(stable=True).indices
    assert torch.equal(plan.row_token.long(), source // 6)
    assert torch.equal(plan.token_row.flatten().long()[source], torch.arange(len(source), device="cuda"))
    x = torch.randn(16384, 1024, device="cuda", generator=generator).bfloat16()
    assert torch.equal(gpu.permute(x, plan), x[plan.row_token.long()])
