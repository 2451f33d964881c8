"""The gate around the comparison: what it samples, poisons, refuses, and calls each way a layer can fail."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from mohge.bench.gate import (
    SAMPLED_TOKENS,
    TOLERANCES,
    GateResult,
    NaNWhereUninitialized,
    Trusted,
    answer,
    check,
    difference,
    not_finite,
    place,
    pose,
    tolerance_for,
)
from mohge.bench.gate.expected import choose_tokens
from mohge.bench.records.status import Status, status_of
from mohge.dispatch import DispatchPlan
from mohge.kernels import load
from mohge.reference import ExpertWeights, LayerSpec, Routing

SPEC = LayerSpec("small", 16, (8, 24), 3, 2, 2, shared_width=8)
WEIGHTS = ExpertWeights.random(SPEC, 3)
LAYER = load("torch_loop").prepare(SPEC, WEIGHTS, "cpu", torch.float32)
CPU: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}


@dataclass
class Around:
    """A layer made of a function around the right one's output."""

    change: Callable[[torch.Tensor], Any]

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> Any:
        return self.change(LAYER(x, plan))

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> dict[str, Callable[[], Any]]:
        return {"gemm1": lambda: self(x, plan)}

    def executed_flops(self, counts: np.ndarray) -> int:
        return int(counts.sum())


def routing(tokens: int, experts: int = SPEC.experts, seed: int = 0) -> Routing:
    """Tokens over the first `experts` experts."""
    generator = np.random.default_rng(seed)
    ids = np.argsort(generator.random((tokens, experts)), axis=1)[:, : SPEC.top_k]
    return Routing(ids, np.full(ids.shape, 1 / SPEC.top_k))


def changed(change: Callable[[torch.Tensor], Any], tokens: int = 9, **options: Any) -> GateResult:
    return check(Around(change), SPEC, WEIGHTS, routing(tokens), **CPU, **options)


@pytest.mark.parametrize("tokens", [0, 1, 2, 37])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shared", [False, True])
def test_right_layers_pass_whole(tokens: int, dtype: torch.dtype, shared: bool) -> None:
    weights = ExpertWeights.random(SPEC, 5, shared=shared)
    layer = load("padded_bmm").prepare(SPEC, weights, "cpu", dtype)
    result = check(layer, SPEC, weights, routing(tokens, experts=2), dtype=dtype, device="cpu", seed=2)
    assert (result.status, result.reason) == (Status.PASSED, "")
    assert result.whole
    assert result.checked == f"all {tokens} tokens"
    assert (result.where is None) == (tokens == 0)


def test_a_layer_without_the_shared_expert_is_rejected() -> None:
    weights = ExpertWeights.random(SPEC, 3, shared=True)
    assert check(LAYER, SPEC, weights, routing(9), **CPU).status is Status.INCORRECT


def test_each_check_draws_new_numbers_and_a_seed_gives_them_again() -> None:
    first, second = pose(SPEC, WEIGHTS, routing(4), torch.float32), pose(SPEC, WEIGHTS, routing(4), torch.float32)
    assert first.seed != second.seed
    assert not torch.equal(first.x, second.x)
    again = pose(SPEC, WEIGHTS, routing(4), torch.float32, seed=first.seed)
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, first.earlier_x)


def test_one_question_serves_several_layers() -> None:
    question = place(pose(SPEC, WEIGHTS, routing(9), torch.float32), "cpu")
    kept = question.x.clone()

    def spoil(y: torch.Tensor) -> torch.Tensor:
        return y.mul_(2)

    assert not answer(Around(spoil), question).passed
    assert answer(LAYER, question).passed
    assert torch.equal(question.x, kept)


MALFORMED = {
    "shape": (lambda y: y[:-1], r"expected shape \[9, 16\], got \[8, 16\]"),
    "dtype": (lambda y: y.double(), "expected torch.float32 on cpu, got torch.float64 on cpu"),
    "kind": (lambda y: y.numpy(), "expected a torch tensor, got ndarray"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_output_is_incorrect(case: str) -> None:
    change, reason = MALFORMED[case]
    result = changed(change)
    assert result.status is Status.INCORRECT
    assert re.search(reason, result.reason)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_named_by_its_place(value: float) -> None:
    def spoil(y: torch.Tensor) -> torch.Tensor:
        y[7, 3] = y[8, 0] = value
        return y

    result = changed(spoil)
    assert result.status is Status.INCORRECT
    assert f"{value} at token 7, column 3 (experts " in result.reason
    assert "2 of 144 elements" in result.reason


def test_the_reason_names_the_worst_element_and_both_values() -> None:
    def spoil(y: torch.Tensor) -> torch.Tensor:
        y[4, 11] = 100.0
        return y

    result = changed(spoil)
    assert result.where == (4, 11)
    assert "at token 4, column 11" in result.reason
    assert "got 100" in result.reason


FAILURES = {
    "crash": (RuntimeError("boom\nlong trace"), Status.CRASHED, "RuntimeError: boom"),
    "silent": (AssertionError(), Status.CRASHED, "AssertionError"),
    "host memory": (MemoryError("needs 9 GB"), Status.OUT_OF_MEMORY, "MemoryError: needs 9 GB"),
    "device memory": (torch.OutOfMemoryError("CUDA out of memory"), Status.OUT_OF_MEMORY, "OutOfMemoryError: CUDA"),
    "allocator": (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        Status.OUT_OF_MEMORY,
        "DefaultCPUAllocator",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_an_exception_becomes_a_status(case: str) -> None:
    error, status, reason = FAILURES[case]

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise error

    result = changed(fail)
    assert result.status is status
    assert reason in result.reason
    assert "\n" not in result.reason
    assert result.relative is None


def test_an_unknown_library_s_out_of_memory_is_recognised_by_its_name() -> None:
    class OutOfMemoryError(Exception):
        pass

    assert status_of(OutOfMemoryError("cupy"))[0] is Status.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((9, 16), np.nan), "got nan at token 0, column 0"),
        (np.where(np.arange(144).reshape(9, 16) == 21, np.inf, 1.0), "got inf at token 1, column 5"),
        (np.zeros((9, 16)), "all zero"),
        (np.ones((9, 15)), r"expected shape \[9, 16\], got \[9, 15\]"),
        (torch.full((9, 16), torch.nan), "got nan at token 0, column 0"),
    ],
)
def test_a_given_x_must_be_one(x: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(LAYER, SPEC, WEIGHTS, routing(9), **CPU, x=x)


def test_a_given_x_that_overflows_the_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="got inf at token 0, column 0"):
        pose(SPEC, WEIGHTS, routing(9), torch.float16, x=np.full((9, 16), 1e6))


def test_bad_routing_and_dtype_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct experts"):
        check(LAYER, SPEC, WEIGHTS, Routing(np.zeros((3, 2), dtype=int), np.ones((3, 2))), **CPU)
    with pytest.raises(ValueError, match="expected one of float32, float16, bfloat16"):
        tolerance_for(torch.float64)


def test_torch_routing_is_accepted() -> None:
    numpy = routing(9)
    tensors = Routing(torch.from_numpy(numpy.expert_ids), torch.from_numpy(numpy.weights))
    assert check(LAYER, SPEC, WEIGHTS, tensors, **CPU).passed


def test_the_sample_holds_the_places_where_kernels_go_wrong() -> None:
    spec = LayerSpec("many", 16, (8,), 6, 2, 1)
    ids = np.tile([0, 1], (500, 1))
    ids[[100, 300], 1] = 5  # the emptiest expert that has rows; experts 2 to 4 have none
    tokens = choose_tokens(Routing(ids, np.ones(ids.shape)), spec, np.random.default_rng(0))
    assert {0, 499, 100, 300} <= set(tokens.tolist())
    assert len(tokens) == SAMPLED_TOKENS
    assert (np.diff(tokens) > 0).all()


def trusted() -> Trusted:
    return Trusted("torch_loop", LAYER, check(LAYER, SPEC, WEIGHTS, routing(9), **CPU))


def spoil_one_token(y: torch.Tensor) -> torch.Tensor:
    """A token that no sample of 32 is sure to hold."""
    y[len(y) // 2] *= 1.5
    return y


def seed_that_misses(tokens: int) -> int:
    for seed in range(100):
        question = pose(SPEC, WEIGHTS, routing(tokens), torch.float32, seed=seed, reference_flops=0)
        assert question.tokens is not None
        if tokens // 2 not in question.tokens:
            return seed
    raise AssertionError("every sample holds the token")


def test_a_trusted_layer_sees_what_the_sample_misses() -> None:
    tokens = 400
    sampled: dict[str, Any] = {"tokens": tokens, "reference_flops": 0, "seed": seed_that_misses(tokens)}
    alone = changed(spoil_one_token, **sampled)
    assert (alone.status, alone.checked, alone.whole) == (Status.PASSED, "32 sampled tokens", False)
    result = changed(spoil_one_token, trusted=trusted(), **sampled)
    assert result.status is Status.INCORRECT
    assert result.where is not None
    assert result.where[0] == tokens // 2
    assert result.checked == "32 sampled tokens, every element against torch_loop"
    assert "torch_loop has" in result.reason
    right = check(LAYER, SPEC, WEIGHTS, routing(tokens), **CPU, trusted=trusted(), reference_flops=0)
    assert (right.status, right.checked) == (Status.PASSED, result.checked)


def test_a_sampled_failure_names_the_token_of_the_batch() -> None:
    def spoil(y: torch.Tensor) -> torch.Tensor:
        y[-1] += 1
        return y

    result = changed(spoil, tokens=400, reference_flops=0)
    assert result.where is not None
    assert result.where[0] == 399


def test_a_trusted_layer_that_fails_is_no_fault_of_the_candidate() -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise MemoryError("too large")

    broken = Trusted("broken", Around(fail), trusted().proof)
    result = check(LAYER, SPEC, WEIGHTS, routing(99), **CPU, trusted=broken, reference_flops=0)
    assert result.passed
    assert result.checked == "32 sampled tokens, the rest only for NaN (broken: MemoryError: too large)"


def test_only_a_layer_that_passed_whole_can_be_trusted() -> None:
    sampled = check(LAYER, SPEC, WEIGHTS, routing(99), **CPU, reference_flops=0)
    assert sampled.passed
    for proof in (sampled, changed(spoil_one_token)):
        with pytest.raises(ValueError, match="passed a check of every element"):
            Trusted("torch_loop", LAYER, proof)


@pytest.mark.parametrize(
    "allocate",
    [
        lambda _: torch.empty(3, 4),
        lambda x: torch.empty_like(x),
        lambda x: x.new_empty(3, 4),
        lambda _: torch.empty_strided((3, 4), (4, 1)),
        lambda x: x.new_empty_strided((3, 4), (4, 1)),
        lambda _: torch.empty(3, 4, dtype=torch.bfloat16),
    ],
)
def test_unwritten_memory_reads_as_nan_only_inside(allocate: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = torch.ones(3, 4)
    with NaNWhereUninitialized():
        assert allocate(x).isnan().all()
        assert torch.equal(torch.zeros(3) + torch.ones(3), torch.ones(3))
        assert torch.empty(3, dtype=torch.int32).shape == (3,)
    assert not torch.empty_like(x).fill_(1).isnan().any()
    assert not torch.are_deterministic_algorithms_enabled()


def test_difference_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mohge.bench.gate.compare.CHUNK_ELEMENTS", 8)
    expected = torch.ones(10, 4, dtype=torch.float64)
    actual = expected.clone()
    actual[7, 2] = 3.0
    found = difference(actual, expected)
    assert found.place == (7, 2)
    assert (found.expected, found.actual) == (1.0, 3.0)
    assert found.relative == pytest.approx(2 / math.sqrt(40))
    assert found.worst == pytest.approx(2.0)
    actual[9, 3] = torch.nan
    assert not_finite(actual) == (1, (9, 3))
    assert not_finite(expected) is None


def test_worst_is_measured_against_the_larger_of_all_and_of_its_token() -> None:
    expected = torch.tensor([[10.0, 10.0], [0.1, 0.1]], dtype=torch.float64)
    rms = math.sqrt(200.02 / 4)
    large, small = expected.clone(), expected.clone()
    large[0, 0] += 1
    small[1, 0] += 1
    assert difference(large, expected).worst == pytest.approx(0.1)
    assert difference(small, expected).worst == pytest.approx(1 / rms)


def test_few_tokens_may_be_further_off_than_many() -> None:
    tolerance = tolerance_for(torch.bfloat16)
    allowed = [tolerance.for_tokens(tokens).relative / tolerance.relative for tokens in (0, 1, 4, 10_000)]
    assert allowed == pytest.approx([2.0, 2.0, 1.5, 1.01])
    assert tolerance.for_tokens(1).worst == tolerance.worst


def test_zero_expected_allows_only_zero() -> None:
    zero = torch.zeros(2, 2, dtype=torch.float64)
    assert difference(zero, zero).relative == 0
    assert difference(zero + 1, zero).relative == math.inf
