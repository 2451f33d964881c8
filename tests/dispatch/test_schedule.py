"""Tile schedules of the torch and Triton backends against plain loops, and the bound on their length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mohge.dispatch import DispatchPlan, make_plan, make_schedule, make_schedules, row_block_bound, schedule_bound
from mohge.reference import LayerSpec, Routing

BACKENDS = ("torch", "triton")
SPEC = LayerSpec("tiny", hidden=4, widths=(2, 6), experts_per_group=2, top_k=2, top_groups=2)


def worked_plan(backend: str = "torch") -> DispatchPlan:
    ids, weights = np.array([[3, 0], [0, 1], [1, 3]]), np.array([[0.7, 0.3], [0.6, 0.4], [0.9, 0.1]])
    return make_plan(Routing(ids, weights), SPEC, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_worked_example_of_the_docstring(backend, usable_backend):
    usable_backend(backend)
    schedule = make_schedule(worked_plan(), 1, [1, 1, 1, 2], [3, 0, 1, 2], band=2, backend=backend)
    assert schedule.bound == 12
    for name, used in (
        ("expert", [3, 3, 3, 3, 0, 0, 1, 1]),
        ("row", [4, 5, 4, 5, 0, 1, 2, 3]),
        ("column", [0, 0, 1, 1, 0, 0, 0, 0]),
    ):
        assert getattr(schedule, name).tolist() == used + [-1] * 4, name
    assert schedule.count.tolist() == [8]
    assert isinstance(schedule.count, np.ndarray)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("block_rows", "band"), [(16, 8), (5, 3), (64, 1)])
def test_schedule_equals_the_reference(backend, block_rows, band, routing_case, usable_backend, assert_same_schedule):
    usable_backend(backend)
    if backend == "triton" and routing_case.experts > 100 and block_rows < 16:
        block_rows = 16  # the interpreter needs seconds for the thousand tiles of smaller blocks
    plan = make_plan(routing_case.routing, routing_case.spec, "torch")
    generator = np.random.default_rng(3)
    columns = generator.integers(0, 4, plan.experts)
    columns[0] = 3
    order = generator.permutation(plan.experts)
    schedule = make_schedule(plan, block_rows, columns, order, band=band, backend=backend)
    assert_same_schedule(schedule, plan, block_rows, columns, order, band)


@pytest.mark.parametrize("backend", BACKENDS)
def test_lists_asked_for_together_equal_the_reference(
    backend, routing_case, usable_backend, list_requests, assert_same_schedule
):
    usable_backend(backend)
    plan = make_plan(routing_case.routing, routing_case.spec, "torch")
    order = np.random.default_rng(3).permutation(plan.experts)
    requests = list_requests(plan.experts)
    schedules = make_schedules(plan, order, requests, backend)
    for schedule, asked in zip(schedules, requests, strict=True):
        assert_same_schedule(schedule, plan, asked.block_rows, asked.columns, order, asked.band)


@pytest.mark.parametrize("lists", [0, 1, 2, 3])
def test_triton_launches_once_for_two_lists(lists, usable_backend, list_requests, monkeypatch):
    usable_backend("triton")
    from mohge.dispatch import triton_schedule

    kernel, grids = triton_schedule.fill_schedules, []

    class Watched:
        def __getitem__(self, grid):
            grids.append(grid)
            return kernel[grid]

    monkeypatch.setattr(triton_schedule, "fill_schedules", Watched())
    requests = list_requests(4)[:lists]
    assert len(make_schedules(worked_plan(), [3, 0, 1, 2], requests, "triton")) == lists
    assert [grid[1] for grid in grids] == {0: [], 1: [1], 2: [2], 3: [2, 1]}[lists]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), counts=st.lists(st.integers(0, 40), min_size=1, max_size=9))
def test_every_tile_exactly_once_in_the_given_order(data, counts):
    experts = len(counts)
    block_rows, band = data.draw(st.integers(1, 17)), data.draw(st.integers(1, 4))
    columns = data.draw(st.lists(st.integers(0, 4), min_size=experts, max_size=experts))
    order = data.draw(st.permutations(range(experts)))
    schedule = make_schedule(plan_of(counts), block_rows, columns, order, most_columns=4, band=band)
    assert schedule.bound == schedule_bound(sum(counts), experts, block_rows, 4)
    used = int(schedule.count[0])
    first = np.concatenate([[0], np.cumsum(counts)])
    expected = {
        (expert, int(first[expert]) + row, column)
        for expert in range(experts)
        for row in range(0, counts[expert], block_rows)
        for column in range(columns[expert])
    }
    listed = list(zip(schedule.expert.tolist(), schedule.row.tolist(), schedule.column.tolist(), strict=True))
    assert len(listed[:used]) == len(expected)
    assert set(listed[:used]) == expected
    assert set(listed[used:]) <= {(-1, -1, -1)}
    places = [order.index(expert) for expert, _, _ in listed[:used]]
    assert places == sorted(places)


def plan_of(counts: list[int]) -> DispatchPlan:
    """A plan of K = 1 with the given rows per expert."""
    ids = np.repeat(np.arange(len(counts)), counts)[:, None]
    return make_plan(Routing(ids, np.ones(ids.shape)), LayerSpec("any", 4, (8,) * len(counts), 1, 1, len(counts)))


@given(counts=st.lists(st.integers(0, 1000), min_size=1, max_size=40), block_rows=st.integers(1, 300))
@example(counts=[0, 0, 0], block_rows=128)
@example(counts=[1, 1, 1], block_rows=128)
def test_no_routing_needs_more_row_blocks_than_the_bound(counts, block_rows):
    needed = sum(-(-count // block_rows) for count in counts)
    assert needed <= row_block_bound(sum(counts), len(counts), block_rows)


@given(rows=st.integers(0, 5000), experts=st.integers(1, 64), block_rows=st.integers(1, 300))
def test_some_routing_reaches_the_bound(rows, experts, block_rows):
    active = min(experts, rows)
    counts = [1] * active
    if active:
        counts[0] += rows - active  # one row each, the rest on one expert
    needed = sum(-(-count // block_rows) for count in counts)
    assert needed == row_block_bound(rows, experts, block_rows)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_to_do_is_one_unused_entry(backend, usable_backend):
    usable_backend(backend)
    plan = plan_of([0, 0, 0])
    schedule = make_schedule(plan, 64, [2, 2, 2], [0, 1, 2], backend=backend)
    assert [schedule.expert.tolist(), schedule.row.tolist(), schedule.column.tolist()] == [[-1], [-1], [-1]]
    assert schedule.count.tolist() == [0]


def test_columns_and_order_may_be_tensors():
    plan = worked_plan()
    tensors = torch.tensor([1, 1, 1, 2]), torch.tensor([3, 0, 1, 2], dtype=torch.int32)
    lists = make_schedule(plan, 2, [1, 1, 1, 2], [3, 0, 1, 2])
    assert make_schedule(plan, 2, *tensors).row.tolist() == lists.row.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_rows": 0}, "block_rows: expected at least 1, got 0"),
        ({"band": 0}, "band: expected at least 1, got 0"),
        ({"columns": [1, 1, 1]}, r"columns: expected 4 whole numbers.*shape \[3\]"),
        ({"columns": [1.0, 1.0, 1.0, 1.0]}, "columns: expected 4 whole numbers"),
        ({"columns": [1, -1, 1, 1]}, "columns: expected 0 to 1, got"),
        ({"most_columns": 1}, r"columns: expected 0 to 1, got \[1, 1, 1, 2\]"),
        ({"order": [0, 1, 2, 2]}, "order: expected every expert from 0 to 3 once"),
        ({"order": [0, 1, 2, 4]}, "order: expected every expert from 0 to 3 once"),
        ({"backend": "tritn"}, "unknown dispatch backend 'tritn'; did you mean 'triton'"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    arguments = {"block_rows": 1, "columns": [1, 1, 1, 2], "order": [3, 0, 1, 2], **change}
    with pytest.raises(ValueError, match=message):
        make_schedule(worked_plan(), **arguments)
