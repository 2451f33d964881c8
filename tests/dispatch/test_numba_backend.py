"""The Numba backend, simulated: plans, schedules, permute and combine against plain loops, without copies."""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false, reportOptionalIterable=false

from __future__ import annotations

import numpy as np
import pytest
import torch

from mohge.dispatch import combine, make_plan, make_schedule, make_schedules, permute, unavailable
from mohge.dispatch.interop import as_numba
from mohge.dispatch.numba_bridge import SIMULATED, narrow_bfloat16, widen_bfloat16

pytestmark = pytest.mark.skipif(not SIMULATED, reason="compiles for a GPU in this process")


def test_it_runs_here_and_says_why_not_elsewhere():
    assert unavailable("numba", "cpu") is None
    assert "NUMBA_ENABLE_CUDASIM" in (unavailable("numba", "cuda") or "")


def test_plan_and_schedule_match_plain_loops(routing_case, assert_same_plan, assert_same_schedule):
    plan = make_plan(routing_case.routing, routing_case.spec, backend="numba")
    assert_same_plan(plan, routing_case)
    columns = [expert % 3 + 1 for expert in range(plan.experts)]
    order = list(range(plan.experts))[::-1]
    schedule = make_schedule(plan, 4, columns, order, band=3, backend="numba")
    assert_same_schedule(schedule, plan, 4, columns, order, band=3)


def test_lists_asked_for_together(make_case, list_requests, assert_same_schedule):
    case = make_case("lists", tokens=9, top_k=2, experts=5, only=(1, 2, 4))
    plan = make_plan(case.routing, case.spec, backend="torch")
    order, requests = [4, 0, 2, 1, 3], list_requests(5)
    schedules = make_schedules(plan, order, requests, backend="numba")
    for schedule, asked in zip(schedules, requests, strict=True):
        assert_same_schedule(schedule, plan, asked.block_rows, asked.columns, order, asked.band)


@pytest.mark.parametrize("hidden", [1, 3, 4, 17])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_permute_and_combine_agree_with_torch(dtype, hidden, make_case):
    case = make_case("rows", tokens=5, top_k=2, experts=3)
    plan = make_plan(case.routing, case.spec, backend="torch")
    torch_plan = type(plan)(**{name: torch.from_numpy(value) for name, value in vars(plan).items()})
    x = torch.randn(5, hidden, generator=torch.Generator().manual_seed(hidden)).to(dtype)
    rows = permute(x, torch_plan, backend="numba")
    assert torch.equal(rows, x[torch_plan.row_token.long()])
    expected = combine(rows, torch_plan, backend="torch")
    torch.testing.assert_close(
        combine(rows, torch_plan, backend="numba"), expected, rtol=1e-2 if dtype == torch.bfloat16 else 2e-3, atol=1e-3
    )


def test_bfloat16_crosses_both_ways_like_torch():
    values = torch.tensor(
        [0.0, -0.0, 1.0, 1.00390625, 1.01171875, -3.1415927, 3.4e38, float("inf"), float("-inf"), 1e-40]
    )
    bits = values.to(torch.bfloat16).view(torch.uint16).numpy()
    narrowed = np.array([narrow_bfloat16(value) for value in values.numpy()])
    np.testing.assert_array_equal(narrowed, bits)
    widened = np.array([widen_bfloat16(value) for value in bits])
    np.testing.assert_array_equal(widened, values.to(torch.bfloat16).float().numpy())
    assert np.isnan(widen_bfloat16(narrow_bfloat16(np.float32("nan"))))


def test_tensors_cross_without_a_copy():
    tensor = torch.zeros(3, dtype=torch.bfloat16)
    as_numba(tensor)[1] = 0x3F80
    assert tensor.tolist() == [0.0, 1.0, 0.0]
