"""What the verdicts say of recorded samples: of one implementation against itself, and with a slowdown planted."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise, permutations
from typing import Any

import numpy as np
import pytest

from mohge.bench.comparison import Comparison, Options, Verdict, compare_implementations, compare_runs, effects
from mohge.bench.comparison.effects import deviation
from mohge.bench.comparison.matching import rounds

DIFFERENT = {Verdict.FASTER, Verdict.SLOWER}


def called_different(comparisons: list[Comparison]) -> float:
    """The share of rows called faster or slower."""
    verdicts = Counter(row.verdict for comparison in comparisons for row in comparison.rows)
    return sum(verdicts[verdict] for verdict in DIFFERENT) / verdicts.total()


def as_run(process: dict[str, list[int]], copy: int, build: Any, scale: float = 1.0) -> Any:
    """A run of three implementations: a copy of torch_loop and the two others of the same rounds."""
    names = {"torch_loop": f"torch_loop_{copy}", "torch_grouped_mm": "torch_grouped_mm", "padded_bmm": "padded_bmm"}
    return build.run_of({name: process[key] for name, key in names.items()}, {"torch_loop": scale})


def test_the_recording_says_where_it_comes_from(recorded: dict[str, Any]) -> None:
    assert set(recorded["origin"]) >= {"command", "date", "machine", "torch", "layer", "unit"}
    assert len(recorded["runs"]) == 12
    assert {len(values) for process in recorded["runs"] for values in process.values()} == {160}
    assert {len(values) for process in recorded["long"] for values in process.values()} == {800}


def test_an_implementation_against_itself_in_one_run_is_not_different(recorded: dict[str, Any], build: Any) -> None:
    comparisons = []
    for process in recorded["runs"] + recorded["long"]:
        copies = [name for name in process if name.startswith("torch_loop")]
        run = build.run_of(process)
        comparisons += [compare_implementations([run], a, b) for a, b in combinations(copies, 2)]
    assert len(comparisons) == 12 * 6 + 6 * 3
    assert called_different(comparisons) <= 0.05


def test_enough_rounds_say_the_same(recorded: dict[str, Any], build: Any) -> None:
    verdicts: Counter[Verdict] = Counter()
    for process in recorded["long"]:
        run = build.run_of(process)
        verdicts.update(compare_implementations([run], a, b).rows[0].verdict for a, b in combinations(process, 2))
    assert verdicts[Verdict.SAME] >= verdicts.total() / 2
    assert not DIFFERENT & set(verdicts)


@pytest.mark.parametrize(("factor", "expected"), [(1.03, Verdict.SLOWER), (1 / 1.03, Verdict.FASTER)])
def test_a_planted_3_percent_is_caught(factor: float, expected: Verdict, recorded: dict[str, Any], build: Any) -> None:
    """In at least nine of ten pairs quiet enough to see it, whatever their own estimate; none is called the other way.

    Quiet enough is an interval of 1 % to each side before anything is planted: what the samples' noise decides, and not
    how near to 1 the pair happens to lie. Pairs of the same copies share samples, so these are not independent trials.
    """
    every: Counter[Verdict] = Counter()
    quiet: Counter[Verdict] = Counter()
    for process in recorded["long"]:
        for a, b in permutations(process, 2):
            (plain,) = compare_implementations([build.run_of(process)], a, b).rows
            (row,) = compare_implementations([build.run_of(process, {b: factor})], a, b).rows
            every[row.verdict] += 1
            if plain.ratio.high / plain.ratio.value <= 1.01:
                quiet[row.verdict] += 1
    assert set(every) <= {expected, Verdict.UNDECIDED}
    assert every[expected] >= 0.8 * every.total()
    assert quiet.total() >= 12
    assert quiet[expected] >= 0.9 * quiet.total()


@pytest.mark.parametrize("anchor", ["auto", "torch_grouped_mm", "none"])
def test_one_run_against_another_is_not_different(anchor: str, recorded: dict[str, Any], build: Any) -> None:
    """The medians of these processes differ by up to 20 %, so it is the run-to-run variance that is tested here."""
    processes = recorded["runs"]
    comparisons = [
        compare_runs([as_run(processes[i], 0, build)], [as_run(processes[j], 1, build)], Options(anchor=anchor))
        for i, j in [(i, (i + step) % 12) for step in (1, 5) for i in range(12)]
    ]
    assert called_different(comparisons) <= 0.05


@pytest.mark.parametrize("anchor", ["auto", "none"])
def test_nor_are_runs_that_no_allowance_was_fitted_on(anchor: str, held_out: dict[str, Any], build: Any) -> None:
    processes = held_out["runs"]
    comparisons = [
        compare_runs([as_run(processes[i], 2, build)], [as_run(processes[j], 3, build)], Options(anchor=anchor))
        for i, j in permutations(range(0, 12, 2), 2)
    ]
    assert called_different(comparisons) <= 0.05


def share_seen(processes: list[dict[str, list[int]]], build: Any) -> float:
    """The largest deviation from run to run of any implementation, over the spread of its samples."""
    found = []
    for name in processes[0]:
        runs = [rounds([build.samples(process[name])]) for process in processes]
        medians = [float(np.log(np.median(run.series[0]))) for run in runs]
        spread = float(np.sqrt(np.mean([deviation(run) ** 2 for run in runs])))
        found.append(float(np.std(medians, ddof=1)) / spread)
    return max(found)


def test_an_allowance_fitted_on_half_of_the_runs_holds_on_the_others(
    recorded: dict[str, Any], build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitted as the shipped one was: the largest share seen, rounded up to the next half."""
    comparisons = []
    for first in range(6):
        half = [(first + step) % 12 for step in range(6)]
        others = [recorded["runs"][i] for i in range(12) if i not in half]
        share = share_seen([recorded["runs"][i] for i in half], build)
        monkeypatch.setattr(effects, "_ALONE", np.ceil(2 * share) / 2)
        options = Options(anchor="none")
        comparisons += [
            compare_runs([build.run_of(a)], [build.run_of(b)], options) for a, b in pairwise([*others, others[0]])
        ]
        monkeypatch.undo()
    assert called_different(comparisons) <= 0.05


@pytest.mark.parametrize("anchors", [[], ["padded_bmm"], ["torch_grouped_mm"], ["padded_bmm", "torch_grouped_mm"]])
def test_the_spread_within_runs_tells_how_they_differ(anchors: list[str], recorded: dict[str, Any], build: Any) -> None:
    """The deviation expected from run to run is at least the one seen over the twelve, and at most three times it."""
    found = [
        rounds([build.samples(process[name]) for name in ("torch_loop_0", *anchors)]) for process in recorded["runs"]
    ]
    values = [np.log([np.median(series) for series in run.series]) for run in found]
    seen = float(np.std([value[0] - (np.mean(value[1:]) if anchors else 0) for value in values], ddof=1))
    expected = float(np.sqrt(np.mean([deviation(run) ** 2 for run in found])))
    assert seen <= expected <= 3 * seen


def test_without_an_allowance_for_it_runs_of_the_same_code_are_called_different(
    recorded: dict[str, Any], build: Any
) -> None:
    """Why there is one: intervals from within two runs know nothing of what differs between them."""
    processes = recorded["runs"]
    options = Options(anchor="none", run_to_run=0)
    comparisons = [
        compare_runs([as_run(processes[i], 0, build)], [as_run(processes[i + 1], 1, build)], options) for i in range(11)
    ]
    assert called_different(comparisons) > 0.3
    assert "run-to-run variance not covered" in comparisons[0].rows[0].method


@pytest.mark.parametrize("anchor", ["auto", "none"])
def test_several_runs_against_several_are_not_different(anchor: str, recorded: dict[str, Any], build: Any) -> None:
    processes = recorded["runs"]
    comparisons = []
    for start in range(12):
        chosen = [processes[(start + step) % 12] for step in range(6)]
        a, b = [as_run(p, 0, build) for p in chosen[::2]], [as_run(p, 1, build) for p in chosen[1::2]]
        comparisons.append(compare_runs(a, b, Options(anchor=anchor)))
    assert called_different(comparisons) <= 0.05


def test_several_runs_show_a_large_slowdown(recorded: dict[str, Any], build: Any) -> None:
    processes = recorded["runs"]
    a = [as_run(process, 0, build) for process in processes[:6]]
    b = [as_run(process, 1, build, scale=1.3) for process in processes[6:]]
    verdicts = {row.implementation: row.verdict for row in compare_runs(a, b, Options(anchor="none")).rows}
    assert verdicts["torch_loop"] is Verdict.SLOWER
    assert not DIFFERENT & {verdicts["torch_grouped_mm"], verdicts["padded_bmm"]}
