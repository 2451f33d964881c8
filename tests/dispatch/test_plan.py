"""Plans of the torch and Triton backends against the reference, and what make_plan accepts and refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mohge.dispatch import DispatchPlan, make_plan
from mohge.reference import LayerSpec, Routing

BACKENDS = ("torch", "triton")

SPEC = LayerSpec("tiny", hidden=4, widths=(2, 6), experts_per_group=2, top_k=2, top_groups=2)
IDS = [[3, 0], [0, 1], [1, 3]]
WEIGHTS = [[0.7, 0.3], [0.6, 0.4], [0.9, 0.1]]


def worked_routing() -> Routing:
    return Routing(np.array(IDS), np.array(WEIGHTS))


@pytest.mark.parametrize("backend", BACKENDS)
def test_plan_equals_the_reference_bit_for_bit(backend, routing_case, usable_backend, assert_same_plan):
    usable_backend(backend)
    assert_same_plan(make_plan(routing_case.routing, routing_case.spec, backend), routing_case)


@pytest.mark.parametrize("backend", BACKENDS)
def test_worked_example_of_the_docstring(backend, usable_backend):
    usable_backend(backend)
    plan = make_plan(worked_routing(), SPEC, backend)
    assert plan.expert_offsets.tolist() == [0, 2, 4, 4, 6]
    assert plan.row_token.tolist() == [0, 1, 1, 2, 0, 2]
    assert plan.token_row.tolist() == [[4, 0], [1, 2], [3, 5]]
    np.testing.assert_array_equal(plan.row_weight, np.array([0.3, 0.6, 0.4, 0.9, 0.7, 0.1], np.float32))
    assert (plan.tokens, plan.top_k, plan.rows, plan.experts) == (3, 2, 6, 4)


@pytest.mark.parametrize("rows", [511, 512, 513, 768, 1025])
def test_triton_around_its_block_sizes(rows, make_case, usable_backend, assert_same_plan):
    usable_backend("triton")
    case = make_case(f"{rows}-rows", tokens=rows, top_k=1, experts=3)
    assert_same_plan(make_plan(case.routing, case.spec, "triton"), case)


def test_triton_scans_more_blocks_than_one_step(monkeypatch, make_case, usable_backend, assert_same_plan):
    usable_backend("triton")
    from mohge.dispatch import triton_plan

    monkeypatch.setattr(triton_plan, "SCAN", 4)
    case = make_case("nine-blocks", tokens=763, top_k=3, experts=5, only=(0, 2, 3))
    assert_same_plan(make_plan(case.routing, case.spec, "triton"), case)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), experts=st.integers(1, 12), tokens=st.integers(0, 30), seed=st.integers(0, 2**32 - 1))
def test_torch_on_any_routing(data, experts, tokens, seed, make_case, assert_same_plan):
    only = tuple(sorted(data.draw(st.sets(st.integers(0, experts - 1), min_size=1))))
    top_k = data.draw(st.integers(1, len(only)))
    case = make_case("any", tokens, top_k, experts, only, seed=seed)
    assert_same_plan(make_plan(case.routing, case.spec, "torch"), case)


@pytest.mark.parametrize("ids_dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("weights_dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_routing_gives_a_torch_plan(ids_dtype, weights_dtype):
    ids, weights = torch.tensor(IDS).to(ids_dtype), torch.tensor(WEIGHTS).to(weights_dtype)
    plan = make_plan(Routing(ids, weights), SPEC)
    assert plan.token_row.tolist() == [[4, 0], [1, 2], [3, 5]]
    assert {plan.expert_offsets.dtype, plan.row_token.dtype, plan.token_row.dtype} == {torch.int32}
    torch.testing.assert_close(plan.row_weight, weights[[0, 1, 1, 2, 0, 2], [1, 0, 1, 0, 0, 1]].float(), rtol=0, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_in_any_memory_order(backend, usable_backend):
    usable_backend(backend)
    expected = make_plan(worked_routing(), SPEC, backend)
    frozen = np.asfortranarray(IDS).astype(np.uint16)
    frozen.flags.writeable = False
    for routing in (
        Routing(frozen, np.array(WEIGHTS)[:, ::-1][:, ::-1]),
        Routing(torch.tensor(IDS).T.contiguous().T, torch.tensor(WEIGHTS, requires_grad=True)),
        Routing(np.array(IDS, ">i4"), np.array(WEIGHTS, ">f4")),
        Routing(IDS, WEIGHTS),
    ):
        plan = make_plan(routing, SPEC, backend)
        for name in DispatchPlan.__annotations__:
            np.testing.assert_array_equal(np.asarray(getattr(plan, name)), getattr(expected, name), err_msg=name)


def changed(values: list, token: int, slot: int, value: float) -> list:
    return [[value if (t, k) == (token, slot) else v for k, v in enumerate(row)] for t, row in enumerate(values)]


@pytest.mark.parametrize("kind", [np.array, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("ids", "weights", "message"),
    [
        pytest.param(changed(IDS, 1, 0, 4), WEIGHTS, r"expected 0 to 3, got 4 at token 1, slot 0", id="id-too-large"),
        pytest.param(changed(IDS, 2, 1, -1), WEIGHTS, r"got -1 at token 2, slot 1", id="id-negative"),
        pytest.param(changed(IDS, 2, 1, 1), WEIGHTS, r"distinct experts .* at token 2", id="id-repeated"),
        pytest.param(IDS, changed(WEIGHTS, 0, 1, float("nan")), r"finite .* token 0, slot 1", id="weight-nan"),
        pytest.param(IDS, changed(WEIGHTS, 0, 0, float("inf")), r"finite", id="weight-infinite"),
        pytest.param([[0], [1]], [[1.0], [1.0]], r"expected shape \[tokens, 2\], got \[2, 1\]", id="another-top-k"),
        pytest.param([0, 1], [0.5, 0.5], r"expert_ids: expected shape \[tokens, 2\], got \[2\]", id="one-axis"),
        pytest.param(IDS, WEIGHTS[:2], r"weights: expected shape \[3, 2\], got \[2, 2\]", id="fewer-weights"),
        pytest.param(WEIGHTS, WEIGHTS, r"expert_ids: expected whole numbers", id="ids-not-whole"),
        pytest.param(IDS, IDS, r"weights: expected floating-point numbers", id="weights-whole"),
    ],
)
def test_bad_routing_is_refused(kind, ids, weights, message):
    with pytest.raises(ValueError, match=message):
        make_plan(Routing(kind(ids), kind(weights)), SPEC)


def test_numpy_and_torch_do_not_mix():
    with pytest.raises(ValueError, match="weights: expected a torch tensor"):
        make_plan(Routing(torch.tensor(IDS), np.array(WEIGHTS)), SPEC)


def test_values_are_not_looked_at_when_told_not_to():
    nan = torch.tensor(changed(WEIGHTS, 0, 1, float("nan")))
    assert make_plan(Routing(torch.tensor(IDS), nan), SPEC, validate=False).row_weight.isnan().sum() == 1
    with pytest.raises(ValueError, match="weights: expected shape"):
        make_plan(Routing(torch.tensor(IDS), nan[:2]), SPEC, validate=False)


def test_more_rows_than_int32_counts():
    ids = torch.zeros(1, 2, dtype=torch.uint8).expand(2**30, 2)
    weights = torch.zeros(1, 2, dtype=torch.float16).expand(2**30, 2)
    with pytest.raises(ValueError, match=r"routing: expected fewer than 2\*\*31 rows"):
        make_plan(Routing(ids, weights), SPEC, validate=False)
