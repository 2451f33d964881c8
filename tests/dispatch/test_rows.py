"""Permute and combine of the torch and Triton backends against the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mohge.dispatch import combine, make_plan, permute
from mohge.reference import LayerSpec, Routing
from mohge.reference.permutation import combine_rows, permutation, permute_rows

BACKENDS = ("torch", "triton")
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# One rounding to the dtype at the end, after float32 sums of a few terms of order one.
TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float64: 1e-7}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("hidden", [1, 37, 1032])
def test_there_and_back(backend, dtype, hidden, make_case, usable_backend):
    usable_backend(backend)
    case = make_case("rows", tokens=21, top_k=3, experts=8, only=(0, 2, 3, 7))
    plan = make_plan(Routing(*map(torch.from_numpy, vars(case.routing).values())), case.spec, backend)
    expected = permutation(case.routing, case.spec)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((21, hidden))).to(dtype)
    rows = permute(x, plan, backend)
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows.double().numpy(), permute_rows(x.double().numpy(), expected))
    y = combine(rows, plan, backend)
    assert y.dtype == dtype
    reference = combine_rows(rows.double().numpy(), expected)
    np.testing.assert_allclose(y.double().numpy(), reference, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_case_in_numpy(backend, routing_case, usable_backend):
    usable_backend(backend)
    plan = make_plan(routing_case.routing, routing_case.spec, "torch")
    expected = permutation(routing_case.routing, routing_case.spec)
    x = np.random.default_rng(2).standard_normal((routing_case.tokens, 20), np.float32)
    rows = permute(x, plan, backend)
    assert isinstance(rows, np.ndarray)
    np.testing.assert_array_equal(rows, permute_rows(x, expected))
    np.testing.assert_allclose(combine(rows, plan, backend), combine_rows(rows, expected), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_combine_adds_in_order_of_k_in_float32(backend, usable_backend):
    """Slots 0, 1, 2 hold 2**24, 1 and -2**24: in this order float32 loses the 1; in any other order it does not."""
    usable_backend(backend)
    spec = LayerSpec("order", 4, (8, 8, 8), 1, 3, 3)
    plan = make_plan(Routing(torch.tensor([[2, 0, 1]]), torch.ones(1, 3)), spec, backend)
    slots = torch.tensor([2.0**24, 1.0, -(2.0**24)])
    rows = torch.empty(3, 4)
    rows[plan.token_row[0].long()] = slots[:, None]
    assert combine(rows, plan, backend).tolist() == [[0.0] * 4]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_combine_does_not_accumulate_in_the_rows_dtype(backend, dtype, usable_backend):
    """256 and eight times a quarter: every partial sum in a 16-bit dtype would round the quarter away."""
    usable_backend(backend)
    spec = LayerSpec("sum", 4, (8,) * 9, 1, 9, 9)
    base = 2048.0 if dtype == torch.float16 else 256.0
    plan = make_plan(Routing(torch.arange(9)[None], torch.ones(1, 9)), spec, backend)
    rows = torch.full((9, 4), 0.25, dtype=dtype)
    rows[0] = base
    assert combine(rows, plan, backend).tolist() == [[base + 2] * 4]


@pytest.mark.parametrize("backend", BACKENDS)
def test_strided_rows(backend, usable_backend):
    usable_backend(backend)
    spec = LayerSpec("strided", 4, (8, 8), 1, 1, 2)
    plan = make_plan(Routing(torch.tensor([[1], [0], [1]]), torch.ones(3, 1)), spec, backend)
    x = torch.arange(24.0).view(3, 8)[:, ::2]
    rows = permute(x, plan, backend)
    assert rows.tolist() == x[[1, 0, 2]].tolist()
    assert combine(rows.T.contiguous().T, plan, backend).tolist() == x.tolist()


NUMPY_PLAN = make_plan(
    Routing(np.array([[0, 1], [1, 0]]), np.full((2, 2), 0.5)), LayerSpec("pair", 4, (8, 8), 1, 2, 2), "torch"
)


@pytest.mark.parametrize(
    ("function", "values", "message"),
    [
        (permute, np.zeros((3, 4)), r"x: expected shape \[2, hidden\], got \[3, 4\]"),
        (permute, np.zeros(2), r"x: expected shape \[2, hidden\], got \[2\]"),
        (permute, torch.zeros(2, 4), "x: expected a NumPy array like the plan, got torch"),
        (permute, np.zeros((2, 4), np.int32), "x: expected floating-point numbers"),
        (combine, np.zeros((2, 4)), r"rows: expected shape \[4, hidden\], got \[2, 4\]"),
    ],
)
def test_bad_arguments_are_refused(function, values, message):
    with pytest.raises(ValueError, match=message):
        function(values, NUMPY_PLAN)
