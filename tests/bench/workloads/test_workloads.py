"""Every named workload gives a valid routing with the counts it promises, repeatably."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mohge.bench.workloads import DISTRIBUTIONS, Case, Workload, hidden_states, parse_routing, routing_counts
from mohge.reference import PRESETS, LayerSpec, Router, check_routing, route

SPEC = LayerSpec("small", hidden=6, widths=(3, 5, 7, 9), experts_per_group=4, top_k=3, top_groups=2)
ONE = LayerSpec("one", hidden=4, widths=(5,), experts_per_group=1, top_k=1, top_groups=1)
ALL = LayerSpec("all", hidden=4, widths=(5,), experts_per_group=4, top_k=4, top_groups=1)


def counts_of(text: str, tokens: int = 101, seed: int = 0, step: int = 0, spec: LayerSpec = SPEC) -> np.ndarray:
    return routing_counts(parse_routing(text).routing(spec, tokens, seed, step), spec.experts)


@pytest.mark.parametrize("tokens", [0, 1, 2, 101])
@pytest.mark.parametrize("text", ["router", *DISTRIBUTIONS])
def test_every_workload_gives_a_valid_routing(text: str, tokens: int) -> None:
    routing = parse_routing(text).routing(SPEC, tokens, seed=3, step=2)
    check_routing(routing, SPEC)
    assert routing.expert_ids.shape == routing.weights.shape == (tokens, SPEC.top_k)
    assert routing.expert_ids.dtype == np.int64
    assert routing.weights.dtype == np.float32
    np.testing.assert_allclose(routing.weights.sum(axis=1), 1, rtol=1e-6)
    assert routing_counts(routing, SPEC.experts).sum() == tokens * SPEC.top_k


@pytest.mark.parametrize("text", DISTRIBUTIONS)
@pytest.mark.parametrize("preset", PRESETS)
def test_defaults_fit_every_preset(preset: str, text: str) -> None:
    spec = LayerSpec.preset(preset)
    routing = parse_routing(text).routing(replace(spec, hidden=4), 8, step=7)
    assert routing_counts(routing, spec.experts).sum() == 8 * spec.top_k


@pytest.mark.parametrize("text", ["router", *DISTRIBUTIONS])
def test_seed_and_step_decide_the_routing(text: str) -> None:
    def ids(seed: int, step: int) -> list[list[int]]:
        return parse_routing(text).routing(SPEC, 50, seed, step).expert_ids.tolist()

    assert ids(1, 1) == ids(1, 1)
    assert ids(1, 1) != ids(2, 1)
    assert ids(1, 1) != ids(1, 2)


def test_routings_do_not_depend_on_the_process() -> None:
    code = (
        "from mohge.reference import LayerSpec; from mohge.bench.workloads import parse_routing\n"
        "spec = LayerSpec('s', hidden=6, widths=(3, 5), experts_per_group=4, top_k=3, top_groups=2)\n"
        "print(parse_routing('zipf:1.1').routing(spec, 5, 1, 2).expert_ids.tolist())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(runs) == 1
    assert runs.pop().startswith("[[")


def test_uniform_differs_by_at_most_a_row() -> None:
    assert np.ptp(counts_of("uniform")) <= 1


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.2])
def test_zipf_follows_its_exponent(exponent: float) -> None:
    counts = np.sort(counts_of(f"zipf:{exponent}", tokens=100_000))[::-1]
    expected = np.arange(1, SPEC.experts + 1) ** -exponent
    expected *= 300_000 / expected.sum()
    if expected[0] > 100_000:  # the most popular is held at a row for every token, the others share the rest
        expected[1:] *= 200_000 / expected[1:].sum()
        expected[0] = 100_000
    np.testing.assert_allclose(counts, expected, atol=1.01)


def test_zipf_without_room_saturates_the_most_popular() -> None:
    # Of the 101 rows the two most popular leave, the third would get 3^-10 / (3^-10 + 4^-10 + ...) = 94 %.
    assert np.sort(counts_of("zipf:10"))[::-1][:3].tolist() in ([101, 101, 94], [101, 101, 95])


def test_hot_set_gets_its_share() -> None:
    counts = counts_of("hot_set:0.25,0.8")
    hot = np.sort(counts)[::-1][:4]
    assert hot.sum() == round(0.8 * 303)
    assert np.ptp(hot) <= 1
    assert np.array_equal(np.argsort(-counts)[:4].sum(), np.argsort(-counts_of("hot_set:0.25,0.8", step=5))[:4].sum())


@pytest.mark.parametrize("rank", [0, 3])
def test_hot_rank_heats_one_contiguous_block(rank: int) -> None:
    counts = counts_of(f"hot_rank:4,0.9,{rank}").reshape(4, 4).sum(axis=1)
    assert counts[rank] == round(0.9 * 303)
    assert np.ptp(np.delete(counts, rank)) <= 4


@pytest.mark.parametrize("spec", [SPEC, ONE, ALL], ids=lambda spec: spec.name)
def test_one_expert_is_in_slot_0_of_every_token(spec: LayerSpec) -> None:
    expert = spec.experts - 1
    routing = parse_routing(f"one_expert:{expert}").routing(spec, 31)
    assert (routing.expert_ids[:, 0] == expert).all()
    counts = routing_counts(routing, spec.experts)
    assert counts[expert] == 31
    assert counts.sum() == 31 * spec.top_k
    assert np.ptp(np.delete(counts, expert)) <= 1 if spec.experts > 1 else True


def test_empty_experts_stay_empty_at_every_step() -> None:
    empty = [frozenset(np.flatnonzero(counts_of("empty_experts:5", step=step) == 0)) for step in range(3)]
    assert len(empty[0]) == 5
    assert set(empty) == {empty[0]}
    assert np.ptp(counts_of("empty_experts:5")[counts_of("empty_experts:5") > 0]) <= 1


def test_rotating_visits_all_experts_in_turn() -> None:
    hot = [frozenset(np.argsort(-counts_of("rotating:0.25,0.8", step=step))[:4].tolist()) for step in range(5)]
    assert frozenset().union(*hot[:4]) == frozenset(range(16))
    assert hot[4] == hot[0]


def test_bursts_come_once_a_period() -> None:
    spread = [np.ptp(counts_of("burst:4,0.25,0.8", step=step)) > 1 for step in range(9)]
    assert spread == [False, False, False, True, False, False, False, True, False]


def test_the_router_is_the_reference_on_the_same_hidden_states() -> None:
    inputs = parse_routing("router").inputs(SPEC, 33, seed=2, step=1)
    expected = route(inputs.x, Router.random(SPEC, 2), SPEC)
    np.testing.assert_array_equal(inputs.routing.expert_ids, expected.expert_ids)
    np.testing.assert_allclose(inputs.routing.weights, expected.weights, rtol=1e-6)
    np.testing.assert_array_equal(inputs.x, hidden_states(SPEC, 33, 2, 1))
    np.testing.assert_array_equal(inputs.x, parse_routing("uniform").inputs(SPEC, 33, 2, 1).x)
    assert inputs.x.dtype == np.float32


@pytest.mark.parametrize(
    "text", ["router", "uniform", "zipf:1.2", "hot_rank:8,0.25,3", "burst:4,0.25,0.8", "one_expert:2"]
)
def test_a_name_reads_back(text: str) -> None:
    assert parse_routing(text).name == text
    assert parse_routing(parse_routing(text).name) == parse_routing(text)


def test_numbers_left_out_take_their_defaults() -> None:
    assert parse_routing("hot_rank").name == "hot_rank:4,0.5,0"
    assert parse_routing("hot_rank:8").name == "hot_rank:8,0.5,0"
    assert parse_routing(" zipf ").name == "zipf:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zip", r"unknown routing 'zip'; did you mean 'zipf'\?"),
        ("", "unknown routing ''. Known: router, uniform"),
        ("uniform:1", "'uniform': expected no numbers after the colon"),
        ("router:1", "'router': expected no numbers"),
        ("zipf:", "expected exponent to be a number, got ''"),
        ("zipf:x", "expected exponent to be a number, got 'x'"),
        ("zipf:nan", "expected exponent to be finite"),
        ("zipf:1,2", "'zipf': expected exponent after the colon, got '1,2'"),
        ("trace", "expected a trace file, got none"),
    ],
)
def test_text_that_is_no_routing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_routing(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zipf:-1", "expected an exponent from 0 to 10"),
        ("hot_set:0,0.5", "expected a fraction of the experts above 0"),
        ("hot_set:0.25,1.5", "expected a share from 0 to 1"),
        ("hot_set:0.125,0.8", "2 of 16 experts can have a share from 0 to 0.667 of the rows when a token uses 3"),
        ("hot_set:0.9,0.1", "14 of 16 experts can have a share from 0.333 to 1"),
        ("hot_rank:3", "expected a number of ranks that divides 16 experts, got 3"),
        ("hot_rank:4,0.5,4", "expected a rank from 0 to 3, got 4"),
        ("hot_rank:2.5", "expected ranks to be a whole number"),
        ("one_expert:16", "expected an expert from 0 to 15, got 16"),
        ("empty_experts:14", "expected at most 13"),
        ("burst:0", "expected period to be a whole number, at least 1"),
    ],
)
def test_a_promise_that_cannot_be_kept_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_routing(text).routing(SPEC, 10)


@pytest.mark.parametrize("bad", [{"tokens": -1}, {"tokens": 1.5}, {"seed": -1}, {"step": True}])
def test_numbers_of_a_case_are_checked(bad: dict) -> None:
    with pytest.raises(ValueError, match="expected a whole number, at least 0"):
        parse_routing("uniform").routing(SPEC, **{"tokens": 3, **bad})


def test_a_workload_made_by_hand_is_checked() -> None:
    with pytest.raises(ValueError, match="zipf: expected 1 numbers, got 0"):
        Workload("zipf")
    with pytest.raises(ValueError, match="a trace goes with the routing 'trace'"):
        Workload("trace")


def test_cases_have_ids_that_tell_everything_apart() -> None:
    case = Case(SPEC, 64, parse_routing("zipf:1.2"))
    others = [
        replace(case, spec=replace(SPEC, hidden=7)),
        replace(case, tokens=65),
        replace(case, workload=parse_routing("uniform")),
        replace(case, dtype="bfloat16"),
        replace(case, device="cuda"),
        replace(case, seed=1),
        replace(case, step=1),
    ]
    assert len({case.case_id, *(other.case_id for other in others)}) == 8
    assert case.case_id == "small-t64-zipf_1.2-float32-cpu-" + case.case_id[-8:]
    assert case.case_id == Case(SPEC, np.int64(64), parse_routing("zipf:1.2")).case_id  # type: ignore[arg-type]


def test_a_case_becomes_a_record() -> None:
    record = Case(SPEC, 64, parse_routing("zipf:1.2"), seed=3).to_record()
    assert (record.spec, record.tokens, record.routing, record.dtype, record.device) == (
        "small",
        64,
        "zipf:1.2",
        "float32",
        "cpu",
    )
    assert LayerSpec.from_dict(record.layer) == SPEC


@pytest.mark.parametrize("bad", [{"dtype": "float64"}, {"device": "tpu"}, {"tokens": -1}])
def test_an_impossible_case_is_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(Case(SPEC, 64, parse_routing("uniform")), **bad)
