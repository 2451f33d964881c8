from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mohge.placement import POLICIES, allocate, lower_bound
from mohge.reference import LayerSpec

SPEC = LayerSpec("tiny", hidden=2, widths=(3, 5), experts_per_group=2, top_k=1, top_groups=1)
LOADS = [4, 0, 1, 3]
KNOWN = "aga, contiguous, one_size_per_rank, round_robin, lpt, eplb, stratified, exact"
COMMON = "dtype_bytes, replicas, slots, speeds, memory_cap, nodes, costs"


def test_costs_of_every_rank_by_hand() -> None:
    placement = allocate("contiguous", SPEC, LOADS, 2)
    assert (placement.policy, placement.spec, placement.ranks) == ("contiguous", "tiny", 2)
    assert placement.rank_of.tolist() == [0, 0, 1, 1]
    assert placement.rows.tolist() == [4, 4]
    assert placement.work.tolist() == [4 * 6 * 2 * 3, 4 * 6 * 2 * 5]
    assert placement.parameters.tolist() == [36, 60]
    assert placement.memory.tolist() == [72, 120]
    assert placement.straggler == 1
    assert placement.rows_max_over_mean == 1.0
    assert placement.work_max_over_mean == 240 / 192
    assert placement.memory_max_over_mean == 120 / 96
    # Work is 144 0 60 180: of the three dearest two must meet, and the cheapest two of them make 204.
    assert placement.bound == lower_bound([144, 0, 60, 180], 2) == 204
    assert placement.work_over_bound == 240 / 204


def test_rows_stay_whole_numbers_and_fractions_stay_fractions() -> None:
    assert allocate("lpt", SPEC, np.array(LOADS, dtype=np.uint8), 2).rows.dtype == np.int64
    halves = allocate("contiguous", SPEC, np.array(LOADS) / 2, 2)
    assert halves.rows.tolist() == [2.0, 2.0]
    assert halves.work.tolist() == [72.0, 120.0]


def test_memory_follows_the_bytes_of_a_parameter() -> None:
    assert allocate("aga", SPEC, LOADS, 2, dtype_bytes=4).memory.tolist() == [4 * 48, 4 * 48]
    assert allocate("aga", SPEC, LOADS, 2, dtype_bytes=1).memory.tolist() == [48, 48]


def test_equal_parameters_are_not_equal_work() -> None:
    placement = allocate("aga", SPEC, [4, 0, 3, 1], 2)  # experts 0 and 2 share a rank: work 144 + 180 of 384
    assert placement.memory_max_over_mean == 1.0
    assert placement.work_max_over_mean == 324 / 192
    assert placement.straggler == 0


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {"one_size_per_rank"}))
def test_one_rank_and_one_expert_a_rank(policy: str) -> None:
    alone = allocate(policy, SPEC, LOADS, 1)
    assert alone.rank_of.tolist() == [0] * 4
    assert alone.work_over_bound == alone.work_max_over_mean == 1.0
    spread = allocate(policy, SPEC, LOADS, 4)
    assert sorted(spread.rank_of.tolist()) == [0, 1, 2, 3]
    assert spread.work_over_bound == 1.0


def test_placing_changes_neither_loads_nor_their_order() -> None:
    loads = np.array(LOADS)
    allocate("lpt", SPEC, loads, 2)
    assert loads.tolist() == LOADS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": "lptt"}, f"unknown policy 'lptt'; did you mean 'lpt'? Known: {KNOWN}"),
        ({"policy": "xyz"}, f"unknown policy 'xyz'. Known: {KNOWN}"),
        ({"by": "rows"}, f"policy 'aga': unknown option 'by'; it takes {COMMON}"),
        ({"policy": "lpt", "bye": 1}, f"policy 'lpt': unknown option 'bye'; it takes {COMMON}, by, swaps"),
        ({"policy": "lpt", "by": "tokens"}, "policy 'lpt': by: expected one of work, rows, got 'tokens'"),
        ({"loads": [1, 2, 3]}, "loads: expected one number for each of 4 experts, got shape [3]"),
        ({"loads": [[1, 2, 3, 4]]}, "loads: expected one number for each of 4 experts, got shape [1, 4]"),
        ({"loads": [1, 2, -3, 4]}, "loads: expected finite numbers of at least 0, got -3 for expert 2"),
        ({"loads": [1, 2, 3, np.nan]}, "loads: expected finite numbers of at least 0, got nan for expert 3"),
        ({"loads": [np.inf, 2, 3, 4]}, "loads: expected finite numbers of at least 0, got inf for expert 0"),
        ({"loads": [0, 0, 0, 0]}, "loads: expected rows for at least one expert, got only zeros"),
        ({"loads": ["a", "b", "c", "d"]}, "loads: expected numbers, got <U1"),
        ({"ranks": 0}, "ranks: expected a whole number of at least 1, got 0"),
        ({"ranks": -2}, "ranks: expected a whole number of at least 1, got -2"),
        ({"ranks": 2.0}, "ranks: expected a whole number of at least 1, got 2.0"),
        ({"ranks": 5}, "ranks: expected at most 4 (one expert each), got 5"),
        ({"dtype_bytes": 0}, "dtype_bytes: expected a whole number of at least 1, got 0"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"policy": "aga", "spec": SPEC, "loads": LOADS, "ranks": 2}
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        allocate(**{**arguments, **change})
    assert str(error.value) == message
