"""Runs against runs, implementations against each other: what is matched, refused, warned of, left out, decided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mohge.bench.comparison import Options, Verdict, compare_implementations, compare_runs
from mohge.bench.records import Clocks, Environment, GitRecord, Provenance, Status


@pytest.fixture
def three(build: Any) -> dict[str, list[float]]:
    """Three implementations in quiet rounds."""
    return {
        name: build.noisy(median, seed, spread=0.004)
        for seed, (name, median) in enumerate([("padded_bmm", 300), ("torch_loop", 200), ("triton", 100)])
    }


# --- two implementations of one run


@pytest.mark.parametrize(
    ("factor", "spread", "expected"),
    [
        (1.0, 0.01, Verdict.SAME),
        (1.05, 0.01, Verdict.SLOWER),
        (0.95, 0.01, Verdict.FASTER),
        (1.0, 0.2, Verdict.UNDECIDED),
    ],
)
def test_all_four_verdicts(factor: float, spread: float, expected: Verdict, build: Any) -> None:
    run = build.run_of({"a": build.noisy(100, 0, spread=spread), "b": build.noisy(100 * factor, 1, spread=spread)})
    (row,) = compare_implementations([run], "a", "b").rows
    assert row.verdict is expected
    assert row.implementation == "b against a"
    assert row.ratio.low <= row.ratio.value <= row.ratio.high
    assert row.samples == (100, 100)
    assert row.b_us / row.a_us == pytest.approx(row.ratio.value)
    assert (row.more_samples is not None) == (expected is Verdict.UNDECIDED)


def test_a_drift_of_the_machine_does_not_hide_a_difference(build: Any) -> None:
    drift = [1 + 0.5 * place / 200 for place in range(200)]
    series = {
        "a": [v * d for v, d in zip(build.noisy(100, 0, 200, 0.003), drift, strict=True)],
        "b": [v * d for v, d in zip(build.noisy(105, 1, 200, 0.003), drift, strict=True)],
    }
    assert compare_implementations([build.run_of(series)], "a", "b").rows[0].verdict is Verdict.SLOWER


def test_several_runs_of_both_implementations(build: Any) -> None:
    runs = [build.run_of({"a": build.noisy(100, i), "b": build.noisy(110, 9 + i)}) for i in range(3)]
    result = compare_implementations(runs, "a", "b")
    assert result.rows[0].verdict is Verdict.SLOWER
    assert result.rows[0].samples == (300, 300)
    assert (result.runs_a, result.runs_b) == (3, 3)


def test_phases_are_not_paired(build: Any) -> None:
    """Those of two implementations are timed one after the other, so a drift in between must be allowed for."""
    run = build.run(
        [
            build.passed(
                name, build.noisy(100, 0), phases={"gemm1": build.samples(build.noisy(median, 1, spread=0.02))}
            )
            for name, median in (("a", 50), ("b", 52))
        ]
    )
    (row,) = compare_implementations([run], "a", "b", Options(which=("phases:gemm1",))).rows
    assert row.verdict is Verdict.UNDECIDED
    assert row.method.startswith("one after the other, not in the same rounds, run-to-run variance from")


def test_suspect_rounds_are_left_out_in_pairs(build: Any) -> None:
    slow = build.noisy(100, 0)
    slow[:20] = [1000.0] * 20
    marked = build.samples(slow, suspects=list(range(20)))
    run = build.run([build.passed("a", build.noisy(100, 1)), build.passed("b", marked)])
    (row,) = compare_implementations([run], "a", "b").rows
    assert (row.left_out, row.samples) == (20, (80, 80))
    assert "20 suspect rounds left out" in row.note
    assert row.verdict is Verdict.SAME


@pytest.mark.parametrize("left", [0, 1, 4])
def test_too_few_rounds_decide_nothing(left: int, build: Any) -> None:
    marked = build.samples([100.0] * 10, suspects=list(range(10 - left)))
    run = build.run([build.passed("a", [50.0] * 10), build.passed("b", marked)])
    (row,) = compare_implementations([run], "a", "b").rows
    assert row.verdict is Verdict.UNDECIDED
    assert row.more_samples == 5 - left
    assert f"only {left} usable rounds" in row.note


def test_an_implementation_that_another_run_lacks_is_named(build: Any) -> None:
    run = build.run_of({"a": [1.0] * 9, "b": [1.0] * 9})
    with pytest.raises(ValueError, match="c has no record here, known: a, b"):
        compare_implementations([run], "a", "c")
    with pytest.raises(ValueError, match="two different ones"):
        compare_implementations([run], "a", "a")


def test_unsupported_in_one_of_two_implementations_is_no_regression(build: Any) -> None:
    here, there = build.case(64), build.case(128)
    records = [build.passed(name, [9.0] * 9, here) for name in "ab"]
    records += [build.passed("a", [9.0] * 9, there), build.failed("b", Status.UNSUPPORTED, where=there)]
    result = compare_implementations([build.run(records)], "a", "b")
    assert not result.broken
    assert [change.after for change in result.changes] == [Status.UNSUPPORTED]


# --- two runs


def test_a_slowdown_shows_against_anchors_that_agree(build: Any, three: dict[str, list[float]]) -> None:
    """Five cases in which nothing else changed say that these runs do not vary; 3 % of one are then seen."""
    cases = [build.case(tokens) for tokens in (1, 2, 4, 8, 16)]
    a, b = (
        build.run(
            [
                build.passed(name, [v * (factor if name == "triton" else 1) for v in values], case)
                for case in cases
                for name, values in three.items()
            ]
        )
        for factor in (1.0, 1.03)
    )
    result = compare_runs([a], [b])
    verdicts = {name: {row.verdict for row in result.rows if row.implementation == name} for name in three}
    assert verdicts["triton"] == {Verdict.SLOWER}
    assert Verdict.FASTER not in verdicts["padded_bmm"] | verdicts["torch_loop"]
    assert result.anchors == ("padded_bmm", "torch_loop")
    assert "5 %" in result.multiplicity


def test_a_slower_machine_is_not_a_slower_implementation(build: Any, three: dict[str, list[float]]) -> None:
    everything = dict.fromkeys(three, 1.5)
    result = compare_runs([build.run_of(three)], [build.run_of(three, everything)])
    assert not {row.verdict for row in result.rows} & {Verdict.FASTER, Verdict.SLOWER}
    assert all(row.raw is not None and row.raw.value == pytest.approx(1.5) for row in result.rows)
    assert all(row.ratio.value == pytest.approx(1) for row in result.rows)
    assert any("took 50.0 % more time in B" in text for text in result.warnings)
    raw = compare_runs([build.run_of(three)], [build.run_of(three, everything)], Options(anchor="none"))
    assert {row.verdict for row in raw.rows} == {Verdict.SLOWER}


def test_the_anchor_can_be_named(build: Any, three: dict[str, list[float]]) -> None:
    a, b = build.run_of(three), build.run_of(three, {"torch_loop": 2.0})
    rows = {row.implementation: row for row in compare_runs([a], [b], Options(anchor="torch_loop")).rows}
    assert rows["triton"].anchors == ("torch_loop",)
    assert rows["triton"].ratio.value == pytest.approx(0.5)
    assert rows["torch_loop"].anchors == ()
    with pytest.raises(ValueError, match="anchor: expected auto, none or an implementation"):
        compare_runs([a], [b], Options(anchor="cupy"))


def test_an_anchor_of_other_rounds_is_none(build: Any, three: dict[str, list[float]]) -> None:
    short = {**three, "padded_bmm": three["padded_bmm"][:50]}
    rows = {row.implementation: row for row in compare_runs([build.run_of(short)], [build.run_of(three)]).rows}
    assert rows["triton"].anchors == ("torch_loop",)


@pytest.mark.parametrize(("spread", "expected"), [(0.003, Verdict.SLOWER), (0.03, Verdict.UNDECIDED)])
def test_without_an_anchor_a_quiet_machine_is_trusted_more(spread: float, expected: Verdict, build: Any) -> None:
    """3 % between two runs mean something where the samples within them spread by 0.3 %, not where by 3 %."""
    a, b = (build.run_of({"triton": build.noisy(median, median, 1000, spread)}) for median in (1000, 1035))
    (row,) = compare_runs([a], [b]).rows
    assert row.verdict is expected
    assert row.method == "no anchor, run-to-run variance from the spread of the samples"
    (told,) = compare_runs([a], [b], Options(run_to_run=0)).rows
    assert told.verdict is Verdict.SLOWER
    (wide,) = compare_runs([a], [b], Options(run_to_run=0.05)).rows
    assert wide.verdict is Verdict.UNDECIDED
    assert "a run-to-run deviation of 5 % as given" in wide.method


def test_runs_that_vary_need_more_runs_not_more_samples(build: Any) -> None:
    levels = (100, 108, 93, 104, 97, 101)
    runs = [build.run_of({"triton": build.noisy(level, level)}) for level in levels]
    (row,) = compare_runs(runs[::2], runs[1::2]).rows
    assert row.verdict is Verdict.UNDECIDED
    assert row.more_samples is None
    assert row.more_runs is not None
    assert "more samples will not help" in row.note


def test_runs_that_agree_decide(build: Any) -> None:
    a = [build.run_of({"triton": build.noisy(100 + 0.1 * i, i)}) for i in range(4)]
    b = [build.run_of({"triton": build.noisy(103 + 0.1 * i, 9 + i)}) for i in range(4)]
    assert compare_runs(a, b).rows[0].verdict is Verdict.SLOWER
    assert compare_runs(a[::2], a[1::2]).rows[0].verdict is Verdict.SAME


def test_cold_and_hot(build: Any) -> None:
    a, b = (
        build.run([build.passed("triton", build.noisy(100, 0), cold=build.samples(build.noisy(cold, 1)))])
        for cold in (150, 300)
    )
    rows = {row.which: row for row in compare_runs([a], [b], Options(which=("hot", "cold"))).rows}
    assert rows["hot"].verdict is Verdict.UNDECIDED
    assert rows["cold"].verdict is Verdict.SLOWER


# --- what is not the same on both sides


@pytest.mark.parametrize(
    "status", [Status.INCORRECT, Status.CRASHED, Status.TIMEOUT, Status.OUT_OF_MEMORY, Status.UNSUPPORTED]
)
def test_what_no_longer_passes_is_a_regression(status: Status, build: Any) -> None:
    good, bad = build.run_of({"triton": [5.0] * 9}), build.run([build.failed("triton", status, "row 7 differs")])
    (change,) = compare_runs([good], [bad]).broken
    assert (change.before, change.after, change.reason) == (Status.PASSED, status, "row 7 differs")
    back = compare_runs([bad], [good])
    assert not back.broken
    assert back.changes[0].after is Status.PASSED


def test_one_failed_run_of_several_is_enough(build: Any) -> None:
    good, bad = build.run_of({"triton": [5.0] * 9}), build.run([build.failed("triton", Status.CRASHED)])
    assert compare_runs([good], [good, bad]).broken


def test_an_interpreted_kernel_that_is_no_longer_correct_is_a_regression(build: Any) -> None:
    a, b = (
        build.run([replace(build.failed("triton", status), provenance=Provenance.INTERPRETED)])
        for status in (Status.PASSED, Status.INCORRECT)
    )
    assert len(compare_runs([a], [b]).broken) == 1


def test_what_only_one_side_has_is_listed(build: Any) -> None:
    a = build.run([build.passed("triton", [5.0] * 9), build.passed("triton", [5.0] * 9, build.case(128))])
    b = build.run([build.passed("triton", [5.0] * 9), build.passed("cupy", [5.0] * 9)])
    result = compare_runs([a], [b])
    assert {(entry.implementation, entry.case.tokens, entry.side) for entry in result.missing} == {
        ("triton", 128, "A"),
        ("cupy", 64, "B"),
    }
    cold = compare_runs([a], [b], Options(which=("hot", "cold")))
    assert [entry.reason for entry in cold.missing if entry.side == "A and B"] == ["no cold time"]


def test_cases_and_implementations_can_be_chosen(build: Any, three: dict[str, list[float]]) -> None:
    cases = [build.case(tokens) for tokens in (64, 128)]
    run = build.run([build.passed(name, values, case) for case in cases for name, values in three.items()])
    for text, tokens in (("t128", {128}), ("64 tokens", {64}), ("small-t*-float32", {64, 128}), ("", {64, 128})):
        rows = compare_runs([run], [run], Options(case=text, implementations=("triton",))).rows
        assert {row.case.tokens for row in rows} == tokens
        assert {row.implementation for row in rows} == {"triton"}
        assert rows[0].anchors == ("padded_bmm", "torch_loop")
    with pytest.raises(ValueError, match="no record of triton of a case named 't9'"):
        compare_runs([run], [run], Options(case="t9", implementations=("triton",)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "bfloat16"}, "dtype: float32 in A, bfloat16 in B"),
        ({"seed": 3}, "seed: 0 in A, 3 in B"),
        ({"id": "other", "layer": {"name": "small", "hidden": 128}}, "shape of small"),
    ],
)
def test_nothing_in_common_says_what_differs(change: dict[str, Any], message: str, build: Any) -> None:
    here = build.case()
    a, b = (build.run([build.passed("triton", [5.0] * 9, where)]) for where in (here, replace(here, **change)))
    with pytest.raises(ValueError, match=message):
        compare_runs([a], [b])


# --- environments


def changed(environment: Environment, part: str, **facts: Any) -> Environment:
    return replace(environment, **{part: {**getattr(environment, part), **facts}})


def test_other_devices_are_refused_unless_forced(build: Any) -> None:
    series = {"triton": [5.0] * 9}
    for first, second, message in (
        (build.gpu, changed(build.gpu, "gpu", name="Other GPU"), "GPU name: Some GPU in one, Other GPU in the other"),
        (build.gpu, build.cpu, "GPU: Some GPU in one, none in the other"),
        (build.cpu, changed(build.cpu, "cpu", threads=8), "CPU threads: 2 in one, 8 in the other"),
        (build.cpu, changed(build.cpu, "cpu", model="Other CPU"), "CPU model"),
    ):
        a, b = (build.run_of(series, environment=environment) for environment in (first, second))
        with pytest.raises(ValueError, match=message):
            compare_runs([a], [b])
        forced = compare_runs([a], [b], Options(force=True))
        assert message in "; ".join(forced.refused)


@pytest.mark.parametrize(
    ("first", "second"),
    [({"timer": "events"}, {"timer": "cupti"}), ({"method": "CUDA events, x"}, {"method": "monotonic clock, x"})],
)
def test_other_timers_are_refused(first: dict[str, str], second: dict[str, str], build: Any) -> None:
    a, b = (build.run([build.passed("triton", build.samples([5.0] * 9, **facts))]) for facts in (first, second))
    with pytest.raises(ValueError, match="timer of triton: "):
        compare_runs([a], [b])
    assert compare_runs([a], [b], Options(force=True)).rows


def test_a_file_older_than_the_field_is_compared_by_its_method(build: Any) -> None:
    a, b = (build.run([build.passed("triton", build.samples([5.0] * 9, timer=timer))]) for timer in ("", "cpu"))
    assert compare_runs([a], [b]).rows


def test_the_same_timer_used_differently_is_noted(build: Any) -> None:
    a, b = (
        build.run([build.passed("triton", build.samples([5.0] * 9, method=f"CUDA events, {how}"))])
        for how in ("graph replay", "launches included")
    )
    assert "launches included" in compare_runs([a], [b]).rows[0].note


def test_what_is_usually_compared_is_warned_of(build: Any) -> None:
    series = {"triton": [5.0] * 9}
    a = build.run_of(series, environment=build.gpu)
    b = build.run_of(
        series,
        environment=changed(changed(build.gpu, "gpu", uuid="GPU-2", driver="590.2"), "libraries", torch="2.14.0"),
        git=GitRecord("beef4567", dirty=True),
        source_hash="ffff",
        finished=None,
    )
    warned = "\n".join(compare_runs([a], [b]).warnings)
    for text in (
        "GPU uuid",
        "GPU driver: 580.1",
        "torch: 2.13.0",
        "beef4567 with changes",
        "sources",
        "B was interrupted",
    ):
        assert text in warned
    assert compare_runs([a], [a]).warnings == ()


@pytest.mark.parametrize(("mhz", "told"), [(1980.0, False), (1970.0, False), (1755.0, True), (None, False)])
def test_another_clock_is_noted(mhz: float | None, told: bool, build: Any) -> None:
    a, b = (
        build.run([build.passed("triton", [5.0] * 9, clocks=Clocks("recorded", 4, sm_mhz=clock))])
        for clock in (1980.0, mhz)
    )
    assert ("SM clock 1980 MHz in A, 1755 MHz in B" in compare_runs([a], [b]).rows[0].note) is told


def test_a_throttled_run_is_warned_of(build: Any) -> None:
    marked = build.samples([5.0] * 100, suspects=list(range(30)))
    result = compare_runs([build.run_of({"triton": [5.0] * 100})], [build.run([build.passed("triton", marked)])])
    assert "B: 30 of 100 samples are suspect" in "; ".join(result.warnings)


# --- what cannot be


@pytest.mark.parametrize(
    "bad", [{"which": ("warm",)}, {"which": ("phases:",)}, {"threshold": 0}, {"threshold": 2.0}, {"run_to_run": -1}]
)
def test_options_that_make_no_sense(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Options(**bad)


def test_times_that_no_side_has_are_bad_input(build: Any) -> None:
    run = build.run([build.passed("triton", [5.0] * 9, phases={"gemm1": build.samples([3.0] * 9)})])
    with pytest.raises(ValueError, match="no phases:gem1 times on both sides; phases: gemm1"):
        compare_runs([run], [run], Options(which=("phases:gem1",)))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_times_that_are_none(value: float, build: Any) -> None:
    good, bad = (build.run_of({"triton": [5.0] * 8 + [last]}) for last in (5.0, value))
    with pytest.raises(ValueError, match="expected positive times"):
        compare_runs([good], [bad])
