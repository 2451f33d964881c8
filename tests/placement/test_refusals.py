"""What a policy cannot do is an error that names the policy and the reason."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from mohge.placement import allocate
from mohge.reference import LayerSpec


def layer(widths: tuple[int, ...], per_group: int) -> LayerSpec:
    return LayerSpec("layer", 4, widths, per_group, 1, 1)


@dataclass(frozen=True)
class Refusal:
    policy: str
    options: dict[str, Any]
    message: str
    ranks: int = 2


REFUSALS = [
    *(
        Refusal(policy, {"replicas": 2}, "places every expert once, and 2 replicas were asked for")
        for policy in ("aga", "contiguous", "one_size_per_rank", "round_robin", "lpt", "stratified")
    ),
    Refusal("one_size_per_rank", {}, "needs a whole number of ranks for every width", ranks=3),
    Refusal("one_size_per_rank", {"slots": [3, 5]}, "fills every rank with its share of one width"),
    Refusal("round_robin", {"slots": [3, 5]}, "deals experts to the ranks in turn, and the slots"),
    *(
        Refusal(policy, {"memory_cap": 143}, "memory_cap: expected ")  # 12 and 24 bytes an expert, 144 in all
        for policy in ("aga", "contiguous", "one_size_per_rank", "round_robin", "lpt", "stratified")
    ),
    Refusal("contiguous", {"memory_cap": 160}, "memory_cap: expected at most 160 bytes of experts on rank 1, got 192"),
    Refusal("eplb", {"memory_cap": 143}, "memory_cap, slots: expected room for 8 copies"),
    Refusal("eplb", {"mode": "hierarchical", "nodes": 2, "replicas": 1}, "mode hierarchical: 2 ranks do not divide 9"),
    Refusal("eplb", {"groups": 3}, "groups: expected a number that divides 8 experts, got 3"),
    Refusal("eplb", {"mode": "local"}, "mode: expected one of auto, hierarchical, global, got 'local'"),
    Refusal("exact", {"memory_cap": 143}, "expected limits that some placement keeps; highs proved that none keeps"),
    Refusal("exact", {"solver": "cplex"}, "solver: expected one of highs, cp-sat, got 'cplex'"),
    Refusal("exact", {"time_limit_s": 0}, "time_limit_s: expected seconds above 0, got 0"),
    Refusal("exact", {"solver": "cp-sat", "replicas": 1}, "solver cp-sat places every expert once, and 1 replicas"),
    Refusal("stratified", {"by": "tokens"}, "by: expected one of work, rows, got 'tokens'"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: f"{refusal.policy} {refusal.message[:20]}")
def test_a_refusal_names_the_policy_and_the_reason(refusal: Refusal) -> None:
    spec, loads = layer((1, 2), 4), np.arange(8) + 1
    with pytest.raises(ValueError, match=rf"^policy '{refusal.policy}':? {re.escape(refusal.message)}"):
        allocate(refusal.policy, spec, loads, refusal.ranks, **refusal.options)


@pytest.mark.parametrize("solver", ["highs", "cp-sat"])
def test_a_cap_one_byte_too_small_is_too_small_however_large_experts_are(solver: str) -> None:
    if solver == "cp-sat":
        pytest.importorskip("ortools")
    spec = LayerSpec("large", 2**20, (1, 3), 2, 1, 1)
    half = 2 * 3 * 2**20 * 4  # bytes of a narrow and a wide expert
    found = allocate("exact", spec, [1, 1, 1, 1], 2, memory_cap=half, solver=solver)
    assert found.memory.tolist() == [half, half]
    with pytest.raises(ValueError, match=f"^policy 'exact': expected limits .*; {solver} proved that none keeps"):
        allocate("exact", spec, [1, 1, 1, 1], 2, memory_cap=half - 1, solver=solver)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"^policy 'exact': solver cp-sat needs OR-tools: pip install 'mohge\[solvers\]'$"
    ):
        allocate("exact", layer((1, 2), 4), np.ones(8), 2, solver="cp-sat")


@pytest.mark.parametrize("options", [{"slots": "some"}, {"slots": [1, 2]}, {"slots": [9, -1]}, {"speeds": [1.0, 0.0]}])
def test_bad_options_of_the_problem_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(options))}: expected "):
        allocate("lpt", layer((1, 2), 4), np.ones(8), 2, **options)
