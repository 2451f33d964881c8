"""Bounds and policies against every placement there is, on instances small enough to list them all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from mohge.placement import POLICIES, Placement, Problem, make_problem, place, policies_for
from mohge.reference import LayerSpec

CLOSE = 1 + 1e-9


@dataclass(frozen=True)
class Case:
    """widths: one per group;  per_group: experts in each;  options: of the problem."""

    name: str
    widths: tuple[int, ...]
    per_group: int
    ranks: int
    options: dict[str, Any] = field(default_factory=dict)

    def problems(self, count: int = 6) -> Iterator[Problem]:
        """The same shape with different loads: some skewed, some with idle experts, one with all rows on one expert."""
        spec = LayerSpec(self.name, 2, self.widths, self.per_group, 1, 1)
        for seed in range(count):
            draw = np.random.default_rng([11, seed])
            loads = (draw.pareto(1.0, spec.experts) * 20).astype(int) + draw.integers(0, 3, spec.experts)
            if seed == count - 1:
                loads[:] = 0
            loads[seed % spec.experts] += 5
            yield make_problem(spec, loads, self.ranks, **self.options)


# Bytes in these layers: 2 * 6 * width, so 12, 36 and 60 for the widths 1, 3 and 5.
PLAIN = [
    Case("two widths", (1, 3), 3, 2),
    Case("three ranks", (1, 3), 3, 3),
    Case("odd groups", (1, 3, 5), 2, 2),
    Case("ranks do not divide", (1, 3, 5), 2, 4),
    Case("one width, an odd number of experts", (4,), 7, 3),
    Case("one expert a group", (1, 2, 4, 8), 1, 4),
    Case("one rank", (1, 3), 2, 1),
]
LIMITED = [
    Case("speeds", (1, 3), 3, 2, {"speeds": [1.0, 3.0]}),
    Case("three speeds", (1, 3), 3, 3, {"speeds": [1.0, 0.5, 2.0]}),
    Case("any slots", (1, 3), 3, 3, {"slots": "any"}),
    Case("any slots, speeds", (1, 3), 3, 2, {"slots": "any", "speeds": [4.0, 1.0]}),
    Case("given slots", (1, 3, 5), 2, 3, {"slots": [1, 2, 3]}),
    Case("fewer experts than ranks", (1, 3), 1, 3, {"slots": "any"}),
    Case("tight memory", (1, 3), 3, 2, {"memory_cap": 72}),
    Case("memory for the wide on one rank only", (1, 3), 2, 2, {"memory_cap": [24, 72]}),
    Case("memory for nobody", (1, 3), 2, 2, {"memory_cap": 47}),
    Case("memory, any slots, speeds", (1, 3), 3, 3, {"memory_cap": 60, "slots": "any", "speeds": [1.0, 2.0, 1.0]}),
]
REPLICATED = [
    Case("one replica", (1, 3), 2, 2, {"replicas": 1}),
    Case("as many as there are experts", (1, 3), 2, 2, {"replicas": 4}),
    Case("three ranks and replicas", (1, 3), 2, 3, {"replicas": 2}),
    Case("replicas and speeds", (1, 3), 2, 3, {"replicas": 2, "speeds": [1.0, 2.0, 0.5]}),
    Case("replicas, any slots", (1, 3), 2, 3, {"replicas": 3, "slots": "any"}),
    Case("replicas, given slots", (1, 3), 2, 3, {"replicas": 2, "slots": [3, 2, 1]}),
    Case("replicas and memory", (1, 3), 2, 2, {"replicas": 2, "memory_cap": 84}),
    Case("hot expert everywhere", (2,), 3, 3, {"replicas": 6}),
]
EVERY = [*PLAIN, *LIMITED, *REPLICATED]
by_name = pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)


def holders(problem: Problem) -> np.ndarray:
    """Every way to put experts on ranks that keeps the limits, as bit masks of ranks, int[ways, E]."""
    ranks, experts = problem.ranks, problem.spec.experts
    masks = np.arange(1, 2**ranks) if problem.replicas else 2 ** np.arange(ranks)
    ways = np.array(list(itertools.product(masks, repeat=experts)))
    on_rank = (ways[:, :, None] >> np.arange(ranks)) & 1
    held = on_rank.sum(axis=1)
    copies = held.sum(axis=1)
    keep = copies <= problem.copies if problem.slots == "any" else copies == problem.copies
    keep &= ((held >= problem.least) & (held <= problem.most)).all(axis=1)
    keep &= (np.einsum("wep,e->wp", on_rank, problem.sizes) <= problem.caps).all(axis=1)
    return ways[keep]


def least_time(ways: np.ndarray, costs: np.ndarray, speeds: np.ndarray) -> np.ndarray:
    """The busiest rank's time when each expert's cost is shared among its ranks in the best way, float[ways].

    By the duality of flows and cuts: the largest, over sets of ranks, of what only these ranks hold over their speeds.
    """
    best = np.zeros(len(ways))
    for ranks in range(1, 2 ** len(speeds)):
        inside = (ways & ~ranks) == 0
        speed = sum(speeds[rank] for rank in range(len(speeds)) if ranks >> rank & 1)
        best = np.maximum(best, (inside * costs).sum(axis=1) / speed)
    return best


def attempt(policy: str, problem: Problem) -> Placement | str:
    """The placement, or what the policy says it cannot do."""
    try:
        return place(policy, problem)
    except ValueError as error:
        return str(error)


def check_limits(placement: Placement, problem: Problem) -> None:
    """Every expert somewhere, never twice on a rank, shares that add up, slots and memory kept, work as reported."""
    held, memory, work = np.zeros(problem.ranks, int), np.zeros(problem.ranks), np.zeros(problem.ranks)
    assert len(placement.replicas) == problem.spec.experts
    for expert, (ranks, shares) in enumerate(zip(placement.replicas, placement.shares, strict=True)):
        assert 1 <= len(ranks) == len(set(ranks)) == len(shares)
        assert set(ranks) <= set(range(problem.ranks))
        assert min(shares) >= 0
        assert sum(shares) == pytest.approx(1)
        for rank, share in zip(ranks, shares, strict=True):
            held[rank] += 1
            memory[rank] += problem.sizes[expert]
            work[rank] += problem.work[expert] * share
    assert ((held >= problem.least) & (held <= problem.most)).all()
    assert (memory <= problem.caps).all()
    assert held.sum() <= problem.copies
    assert placement.memory.tolist() == memory.tolist()
    np.testing.assert_allclose(placement.work, work, rtol=1e-12)


@by_name
def test_bound_then_optimum_then_every_policy(case: Case) -> None:
    for problem in case.problems():
        ways = holders(problem)
        best = least_time(ways, problem.work, problem.speeds).min() if len(ways) else np.inf
        able = [name for name, policy in POLICIES.items() if policy.reason(problem) is None and policy.quick]
        for name in able:
            placement = attempt(name, problem)
            if isinstance(placement, str):
                assert placement.startswith(f"policy {name!r}: memory_cap")
                assert problem.capped
                continue
            check_limits(placement, problem)
            reached = (placement.work / problem.speeds).max()
            assert placement.bound <= best * CLOSE
            assert best <= reached * CLOSE
            assert placement.work_over_bound == reached / placement.bound
            if placement.size_bound is not None:
                assert placement.bound <= placement.size_bound <= reached * CLOSE


@pytest.mark.parametrize("solver", ["highs", "cp-sat"])
@by_name
def test_exact_is_the_optimum_and_says_so(case: Case, solver: str) -> None:
    if solver == "cp-sat":
        pytest.importorskip("ortools")
    for problem in case.problems(3):
        if solver == "cp-sat" and problem.replicas:
            with pytest.raises(ValueError, match=r"^policy 'exact': solver cp-sat places every expert once"):
                place("exact", problem, solver=solver)
            continue
        ways = holders(problem)
        if not len(ways):
            with pytest.raises(ValueError, match=rf"^policy 'exact': .*{solver} proved that none keeps"):
                place("exact", problem, solver=solver)
            continue
        placement = place("exact", problem, solver=solver)
        check_limits(placement, problem)
        best = least_time(ways, problem.work, problem.speeds).min()
        assert (placement.work / problem.speeds).max() == pytest.approx(best, rel=1e-6)
        solution = placement.solution
        assert solution is not None
        assert (solution.solver, solution.status, solution.unit) == (solver, "optimal", "FLOPs")
        assert solution.value == pytest.approx(best, rel=1e-6)
        assert solution.bound <= best * CLOSE
        assert solution.bound <= placement.bound <= best * CLOSE
        assert solution.gap == pytest.approx(0, abs=1e-5)


def test_policies_for_is_what_place_takes() -> None:
    for case in EVERY:
        problem = next(case.problems(1))
        able = policies_for(problem.spec, problem.loads, case.ranks, quick=False, **case.options)
        for name in set(POLICIES) - set(able):
            with pytest.raises(ValueError, match=f"^policy '{name}' "):
                place(name, problem)
