"""The best placement, or the best found in a time limit with a bound on how far it may be from the best."""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..answer import Answer, Solution, one_each
from ..problem import Problem
from .cpsat import solve_cpsat
from .eplb import eplb
from .found import Found
from .greedy import balanced_ranks
from .policy import check_by

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint
    from scipy.sparse import csr_array

SOLVERS = ("highs", "cp-sat")
# HiGHS keeps constraints and integers within 1e-6: its bound is lowered by as much before it counts as proven.
_TOLERANCE = 2e-6


def exact(problem: Problem, by: str = "work", solver: str = "highs", time_limit_s: float = 10.0) -> Answer:
    """Minimise the largest rank's cost over speed as a mixed-integer program.

    Binary x[e, p]: expert e has a copy on rank p; with replicas also y[e, p] <= x[e, p], the share of e's rows that p
    takes. Minimise t with sum_e cost[e] y[e, p] <= speed[p] t, within the slots and memory of every rank. The answer is
    never worse than greedy packing with swaps (without replicas) or eplb (with them), from which it starts. solver:
    "highs" (scipy), or "cp-sat" from OR-tools, the extra `solvers`. The same problem gives the same answer unless
    the time limit cuts the search. Raises ValueError, also where it is proven that no placement keeps the limits.
    """
    check_by("exact", by)
    _check(problem, solver, time_limit_s)
    costs = problem.balanced(by)
    start = _start(problem, by)
    program = _Program(problem, costs)
    found = program.highs(time_limit_s) if solver == "highs" else solve_cpsat(problem, costs, time_limit_s)
    if found.infeasible and start is None:
        raise ValueError(
            f"policy 'exact': expected limits that some placement keeps; {solver} proved that none keeps slots from "
            f"{int(problem.least.min())} to {int(problem.most.max())} and the memory caps"
        )
    candidates = [(_value(answer, costs, problem), answer) for answer in (start, found.answer) if answer is not None]
    if not candidates:
        raise ValueError(f"policy 'exact': expected a placement within {time_limit_s:g} s, and {solver} found none")
    value, answer = min(candidates, key=lambda pair: pair[0])
    bound = min(found.bound, value)
    status = "optimal" if found.optimal else "nothing better" if answer is start else "time limit"
    unit = problem.unit(by)
    return Answer(answer.replicas, answer.shares, "", Solution(solver, status, value, bound, unit, float(time_limit_s)))


def _check(problem: Problem, solver: str, time_limit_s: float) -> None:
    if solver not in SOLVERS:
        raise ValueError(f"policy 'exact': solver: expected one of {', '.join(SOLVERS)}, got {solver!r}")
    if not isinstance(time_limit_s, int | float) or not math.isfinite(time_limit_s) or time_limit_s <= 0:
        raise ValueError(f"policy 'exact': time_limit_s: expected seconds above 0, got {time_limit_s!r}")
    if solver == "cp-sat" and problem.replicas:
        raise ValueError(
            f"policy 'exact': solver cp-sat places every expert once, and {problem.replicas} replicas were asked for; "
            "solver highs places replicas"
        )
    if solver == "cp-sat" and importlib.util.find_spec("ortools") is None:
        raise ValueError("policy 'exact': solver cp-sat needs OR-tools: pip install 'mohge[solvers]'")


def _start(problem: Problem, by: str) -> Answer | None:
    """A good placement to be no worse than, or None where the greedy ways find none."""
    try:
        if problem.replicas:
            return eplb(problem, by=by, mode="global")
        return one_each(balanced_ranks("exact", problem, problem.balanced(by), swaps=True))
    except ValueError:
        return None


def _value(answer: Answer, costs: NDArray[np.float64], problem: Problem) -> float:
    load = np.zeros(problem.ranks)
    for expert, (ranks, shares) in enumerate(zip(answer.replicas, answer.shares, strict=True)):
        load[list(ranks)] += costs[expert] * np.array(shares)
    return float((load / problem.speeds).max())


class _Program:
    """The mixed-integer program for HiGHS. Columns: x[e, p], then y[e, p] where there are replicas, then t."""

    def __init__(self, problem: Problem, costs: NDArray[np.float64]) -> None:
        self.problem, self.costs = problem, costs
        # In units of the mean rank's time, so that t is about 1 whatever FLOPs or seconds are.
        self.unit = float(costs.sum() / problem.speeds.sum())
        self.cells = problem.spec.experts * problem.ranks
        self.shared = problem.replicas > 0
        self.columns = self.cells * (2 if self.shared else 1) + 1

    def highs(self, time_limit_s: float) -> Found:
        from scipy.optimize import Bounds, milp  # half a second to import, for those who solve alone

        lower: Any = np.zeros(self.columns)
        upper: Any = np.concatenate([self._open(), np.ones(self.cells * self.shared), [np.inf]])
        integral = np.zeros(self.columns)
        integral[: self.cells] = 1
        result = milp(
            c=np.append(np.zeros(self.columns - 1), 1.0),
            constraints=self._constraints(),
            bounds=Bounds(lower, upper),
            integrality=integral,
            options={"time_limit": float(time_limit_s), "mip_rel_gap": 0.0},
        )
        bound = result.mip_dual_bound if result.mip_dual_bound is not None else 0.0
        bound = max(bound, 0.0) if math.isfinite(bound) else 0.0
        return Found(
            answer=None if result.x is None else self._answer(result.x),
            bound=bound * self.unit * (1 - _TOLERANCE),
            optimal=result.status == 0,
            infeasible=result.status == 2,
        )

    def _open(self) -> NDArray[np.float64]:
        """Upper bounds of x, float64[E*P]: equal ranks may be renamed, so the i-th dearest may stay on the first i."""
        problem = self.problem
        alike = np.ptp(problem.speeds) == 0 and problem.slots != "given" and np.unique(problem.caps).size == 1
        upper = np.ones((problem.spec.experts, problem.ranks))
        if alike and not self.shared:
            for place, expert in enumerate(np.argsort(-self.costs, kind="stable")[: problem.ranks]):
                upper[expert, place + 1 :] = 0
        return upper.ravel()

    def _constraints(self) -> list[LinearConstraint]:
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        problem, experts, ranks = self.problem, self.problem.spec.experts, self.problem.ranks
        least, most, caps = (cast("Any", limit) for limit in (problem.least, problem.most, problem.caps))
        expert, rank = np.divmod(np.arange(self.cells), ranks)
        cell = np.arange(self.cells)
        taken = cell + self.cells if self.shared else cell

        def rows(
            row: NDArray[np.int64], column: NDArray[np.int64], value: NDArray[np.float64], count: int
        ) -> csr_array:
            return csr_array((value, (row, column)), shape=(count, self.columns))

        ones = np.ones(self.cells)
        last = np.full(ranks, self.columns - 1)
        time = rows(
            np.concatenate([rank, np.arange(ranks)]),
            np.concatenate([taken, last]),
            np.concatenate([self.costs[expert] / self.unit, -problem.speeds]),
            ranks,
        )
        constraints = [
            LinearConstraint(rows(expert, taken, ones, experts), 1.0, 1.0),
            LinearConstraint(rows(rank, cell, ones, ranks), least, most),
            LinearConstraint(time, -np.inf, 0.0),
        ]
        if self.shared:
            total = rows(np.zeros(self.cells, dtype=np.int64), cell, ones, 1)
            constraints.append(LinearConstraint(total, 0 if problem.slots == "any" else problem.copies, problem.copies))
            joint = rows(np.tile(cell, 2), np.append(taken, cell), np.append(ones, -ones), self.cells)
            constraints.append(LinearConstraint(joint, -np.inf, 0.0))
        if problem.capped:
            # In whole units, so that a cap one byte too small is not within the solver's tolerance.
            unit = np.gcd.reduce(problem.sizes)
            sizes = rows(rank, cell, problem.sizes[expert] / unit, ranks)
            constraints.append(LinearConstraint(sizes, -np.inf, np.floor(caps / unit)))
        return constraints

    def _answer(self, x: NDArray[np.float64]) -> Answer:
        shape = (self.problem.spec.experts, self.problem.ranks)
        held = x[: self.cells].reshape(shape) > 0.5
        if not self.shared:
            return one_each(held.argmax(axis=1))
        taken = np.clip(x[self.cells : 2 * self.cells].reshape(shape), 0, 1) * held
        taken /= taken.sum(axis=1, keepdims=True)
        return Answer(
            tuple(tuple(int(rank) for rank in np.flatnonzero(row)) for row in held),
            tuple(tuple(float(share) for share in row[own]) for row, own in zip(taken, held, strict=True)),
        )
