"""Tuning in the report: every trial in order, what matters, time against energy, finalists, and what won."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from mohge.bench.records import Provenance, TuningRecord
from mohge.bench.records.codec import plain
from mohge.bench.report import figures_tuning as figures
from mohge.bench.report.page import render
from mohge.bench.report.section import Section
from mohge.bench.report.sections import sections
from mohge.bench.report.studies import best_so_far, tuning_verdict

NAMES = ("tuning_history", "tuning_finalists", "tuning_importance", "tuning_pareto")
EVIL = "</script><script>alert(1)</script>"


def by_name(build: Any, *studies: TuningRecord, **more: Any) -> dict[str, Section]:
    return {one.name: one for one in sections(build.run([], tuning=list(studies), **more))}


def with_energy(build: Any) -> TuningRecord:
    """Trial 4 is fastest, trial 5 needs less energy, trials 0 and 2 are worse than both."""
    joules = {0: 0.06, 2: 0.07, 4: 0.05, 5: 0.04}
    study = build.study(pareto=[4, 5])
    return replace(study, trials=[{**trial, "energy_j": joules.get(trial["number"])} for trial in study.trials])


# Figures


def test_the_history_has_every_trial_the_best_so_far_and_a_rail_of_outcomes(build: Any) -> None:
    figure = figures.history(build.study())
    assert figure is not None
    go.Figure(plain(figure))
    best, points, *rails = figure["data"]
    assert (best["x"], best["y"]) == ([0, 4, 5], [1.0, 0.8, 0.8])
    assert (points["x"], points["y"]) == ([0, 2, 4, 5], [1.0, 1.4, 0.8, 0.9])
    assert [(rail["name"], rail["x"], rail["customdata"]) for rail in rails] == [
        ("invalid", [1], ["it was invalid"]),
        ("crashed", [3], ["it was crashed"]),
    ]
    assert {rail["yaxis"] for rail in rails} == {"y2"}
    assert figure["layout"]["yaxis"]["domain"][0] > figure["layout"]["yaxis2"]["domain"][1]
    assert figure["layout"]["shapes"][0]["y0"] == 1


def test_a_wide_history_is_logarithmic_and_its_line_stays_at_one(build: Any) -> None:
    study = build.study(trials=[build.trial(0, "complete", 1.0), build.trial(1, "complete", 40.0)])
    figure = figures.history(study)
    assert figure is not None
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert figure["layout"]["shapes"][0]["y0"] == 1
    assert figure["layout"]["annotations"][0]["y"] == 0  # the exponent


def test_a_history_of_failures_is_a_rail_alone(build: Any) -> None:
    study = build.study(trials=[build.trial(0, "timeout", None), build.trial(1, "out_of_memory", None)])
    figure = figures.history(study)
    assert figure is not None
    go.Figure(plain(figure))
    assert [trace["name"] for trace in figure["data"]] == ["timeout", "out of memory"]
    assert not best_so_far(study)


def test_importance_is_sorted(build: Any) -> None:
    figure = figures.importance(build.study())
    assert figure is not None
    go.Figure(plain(figure))
    assert figure["data"][0]["y"] == ["block_m", "warps"]
    assert figure["data"][0]["x"] == pytest.approx([70, 30])
    assert figures.importance(build.study(importance={"a": math.nan})) is None


def test_the_front_is_drawn_with_the_current_configuration_marked(build: Any) -> None:
    figure = figures.pareto(with_energy(build))
    assert figure is not None
    go.Figure(plain(figure))
    trials, front, current = figure["data"]
    assert len(trials["x"]) == 4
    assert (front["x"], front["y"]) == ([0.8, 0.9], pytest.approx([50.0, 40.0]))
    assert current["x"] == [1.0]


def test_finalists_have_intervals_and_every_routing(build: Any) -> None:
    figure = figures.finalists(build.study())
    assert figure is not None
    go.Figure(plain(figure))
    routings, worst = figure["data"]
    assert worst["y"] == ["trial 4", "trial 5", "trial 0, the current one"]
    assert worst["error_x"]["arrayminus"] == pytest.approx([0.02, 0.02, 0.0])
    assert worst["error_x"]["array"] == pytest.approx([0.03, 0.02, 0.0])
    assert routings["customdata"][:2] == ["uniform", "zipf:1.2"]
    assert routings["x"][:2] == pytest.approx([0.76, 0.8])


# Sections


def test_a_run_that_only_tuned_shows_nothing_else(build: Any) -> None:
    run = build.run([], tuning=[build.study()])
    found = sections(run)
    assert tuple(one.name for one in found) == NAMES
    own = render(run)
    for words in ("No implementation was measured", "Nothing was timed", "holds no placements", "Not measured"):
        assert words not in own
    assert "The studies" in own
    assert "1 measured" in own
    for name in NAMES[:3]:
        assert own.count(f'data-figure="{name}"') == 1


def test_a_run_that_also_measured_shows_both(build: Any) -> None:
    found = sections(build.run([build.passed("triton", build.case(), 9)], tuning=[build.study()]))
    assert [one.name for one in found][-4:] == list(NAMES)
    assert found[0].name == "time"


def test_without_energy_it_is_said_and_with_it_the_ends_of_the_front_are(build: Any) -> None:
    without = by_name(build, build.study())["tuning_pareto"]
    assert not without.variants
    assert "--energy" in without.empty
    found = by_name(build, build.study(), with_energy(build))["tuning_pareto"]
    (variant,) = found.variants
    assert variant.reading.startswith("trial 4 is fastest (0.800 times, 50.0 mJ a call); trial 5 needs least energy")
    assert [row[0] for row in variant.rows] == ["trial 4", "trial 5"]


def test_sentences_and_tables_say_what_was_found(build: Any) -> None:
    failed = {**build.trial(3, "incorrect", None), "reason": "zipf:1.2: wrong"}
    study = build.study()
    found = by_name(build, replace(study, finalists=[*study.finalists, failed]))
    history = found["tuning_history"].variants[0]
    assert history.label == "triton · mohge-3b · up to 1\u202f024 tokens · any (uniform, zipf:1.2) · bfloat16"
    assert history.reading.startswith(
        "Of 6 trials, 4 complete, 1 invalid and 1 crashed: the best, trial 4, takes 0.800"
    )
    finalists = found["tuning_finalists"].variants[0].rows
    assert finalists[0] == ("trial 4", "0.800", "0.780 to 0.830", "80.0 µs", "warps 8")
    assert finalists[2][-1] == "nothing"
    assert finalists[3] == ("trial 3", "–", "–", "–", "incorrect: zipf:1.2: wrong")
    assert found["tuning_importance"].variants[0].rows[0] == ("block_m", "70 %", "64", "64", "16, 32, 64")


@pytest.mark.parametrize(
    ("provenance", "label"), [(Provenance.PREDICTED, "predicted"), (Provenance.SIMULATED, "simulated")]
)
def test_what_was_not_measured_is_never_called_that(build: Any, provenance: Provenance, label: str) -> None:
    found = by_name(build, build.study(provenance=provenance))
    assert {one.provenance for one in found.values()} == {label}
    assert "nothing was run" in found["tuning_finalists"].variants[0].reading
    assert found["tuning_finalists"].variants[0].rows[0][2] == "–"
    assert {one.provenance for one in by_name(build, build.study(), build.study(provenance=provenance)).values()} == {
        label
    }


def test_trials_under_held_back_clocks_are_ringed_and_told(build: Any) -> None:
    held = build.trial(4, "complete", 0.8, reason="uniform: 2 suspect samples")
    study = build.study(notes={"clocks_rule": "a sample is suspect when"})
    study = replace(study, trials=[*study.trials[:4], held], finalists=[held])
    figure = figures.history(study)
    assert figure is not None
    go.Figure(plain(figure))
    rings = figure["data"][2]
    assert (rings["x"], rings["y"], rings["customdata"]) == ([4], [0.8], ["uniform: 2 suspect samples"])
    found = by_name(build, study)
    assert found["tuning_history"].variants[0].remarks == ("A sample is suspect when.",)
    assert found["tuning_finalists"].variants[0].remarks == ("trial 4: uniform: 2 suspect samples.",)


# The verdict


def verdict_of(build: Any, *studies: TuningRecord, **more: Any) -> Any:
    return tuning_verdict(build.run([], tuning=list(studies), **more))


def test_the_winner_is_named_against_the_current_configuration(build: Any) -> None:
    said = verdict_of(build, build.study())
    assert said.kind == "decided"
    assert said.sentence == (
        "Trial 4 of triton takes 0.800 times (0.780 to 0.830) the time of the current configuration on mohge-3b "
        "(1\u202f024 tokens, uniform and zipf:1.2, bfloat16) on Some GPU: 80.0 µs against 100 µs on zipf:1.2, "
        "where it does worst."
    )
    assert said.remarks == ()


def test_a_prediction_begins_with_that_word(build: Any) -> None:
    said = verdict_of(build, build.study(provenance=Provenance.PREDICTED))
    assert said.kind == "predicted"
    assert said.sentence.startswith(
        "Predicted for Some GPU, not measured: trial 4 of triton takes 0.800 times the time"
    )
    assert any("Nothing was run" in remark for remark in said.remarks)
    replayed = verdict_of(build, build.study(provenance=Provenance.SIMULATED))
    assert replayed.sentence.startswith("Looked up in a recorded study, nothing was run: trial 4")


def test_without_a_winner_the_current_one_stays(build: Any) -> None:
    keep = build.study(winner=None, notes={"verdict": "keep the current configuration: no other one got so far"})
    said = verdict_of(build, keep)
    assert said.kind == "decided"
    assert said.sentence.endswith("on Some GPU: keep the current configuration: no other one got so far.")
    assert "the current one stays" in render(build.run([], tuning=[keep]))


def test_an_unfinished_study_is_undecided(build: Any) -> None:
    open_study = build.study(winner=None, finalists=[], notes={"verdict": ""})
    said = verdict_of(build, open_study, finished=None)
    assert said.kind == "undecided"
    assert (
        "its best trial takes 0.800 times the time of the current configuration and was not tried again"
        in said.sentence
    )
    assert "interrupted" in said.remarks[-1]
    nothing = verdict_of(build, replace(open_study, trials=[]))
    assert nothing.sentence.endswith("undecided, no trial is complete.")


def test_of_several_studies_the_largest_gain_is_named(build: Any) -> None:
    small = build.study("cupy", winner={**build.trial(5, "complete", 0.95), "ratio_low": 0.94, "ratio_high": 0.96})
    said = verdict_of(build, build.study("numba", winner=None), small, build.study())
    assert "Trial 4 of triton" in said.sentence
    assert said.remarks[0].startswith("2 of 3 studies found a faster configuration")


# Odd studies

BAD = {"number": 1, "outcome": "complete", "values": None, "ratio": math.nan, "time_us": math.inf, "energy_j": math.nan}
ODD: tuple[dict[str, Any], ...] = (
    {"trials": [], "finalists": [], "winner": None, "importance": {}, "notes": {"verdict": ""}},
    {"trials": [BAD, {}, {"number": 2}], "finalists": [BAD, {}], "winner": BAD, "pareto": [1, 99]},
    {"notes": {"current": None, "routings": None, "choices": {"warps": 3}, "verdict": None, "machine": "x"}},
    {"winner": {"number": 4, "outcome": "complete", "ratio": 0.8}},
    {"trials": [{"number": 0, "outcome": "complete", "ratio": 1.0}], "finalists": [], "pareto": [0]},
    {"gpu": None, "tokens": 0},
)


@pytest.mark.parametrize("odd", ODD)
def test_odd_studies_give_valid_figures_or_none(build: Any, odd: dict[str, Any]) -> None:
    run = build.run([], tuning=[build.study(**odd)])
    for one in sections(run):
        assert one.empty
        for variant in one.variants:
            assert variant.figure is not None
            go.Figure(plain(variant.figure))
            assert "nan" not in f"{variant.reading} {variant.rows}".lower().split()
    assert "nan" not in tuning_verdict(run).sentence.lower().split()


def test_names_and_reasons_stay_text(build: Any) -> None:
    trials = [build.trial(0, "complete", 1.0), build.trial(1, EVIL, None, reason=EVIL, values={EVIL: EVIL})]
    trials += [build.trial(2, "complete", 0.5, values={EVIL: EVIL})]
    study = build.study(EVIL, trials=trials, importance={EVIL: 1.0}, notes={"verdict": EVIL, "routings": [EVIL]})
    own = render(build.run([], tuning=[replace(study, objective=EVIL, winner={**trials[2]}, finalists=trials)]))
    assert "<script>alert" not in own
    for name in ("history", "finalists", "importance"):
        assert "<script" not in json.dumps(build.data(own, f"figures-tuning_{name}"))
