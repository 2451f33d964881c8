"""The exact placement by OR-tools' CP-SAT, an optional extra; imported only when it is asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..answer import one_each
from ..problem import Problem
from .found import Found

# Costs become whole numbers of 1 / 2**40 of the busiest rank's greatest possible time, rounded down.
_SCALE = 2**40


def solve_cpsat(problem: Problem, costs: NDArray[np.float64], time_limit_s: float) -> Found:
    """Minimise the largest rank's cost over speed, every expert on one rank.

    costs float64[E]. Costs are rounded down to whole numbers, so the bound holds for the true ones. One worker with a
    fixed seed: the same problem gives the same answer unless the time limit cuts the search.
    """
    from ortools.sat.python import cp_model  # pyright: ignore[reportMissingImports]

    experts, ranks = problem.spec.experts, problem.ranks
    times = costs[:, None] / problem.speeds[None, :]
    unit = float(costs.sum() / problem.speeds.min()) / _SCALE
    whole = np.floor(times / unit).astype(np.int64)
    model = cp_model.CpModel()
    x = [[model.new_bool_var(f"x_{expert}_{rank}") for rank in range(ranks)] for expert in range(experts)]
    latest = model.new_int_var(0, _SCALE, "latest")
    for expert in range(experts):
        model.add_exactly_one(x[expert])
    for rank in range(ranks):
        mine = [x[expert][rank] for expert in range(experts)]
        model.add_linear_constraint(sum(mine), int(problem.least[rank]), int(problem.most[rank]))
        model.add(sum(int(whole[expert, rank]) * mine[expert] for expert in range(experts)) <= latest)
        if np.isfinite(problem.caps[rank]):
            size = sum(int(problem.sizes[expert]) * mine[expert] for expert in range(experts))
            model.add(size <= int(problem.caps[rank]))
    model.minimize(latest)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = float(time_limit_s)
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    status = solver.solve(model)
    answer = None
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        answer = one_each(
            np.array([next(r for r in range(ranks) if solver.boolean_value(row[r])) for row in x], dtype=np.int64)
        )
    return Found(
        answer=answer,
        bound=max(float(solver.best_objective_bound), 0.0) * unit if status != cp_model.INFEASIBLE else 0.0,
        optimal=status == cp_model.OPTIMAL,
        infeasible=status == cp_model.INFEASIBLE,
    )
