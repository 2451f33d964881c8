from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from mohge.placement import POLICIES, allocate, make_problem, place, rescore
from mohge.reference import LayerSpec

MOHGE = LayerSpec.preset("mohge-3b")
QUICK: dict[str, dict[str, Any]] = {"exact": {"time_limit_s": 0.5}}  # the search is not what is tested


def layer(widths: tuple[int, ...], per_group: int) -> LayerSpec:
    return LayerSpec("layer", 4, widths, per_group, 1, 1)


def experts_of(rank_of: np.ndarray, rank: int) -> list[int]:
    return np.flatnonzero(rank_of == rank).tolist()


def placed(policy: str, spec: LayerSpec, ranks: int) -> np.ndarray:
    return allocate(policy, spec, np.ones(spec.experts), ranks).rank_of


def test_aga_by_hand() -> None:
    # [G, N] = [4, 2] laid out as [N, G'], groups in the order 0, 3, 1, 2: experts 0 6 2 4 | 1 7 3 5.
    spec = layer((1, 2, 3, 4), 2)
    assert placed("aga", spec, 2).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert [experts_of(placed("aga", spec, 4), rank) for rank in range(4)] == [[0, 6], [2, 4], [1, 7], [3, 5]]
    assert [experts_of(placed("aga", spec, 8), rank) for rank in range(8)] == [[0], [6], [2], [4], [1], [7], [3], [5]]


@pytest.mark.parametrize(
    ("groups", "order"),
    [(1, [0]), (2, [0, 1]), (3, [0, 2, 1]), (5, [0, 4, 1, 3, 2]), (8, [0, 7, 1, 6, 2, 5, 3, 4])],
)
def test_aga_takes_groups_narrow_next_to_wide_and_the_middle_one_last(groups: int, order: list[int]) -> None:
    rank_of = placed("aga", layer(tuple(range(1, groups + 1)), 1), groups)
    assert [experts_of(rank_of, rank) for rank in range(groups)] == [[group] for group in order]


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_aga_gives_every_rank_the_same_mix_of_widths(ranks: int) -> None:
    rank_of = placed("aga", MOHGE, ranks)
    for rank in range(ranks):
        assert sorted(MOHGE.expert_widths[rank_of == rank]) == sorted([*MOHGE.widths] * (8 // ranks))


@pytest.mark.parametrize("ranks", [16, 32])
def test_aga_beyond_n_ranks_pairs_widths_of_one_sum(ranks: int) -> None:
    rank_of = placed("aga", MOHGE, ranks)
    sums = [MOHGE.expert_widths[rank_of == rank].sum() for rank in range(ranks)]
    assert sums == [(384 + 1280) * 32 // ranks] * ranks


def test_aga_where_ranks_do_not_divide_experts() -> None:
    # Layout 0 4 2 | 1 5 3 over 4 ranks: chunks of 2, 2, 1, 1.
    placement = allocate("aga", layer((1, 2, 3), 2), np.ones(6), 4)
    assert [experts_of(placement.rank_of, rank) for rank in range(4)] == [[0, 4], [1, 2], [5], [3]]
    odd = "3 groups are odd in number: group 1 has no partner and comes last"
    assert placement.note == f"{odd}; 4 ranks do not divide 6 experts: 2 hold 2, 2 hold 1"
    assert allocate("aga", layer((1, 2, 3), 2), np.ones(6), 3).note == odd
    assert allocate("aga", layer((1, 2), 3), np.ones(6), 3).note == ""


def test_contiguous_and_round_robin_by_hand() -> None:
    spec = layer((1, 2, 3, 4), 2)
    assert placed("contiguous", spec, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert placed("contiguous", spec, 3).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert placed("round_robin", spec, 3).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_lpt_by_hand() -> None:
    # Work in units of one width: 8 6 5 4 3 1. Dearest first: 8 | 6, 5 | 6 is full after 5 + 6, so 4 joins 8.
    spec = layer((1,), 6)
    loads = np.array([1, 8, 6, 5, 4, 3])
    placement = allocate("lpt", spec, loads, 2)
    assert [experts_of(placement.rank_of, rank) for rank in range(2)] == [[0, 1, 4], [2, 3, 5]]
    assert placement.rows.tolist() == [13, 14]


def test_lpt_counts_work_unless_told_to_count_rows() -> None:
    spec = layer((1, 10), 2)
    loads = np.array([9, 8, 3, 2])
    assert allocate("lpt", spec, loads, 2).rank_of.tolist() == [1, 0, 0, 1]  # work 9 8 30 20
    assert allocate("lpt", spec, loads, 2, by="rows").rank_of.tolist() == [0, 1, 1, 0]  # rows 9 8 3 2


def test_lpt_ties_go_to_the_lower_expert_and_rank() -> None:
    assert placed("lpt", layer((3,), 6), 3).tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("widths", "per_group", "ranks"),
    [
        ((1, 2, 3, 4), 2, 3),
        ((5,), 7, 2),
        ((1, 2, 3), 3, 9),
        ((2, 4, 8, 16, 32), 3, 4),
        ((7,), 9, 4),
        ((7,), 1, 1),
        ((1, 9), 5, 6),
    ],
)
@pytest.mark.parametrize("loads", ["random", "one expert", "zero but the last"])
def test_every_expert_once_and_counts_within_one(
    policy: str, widths: tuple[int, ...], per_group: int, ranks: int, loads: str
) -> None:
    spec = layer(widths, per_group)
    rows = np.zeros(spec.experts, dtype=int)
    if loads == "random":
        rows = np.random.default_rng(spec.experts).integers(0, 100, spec.experts) + 1
    rows[0 if loads == "one expert" else -1] += 50
    problem = make_problem(spec, rows, ranks)
    reason = POLICIES[policy].reason(problem)
    if reason is not None:
        with pytest.raises(ValueError, match=f"^policy '{policy}' needs a whole number of ranks for every width"):
            place(policy, problem)
        return
    rank_of = place(policy, problem).rank_of
    assert rank_of.shape == (spec.experts,)
    assert rank_of.dtype == np.int64
    held = np.bincount(rank_of, minlength=ranks)
    assert len(held) == ranks
    assert held.max() - held.min() <= 1


def test_one_size_per_rank_by_hand() -> None:
    # Of six experts four are 1 wide and two 2 wide: two of three ranks and one.
    spec = LayerSpec("layer", 4, (1, 2, 1), 2, 1, 1)
    assert placed("one_size_per_rank", spec, 3).tolist() == [0, 0, 2, 2, 1, 1]
    widths = {len(set(MOHGE.expert_widths[placed("one_size_per_rank", MOHGE, 16) == rank])) for rank in range(16)}
    assert widths == {1}


def test_stratified_by_hand() -> None:
    # Work 9 1 | 8 6: every rank one expert of each width, so 9 meets 6.
    spec = layer((1, 2), 2)
    assert allocate("stratified", spec, [9, 1, 4, 3], 2).rank_of.tolist() == [0, 1, 1, 0]


def test_eplb_by_hand() -> None:
    # 12 4 4 and one replica: the hottest is halved, 6 6 4 4, and its copies are put on both ranks.
    placement = allocate("eplb", layer((1,), 3), [12, 4, 4], 2, replicas=1)
    assert placement.rank_of == [[0, 1], [0], [1]]
    assert placement.shares == ((0.5, 0.5), (1.0,), (1.0,))
    assert placement.rows.tolist() == [10.0, 10.0]
    assert placement.held == ((0, 1), (0, 2))
    assert placement.replicated
    assert placement.work_over_bound == 1.0
    assert placement.memory.tolist() == [2 * 24, 2 * 24]


def test_eplb_counts_rows_as_the_original_does_unless_told_to_count_work() -> None:
    spec = layer((1, 10), 2)
    loads = [20, 8, 9, 3]  # work 20 8 90 30
    assert allocate("eplb", spec, loads, 2, slots="any", replicas=1).replicas[0] == (0, 1)
    assert allocate("eplb", spec, loads, 2, slots="any", replicas=1, by="work").replicas[2] == (0, 1)


def test_eplb_keeps_groups_on_a_node_where_it_can_and_says_where_not() -> None:
    spec, loads = layer((1, 2, 3, 4), 4), np.arange(16) + 1
    placement = allocate("eplb", spec, loads, 8, nodes=2)
    for group in range(4):
        assert len({rank // 4 for ranks in placement.replicas[4 * group : 4 * group + 4] for rank in ranks}) == 1
    assert placement.note == "groups stay on one of 2 nodes"
    spread = allocate("eplb", spec, loads, 6, nodes=3)
    assert spread.note.startswith("global, because 3 nodes do not divide 4 groups")
    assert allocate("eplb", spec, loads, 8, nodes=2, mode="global").note == ""
    assert allocate("eplb", spec, loads, 8).note == ""


def test_costs_replace_rows_and_work() -> None:
    spec, loads = layer((1,), 4), [1, 1, 1, 1]
    for policy in ("lpt", "stratified", "eplb", "exact"):
        rank_of = allocate(policy, spec, loads, 2, costs=[5.0, 5.0, 1.0, 1.0]).rank_of
        assert rank_of[0] != rank_of[1], policy
        assert rank_of[2] != rank_of[3], policy
    placement = allocate("exact", spec, loads, 2, costs=[5.0, 5.0, 1.0, 1.0])
    solution = placement.solution
    assert solution is not None
    assert placement.cost is not None
    assert placement.cost.tolist() == [6.0, 6.0]
    assert placement.cost_bound == 6.0
    assert (placement.bound, placement.work.max()) == (48.0, 48.0)
    assert allocate("lpt", spec, loads, 2).cost is None
    assert (solution.unit, solution.value, solution.status) == ("cost", 6.0, "optimal")


@pytest.mark.parametrize("policy", ["lpt", "eplb", "exact"])
def test_a_faster_rank_gets_more_work(policy: str) -> None:
    spec, loads = layer((1,), 8), np.full(8, 10)
    placement = allocate(policy, spec, loads, 2, speeds=[1.0, 3.0], slots="any")
    assert placement.rows.tolist() == [20, 60]
    assert placement.work_over_bound == 1.0
    assert placement.straggler == 0


@pytest.mark.parametrize("policy", ["aga", "contiguous", "lpt", "eplb", "stratified", "exact"])
def test_given_slots_are_filled(policy: str) -> None:
    placement = allocate(policy, MOHGE, np.arange(64) + 1, 4, slots=[10, 14, 20, 20], **QUICK.get(policy, {}))
    assert [len(held) for held in placement.held] == [10, 14, 20, 20]


@pytest.mark.parametrize("policy", POLICIES)
def test_problems_and_placements_travel_and_come_out_the_same(policy: str) -> None:
    """Worker processes get problems and give placements, and nothing depends on what ran before."""
    problem = make_problem(layer((1, 2), 4), [5, 3, 8, 1, 9, 2, 2, 7], 2)
    placement = place(policy, problem)
    again = pickle.loads(pickle.dumps(place(policy, pickle.loads(pickle.dumps(problem)))))
    assert again.replicas == placement.replicas
    assert again.work.tolist() == placement.work.tolist()
    assert again.bound == placement.bound
    assert pickle.loads(pickle.dumps(POLICIES[policy])).function is POLICIES[policy].function


def test_place_takes_the_options_of_the_policy_alone() -> None:
    problem = make_problem(layer((1, 2), 4), np.ones(8), 2)
    with pytest.raises(
        ValueError, match=r"^policy 'lpt': unknown option 'replicas'; beside the problem it takes by, swaps$"
    ):
        place("lpt", problem, replicas=2)


def test_new_loads_on_the_same_ranks() -> None:
    spec = layer((1,), 3)
    placement = allocate("eplb", spec, [12, 4, 4], 2, replicas=1)
    later = rescore(placement, [4, 12, 4])
    assert (later.replicas, later.shares) == (placement.replicas, placement.shares)
    assert later.rows.tolist() == [14.0, 6.0]
    assert later.bound == placement.bound


def test_the_table_names_every_policy_after_itself() -> None:
    names = ["aga", "contiguous", "one_size_per_rank", "round_robin", "lpt", "eplb", "stratified", "exact"]
    assert list(POLICIES) == names
    assert all(policy.name == name and policy.description for name, policy in POLICIES.items())
    assert [name for name, policy in POLICIES.items() if not policy.quick] == ["exact"]
