"""The correctness gate: no layer is timed that has not passed it (DESIGN.md section 6)."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...dispatch import DispatchPlan
from ...kernels import Layer
from ...reference import ExpertWeights, LayerSpec, Routing
from ..records.status import Status, status_of
from .compare import difference, not_finite
from .placed import Placed, copied, place
from .poison import NaNWhereUninitialized, poison_allocator
from .question import pose
from .result import GateResult, Trusted
from .tolerance import Tolerance, tolerance_for


def check(
    layer: Layer,
    spec: LayerSpec,
    weights: ExpertWeights,
    routing: Routing,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    trusted: Trusted | None = None,
    **options: Any,
) -> GateResult:
    """`answer` for one layer and a question posed for it alone; options and ValueErrors as in `pose`."""
    tolerance_for(dtype)
    return answer(layer, place(pose(spec, weights, routing, dtype, **options), device), trusted)


def answer(layer: Layer, asked: Placed, trusted: Trusted | None = None) -> GateResult:
    """Run `layer`, prepared from the question's weights on the device where it was placed, and judge its output.

    The layer is first called on other tokens with another routing, so that what it keeps from call to call is wrong
    for the call that counts; in that one, memory it has not written reads as NaN. x and the plan must come back
    unchanged. Where the question has only a sample of tokens, every element is compared with `trusted`, at twice the
    tolerance because both may be off; without one, the other tokens are only looked at for NaN.
    """
    question = asked.question
    tolerance = tolerance_for(question.dtype)
    y = _run(layer, asked)
    if isinstance(y, GateResult):
        return replace(y, seed=question.seed)
    tokens = question.tokens
    actual = y if tokens is None else y[torch.from_numpy(tokens).to(y.device)]
    result = _judge(actual.cpu(), question.expected, tolerance, question.routing, "the reference", tokens)
    result = replace(result, checked=question.checked, whole=tokens is None, seed=question.seed)
    if result.passed and tokens is not None and trusted is not None:
        return _against_trusted(result, trusted, y, asked, tolerance)
    return result


def _run(layer: Layer, asked: Placed) -> torch.Tensor | GateResult:
    """The output of the call that counts, [T, H] and finite in every element, or why there is none."""
    question, device = asked.question, asked.device
    x, plan = asked.x.clone(), copied(asked.plan)
    widest = max(question.spec.widths)
    try:
        layer(asked.earlier_x.clone(), copied(asked.earlier_plan))
        shapes = [tuple(x.shape), *((plan.rows, columns) for columns in (x.shape[1], widest, 2 * widest))]
        poison_allocator(shapes, x.dtype, device)
        with NaNWhereUninitialized():
            y = layer(x, plan)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except Exception as error:  # whatever an implementation does becomes its record, not the end of the run
        status, reason = status_of(error)
        return GateResult(status, reason)
    reason = _malformed(y, x, question.routing) or _changed(asked, x, plan)
    return GateResult(Status.INCORRECT, reason) if reason else y


def _malformed(y: Any, x: torch.Tensor, routing: Routing) -> str:
    """What is wrong with y before any number is compared; empty when nothing is."""
    if not isinstance(y, torch.Tensor):
        return f"expected a torch tensor, got {type(y).__name__}"
    if y.shape != x.shape:
        return f"expected shape {list(x.shape)}, got {list(y.shape)}"
    if y.dtype != x.dtype or y.device != x.device:
        return f"expected {x.dtype} on {x.device}, got {y.dtype} on {y.device}"
    bad = not_finite(y)
    if bad is None:
        return ""
    count, place = bad
    return f"{float(y[place])} at {_at(place, routing)}; {count} of {y.numel()} elements are not finite"


def _changed(asked: Placed, x: torch.Tensor, plan: DispatchPlan) -> str:
    """Which of its inputs the layer has overwritten; empty when none."""
    given = {"x": (asked.x, x)}
    given |= {f"plan.{f.name}": (getattr(asked.plan, f.name), getattr(plan, f.name)) for f in fields(plan)}
    for name, (before, after) in given.items():
        if not torch.equal(before, after):
            return f"expected {name} to stay as it was, but the call changed it"
    return ""


def _against_trusted(
    result: GateResult, trusted: Trusted, y: torch.Tensor, asked: Placed, tolerance: Tolerance
) -> GateResult:
    """`result` of the sample, or that of the comparison with the trusted layer when this one fails."""
    routing, other = asked.question.routing, asked.said_by(trusted)
    unusable = other if isinstance(other, str) else _malformed(other, asked.x, routing)
    if isinstance(other, str) or unusable:
        return replace(result, checked=f"{result.checked}, the rest only for NaN ({trusted.name}: {unusable})")
    every = _judge(y, other, tolerance.doubled(), routing, trusted.name)
    kept = result if every.passed else replace(every, seed=result.seed)
    return replace(kept, checked=f"{result.checked}, every element against {trusted.name}")


def _judge(
    actual: torch.Tensor,
    expected: torch.Tensor,
    tolerance: Tolerance,
    routing: Routing,
    name: str,
    tokens: NDArray[np.int64] | None = None,
) -> GateResult:
    """Compare finite outputs [rows, H] of the given tokens (all when None) with what `name` says."""
    found, tolerance = difference(actual, expected), tolerance.for_tokens(len(expected))
    where = found.place
    if where is None:
        return GateResult(Status.PASSED, "", found.relative, found.worst)
    if tokens is not None:
        where = (int(tokens[where[0]]), where[1])
    if found.relative <= tolerance.relative and found.worst <= tolerance.worst:
        return GateResult(Status.PASSED, "", found.relative, found.worst, where)
    reason = (
        f"relative error {found.relative:.2g} (allowed {tolerance.relative:.2g}), worst element {found.worst:.2g} rms "
        f"(allowed {tolerance.worst:.2g}) at {_at(where, routing)}: {name} has {found.expected:.6g}, "
        f"got {found.actual:.6g}"
    )
    return GateResult(Status.INCORRECT, reason, found.relative, found.worst, where)


def _at(place: tuple[int, int], routing: Routing) -> str:
    token, column = place
    experts = ", ".join(str(int(expert)) for expert in routing.expert_ids[token])
    return f"token {token}, column {column} (experts {experts})"
