"""The checker checked: layers that are wrong in one way each, and the same layer right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from mohge.bench.gate import TOLERANCES, GateResult, check
from mohge.bench.records.status import Status
from mohge.dispatch import DispatchPlan, combine, permute
from mohge.reference import ExpertWeights, LayerSpec, Routing

SPEC = LayerSpec("small", 256, (128, 256), 2, 2, 2)
WEIGHTS = ExpertWeights.random(SPEC, 3)
TOKENS = 37
DTYPES = tuple(TOLERANCES)


class Right:
    """One expert after the other, float32 sums, one rounding of the activation; each wrong layer replaces a method."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.gate, self.up, self.down = (
            [torch.as_tensor(matrix).to(dtype).float() for matrix in matrices]
            for matrices in (WEIGHTS.gate, WEIGHTS.up, WEIGHTS.down)
        )

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        return self.finish(self.experts(permute(x, plan), plan.expert_offsets.tolist()), plan)

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        return {"gemm1": lambda: self(x, plan)}

    def executed_flops(self, counts: np.ndarray) -> int:
        return 6 * SPEC.hidden * int(counts @ SPEC.expert_widths)

    def experts(self, rows: torch.Tensor, offsets: list[int]) -> torch.Tensor:
        out = torch.empty_like(rows)
        for expert, (start, end) in enumerate(pairwise(offsets)):
            out[start:end] = self.expert(rows[start:end].float(), expert).to(rows.dtype)
        return out

    def expert(self, rows: torch.Tensor, expert: int) -> torch.Tensor:
        activation = self.activate(self.matmul(rows, self.gate[expert].T), self.matmul(rows, self.up[expert].T))
        return self.matmul(activation.to(self.dtype).float(), self.down[expert].T)

    def activate(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.silu(gate) * up

    def matmul(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left @ right

    def finish(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        return combine(rows, plan)


class DroppedRow(Right):
    """The last row of the fullest expert is taken for padding."""

    def experts(self, rows: torch.Tensor, offsets: list[int]) -> torch.Tensor:
        out = super().experts(rows, offsets)
        out[offsets[int(np.argmax(np.diff(offsets))) + 1] - 1] = 0
        return out


class WrongExpert(Right):
    """One expert computes with its neighbour's weights, which have the same shape."""

    def expert(self, rows: torch.Tensor, expert: int) -> torch.Tensor:
        return super().expert(rows, 3 if expert == 2 else expert)


class UnwrittenTail(Right):
    """Rows beyond the last whole tile of 16 are never written."""

    def experts(self, rows: torch.Tensor, offsets: list[int]) -> torch.Tensor:
        out = torch.empty_like(rows)
        whole = len(rows) // 16 * 16
        out[:whole] = super().experts(rows, offsets)[:whole]
        return out


class UnwrittenOutput(Right):
    """The last token of the output is never written."""

    def finish(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        y = torch.empty(plan.tokens, rows.shape[1], dtype=rows.dtype)
        y[:-1] = super().finish(rows, plan)[:-1]
        return y


class SumsInBfloat16(Right):
    """The running sum is rounded to bfloat16 after every 16 products."""

    sums = torch.bfloat16

    def matmul(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(left), right.shape[1])
        for start in range(0, left.shape[1], 16):
            total = (total + left[:, start : start + 16] @ right[start : start + 16]).to(self.sums).float()
        return total


class SumsInFloat16(SumsInBfloat16):
    """The same with float16, as the fast half-precision tensor-core instructions do."""

    sums = torch.float16


class FactorsInTf32(Right):
    """Float32 factors keep 10 bits of mantissa, as tensor cores do when nobody forbids it."""

    def matmul(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        left, right = (
            ((m.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) for m in (left, right)
        )
        return left @ right


class IgnoredCombineWeight(Right):
    """Every expert counts the same."""

    def finish(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        return super().finish(rows, replace(plan, row_weight=torch.full_like(plan.row_weight, 1 / plan.top_k)))


class WeightsByRow(Right):
    """Combine weights are read in token order where the rows are in expert order."""

    def finish(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        return super().finish(rows, replace(plan, row_weight=plan.row_weight.roll(1)))


class SwappedGateUp(Right):
    """The wrong half goes through silu."""

    def activate(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return super().activate(up, gate)


class NoSilu(Right):
    """The gate is used as it is."""

    def activate(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return gate * up


class OffByOneRow(Right):
    """The last expert reads its rows one too early."""

    def experts(self, rows: torch.Tensor, offsets: list[int]) -> torch.Tensor:
        shifted = rows.clone()
        start = offsets[-2]
        shifted[start:] = rows[start - 1 : -1]
        return super().experts(shifted, offsets)


class SkippedActivationBlock(Right):
    """The last 16 columns of the activation never enter the second product."""

    def expert(self, rows: torch.Tensor, expert: int) -> torch.Tensor:
        activation = self.activate(rows @ self.gate[expert].T, rows @ self.up[expert].T).to(self.dtype).float()
        return activation[:, :-16] @ self.down[expert].T[:-16]


class SkippedOutputBlock(Right):
    """The last 16 columns of one expert's output stay zero."""

    def expert(self, rows: torch.Tensor, expert: int) -> torch.Tensor:
        out = super().expert(rows, expert)
        if expert == 3:
            out[:, -16:] = 0
        return out


class StaleRows(Right):
    """A buffer kept from call to call, in which the last row is not written again."""

    def experts(self, rows: torch.Tensor, offsets: list[int]) -> torch.Tensor:
        fresh = super().experts(rows, offsets)
        if not hasattr(self, "buffer"):
            self.buffer = fresh
        self.buffer[:-1] = fresh[:-1]
        return self.buffer


class StaleOutput(Right):
    """The first call's output for ever."""

    def finish(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        if not hasattr(self, "y"):
            self.y = super().finish(rows, plan)
        return self.y


class StalePlan(Right):
    """The first call's plan for ever: right as long as the routing does not change."""

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        if not hasattr(self, "plan"):
            self.plan = plan
        return super().__call__(x, self.plan)


class OverwrittenInput(Right):
    """Right once: x is used as scratch."""

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        y = super().__call__(x, plan)
        x[0] += 1
        return y


class OverwrittenPlan(Right):
    """Right once: the combine weights are scaled in place."""

    def finish(self, rows: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        y = super().finish(rows, plan)
        plan.row_weight.mul_(2)
        return y


@dataclass(frozen=True)
class Wrong:
    """A wrong layer, a word its reason must contain, and the dtypes at which it is wrong."""

    layer: type[Right]
    reason: str = "relative error"
    dtypes: tuple[torch.dtype, ...] = DTYPES


CASES = [
    Wrong(DroppedRow),
    Wrong(WrongExpert),
    Wrong(UnwrittenTail, "nan at token"),
    Wrong(UnwrittenOutput, f"nan at token {TOKENS - 1}, column 0"),
    Wrong(SumsInBfloat16),
    Wrong(SumsInFloat16, dtypes=(torch.float32, torch.float16)),
    Wrong(FactorsInTf32, dtypes=(torch.float32,)),
    Wrong(IgnoredCombineWeight),
    Wrong(WeightsByRow),
    Wrong(SwappedGateUp),
    Wrong(NoSilu),
    Wrong(OffByOneRow),
    Wrong(SkippedActivationBlock),
    Wrong(SkippedOutputBlock),
    Wrong(StaleRows),
    Wrong(StaleOutput),
    Wrong(StalePlan),
    Wrong(OverwrittenInput, "expected x to stay"),
    Wrong(OverwrittenPlan, "expected plan.row_weight to stay"),
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def routing(tokens: int = TOKENS) -> Routing:
    generator = np.random.default_rng(7)
    ids = np.argsort(generator.random((tokens, SPEC.experts)), axis=1)[:, : SPEC.top_k]
    weights = generator.random((tokens, SPEC.top_k)) + 0.2
    return Routing(ids, weights / weights.sum(axis=1, keepdims=True))


def verdict(layer: type[Right], dtype: torch.dtype, seed: int = 1, **options: Any) -> GateResult:
    return check(layer(dtype), SPEC, WEIGHTS, routing(), dtype=dtype, device="cpu", seed=seed, **options)


@pytest.mark.parametrize(
    ("wrong", "dtype"),
    [
        pytest.param(wrong, dtype, id=f"{wrong.layer.__name__}-{str(dtype).removeprefix('torch.')}")
        for wrong in CASES
        for dtype in wrong.dtypes
    ],
)
def test_known_wrong_layers_are_rejected(wrong: Wrong, dtype: torch.dtype) -> None:
    result = verdict(wrong.layer, dtype)
    assert result.status is Status.INCORRECT
    assert wrong.reason in result.reason


@pytest.mark.parametrize(
    "wrong", [case for case in CASES if case.reason == "relative error"], ids=lambda w: w.layer.__name__
)
def test_a_sample_of_tokens_is_enough_to_reject_them(wrong: Wrong) -> None:
    dtype = wrong.dtypes[0]
    result = verdict(wrong.layer, dtype, reference_flops=0)
    assert result.status is Status.INCORRECT
    assert "sampled tokens" in result.checked


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_the_right_layer_passes_with_margin(dtype: torch.dtype, seed: int) -> None:
    result = verdict(Right, dtype, seed)
    assert result.status is Status.PASSED
    assert result.reason == ""
    assert result.relative is not None
    assert result.worst is not None
    assert result.relative < TOLERANCES[dtype].relative / 2
    assert result.worst < TOLERANCES[dtype].worst / 2
