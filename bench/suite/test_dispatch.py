"""Dispatch by itself: making the plan, permuting and combining, on every backend that works here.

A backend is timed when its plan has the reference's integers, its permuted rows have the bits of x, and its combined
rows are within the gate's tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import pytest
import torch

from mohge.bench.gate import difference, tolerance_for
from mohge.bench.plugin.fixture import Work
from mohge.bench.runner.stand_ins import stood_in
from mohge.bench.workloads import Case
from mohge.dispatch import combine, make_plan, on_device, permute, unavailable
from mohge.reference import Permutation, permutation, permute_bytes

# Combined rows of so many tokens are compared with float64, and all others with torch's.
CHECKED_TOKENS = 256


class Rows:
    """A case on a device: the routing, x [T, H], torch's plan and rows [R, H]; and what is wrong with a backend."""

    def __init__(self, case: Case, device: str) -> None:
        self.case, self._inputs = case, case.inputs()
        self._routing = on_device(self._inputs.routing, device)
        self.x = torch.from_numpy(self._inputs.x).to(device, getattr(torch, case.dtype))
        self.plan = make_plan(self._routing, case.spec, backend="torch")
        self.rows = permute(self.x, self.plan, backend="torch")
        self._mistakes: dict[tuple[str, str], str | None] = {}

    @cached_property
    def right(self) -> Permutation:
        """The reference's plan."""
        return permutation(self._inputs.routing, self.case.spec)

    def call(self, operation: str, backend: str) -> Callable[[], Any]:
        """The timed call of "plan", "permute" or "combine"."""
        if operation == "plan":
            return partial(make_plan, self._routing, self.case.spec, backend=backend, validate=False)
        if operation == "permute":
            return partial(permute, self.x, self.plan, backend=backend)
        return partial(combine, self.rows, self.plan, backend=backend)

    def mistake(self, operation: str, backend: str) -> str | None:
        """What is wrong with a backend's result, or None; looked at once."""
        key = (operation, backend)
        if key not in self._mistakes:
            check = {"plan": self._check_plan, "permute": self._check_permuted, "combine": self._check_combined}
            try:
                self._mistakes[key] = check[operation](self.call(operation, backend)())
            except Exception as error:  # whatever a backend does is its own failure
                self._mistakes[key] = f"{type(error).__name__}: {error}"
        return self._mistakes[key]

    def _check_plan(self, plan: Any) -> str | None:
        for name in ("expert_offsets", "row_token", "token_row"):
            if not np.array_equal(getattr(plan, name).cpu().numpy(), getattr(self.right, name)):
                return f"{name} differs from the reference's"
        same = np.array_equal(plan.row_weight.cpu().numpy(), self.right.row_weight.astype(np.float32))
        return None if same else "row_weight differs from the reference's"

    def _check_permuted(self, rows: torch.Tensor) -> str | None:
        expected = self.x[torch.from_numpy(self.right.row_token).to(self.x.device)]
        return None if torch.equal(rows, expected) else "rows differ from those of x"

    def _check_combined(self, y: torch.Tensor) -> str | None:
        tolerance = tolerance_for(self.x.dtype)
        tokens = np.unique(np.linspace(0, self.case.tokens - 1, CHECKED_TOKENS).astype(np.int64))
        picked = torch.from_numpy(self.right.token_row[tokens])
        weights = torch.from_numpy(self.right.row_weight)[picked]
        expected = (weights[..., None] * self.rows[picked.to(y.device)].cpu().double()).sum(dim=1)
        found = difference(y[torch.from_numpy(tokens).to(y.device)].cpu(), expected)
        others = difference(y, combine(self.rows, self.plan, backend="torch"))
        for what, got, allowed in (("float64", found, tolerance), ("torch", others, tolerance.doubled())):
            if not (got.relative <= allowed.relative and got.worst <= allowed.worst):
                return f"relative error {got.relative:.2g} (allowed {allowed.relative:.2g}) against {what}"
        return None


@lru_cache(maxsize=1)
def rows_of(case: Case, device: str) -> Rows:
    """The rows of a case, until the next one is asked for."""
    return Rows(case, device)


def missing(device: str, backend: str) -> str | None:
    """Why a backend has no time on this device, or None."""
    return unavailable(backend, device) or (stood_in(backend) if device == "cpu" else None)


@pytest.mark.parametrize("operation", ["plan", "permute", "combine"])
def test_dispatch(contest: Any, grid: Any, case: str, operation: str, backend: str) -> None:
    """One operation on one backend, measured against the others."""
    rows = rows_of(contest.case, grid.device)
    moved = permute_bytes(contest.case.tokens, contest.case.spec, rows.x.element_size())
    contest.run(
        partial(missing, grid.device),
        partial(rows.mistake, operation),
        partial(rows.call, operation),
        work=Work(moved_bytes=None if operation == "plan" else moved),
    )
