"""Placements drawn: what each rank gets, and measured ranks beside simulated ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from mohge.bench.records import PlacementRecord, Provenance, RankTimes
from mohge.bench.records.codec import plain
from mohge.bench.report.blocks import Blocks
from mohge.bench.report.figures_placement import bound_of, drawable, per_rank
from mohge.bench.report.figures_placement_measured import measured_beside_simulated
from mohge.bench.report.page import render
from mohge.bench.report.palette_policies import COLOURS, MARKERS, policy_colour, policy_marker
from mohge.bench.report.readings_placement import measured_reading, measured_verdict, placement_reading
from mohge.bench.report.sections import sections
from mohge.bench.report.sections_placement import is_only_placing, placing_verdict
from mohge.placement import POLICIES

EVIL = "<script>alert(1)</script>"


def timed(
    build: Any, policy: str, measured: list[float | None], simulated: list[float], spread: float = 0.02, **more: Any
) -> PlacementRecord:
    """A placement whose ranks took these seconds."""
    complete = all(value is not None for value in measured)
    whole = max(value for value in measured if value is not None) if complete else None
    facts: dict[str, Any] = {
        "low_s": [None if value is None else value * (1 - spread) for value in measured],
        "high_s": [None if value is None else value * (1 + spread) for value in measured],
        "errors": [
            None if value is None else mine / value - 1 for value, mine in zip(measured, simulated, strict=True)
        ],
        "makespan_error": max(simulated) / whole - 1 if whole else None,
        "reasons": {str(rank): "timeout: 180 s" for rank, value in enumerate(measured) if value is None},
        **more,
    }
    times = RankTimes(
        implementation="torch_grouped_mm",
        costs="measured: torch_grouped_mm in run.json",
        rows=[10] * len(measured),
        measured_s=measured,
        simulated_s=simulated,
        simulated_makespan_s=max(simulated),
        makespan_s=whole,
        **facts,
    )
    work = [1e9 + 1e12 * value for value in simulated]
    kind = Provenance.MEASURED if complete else Provenance.SIMULATED
    seconds = measured if complete else simulated
    return replace(build.placement(build.case(), policy, work), measured=times, provenance=kind, seconds=seconds)


# What each rank gets


def test_panels_mark_the_straggler_mean_and_bound(build: Any) -> None:
    figure = per_rank(
        [build.placement(build.case(), "lpt", [1e9, 3e9]), build.placement(build.case(), "aga", [2e9] * 2)]
    )
    assert figure is not None
    even, uneven, *_ = figure["data"]
    assert (even["name"], uneven["name"]) == ("aga", "lpt")  # the most even policy first
    assert (even["y"], uneven["y"]) == ([2.0, 2.0], [1.0, 3.0])
    assert len(set(even["marker"]["color"])) == 1
    assert len(set(uneven["marker"]["color"])) == 2
    blocks = Blocks(("aga", "lpt"), 2)
    assert (even["x"], uneven["x"]) == (blocks.places(0), blocks.places(1))
    lines = {(shape["y0"], shape["line"]["dash"]) for shape in figure["layout"]["shapes"] if shape.get("yref") == "y"}
    assert lines == {(2.0, "dot"), (2.0, "solid")}
    assert any(note["text"] == "1.50 ×" for note in figure["layout"]["annotations"])


def test_panels_are_those_of_what_is_known(build: Any) -> None:
    one = build.placement(build.case(), "lpt", [1e9, 3e9])

    def titles(record: PlacementRecord) -> list[str]:
        figure = per_rank([record])
        assert figure is not None
        go.Figure(plain(figure))
        return [note["text"] for note in figure["layout"]["annotations"] if note["text"].startswith("<b>")]

    assert [title[3:7] for title in titles(one)] == ["Work", "Rows", "Memo"]
    assert [title[3:7] for title in titles(replace(one, seconds=[1e-3, 2e-3]))] == ["Work", "Rows", "Time", "Memo"]
    assert [title[3:7] for title in titles(replace(one, rows=[1.0], memory=[math.nan, 1.0]))] == ["Work"]


def test_a_bound_on_work_over_uneven_speeds_is_not_drawn_among_work(build: Any) -> None:
    even = build.placement(build.case(), "lpt", [1e9, 3e9])
    assert bound_of(even) == 2e9
    assert bound_of(replace(even, bound=1.5e9, work_over_bound=1.25)) is None
    assert "no placement can beat" not in placement_reading([replace(even, bound=1.5e9, work_over_bound=1.25)])
    assert bound_of(replace(even, bound=None)) is None


def test_placements_without_work_are_not_drawn(build: Any) -> None:
    nothing = replace(build.placement(build.case(), "lpt", [1.0, 1.0]), work=[0.0, 0.0])
    unknown = replace(nothing, work=[math.nan, 1.0])
    assert per_rank([nothing, unknown]) is None
    assert per_rank([]) is None
    assert drawable([nothing, unknown]) == []
    section = next(one for one in sections(build.run([], [nothing])) if one.name == "placement")
    assert not section.variants


def test_what_a_policy_bent_and_a_solver_said_stands_below(build: Any) -> None:
    solver = {"solver": "HiGHS", "status": "optimal", "gap": 0.0}
    notes = {"placement": "5 experts on rank 0", "solver": solver}
    record = replace(build.placement(build.case(), "exact", [1e9, 3e9]), notes=notes)
    (section,) = sections(build.run([], [record]))
    assert section.variants[0].remarks == (
        "exact: 5 experts on rank 0.",
        "exact: HiGHS, optimal, at most 0 % above the best possible.",
    )


# Measured beside simulated


def test_both_times_of_every_rank_are_drawn_with_the_error(build: Any) -> None:
    figure = measured_beside_simulated([timed(build, "lpt", [1e-3, 2e-3], [1.1e-3, 1.8e-3])])
    assert figure is not None
    go.Figure(plain(figure))
    bars, marks, errors = figure["data"]
    assert (bars["y"], marks["y"]) == (pytest.approx([1, 2]), pytest.approx([1.1, 1.8]))
    assert bars["error_y"]["array"] == pytest.approx([0.02, 0.04])
    assert errors["y"] == pytest.approx([10, -10])
    assert bars["customdata"][1][1] == "measured 2.00 ms<br>simulated 1.80 ms<br>error −10 %"
    lines = {(round(shape["y0"], 9), shape["line"]["dash"]) for shape in figure["layout"]["shapes"]}
    assert lines == {(2.0, "solid"), (1.8, "dash")}


def test_the_reading_says_how_far_off_and_whom_both_choose(build: Any) -> None:
    lpt = timed(build, "lpt", [1e-3, 2e-3], [1e-3, 2.1e-3])
    aga = timed(build, "aga", [1e-3, 4e-3], [1e-3, 3.6e-3])
    said = measured_reading([aga, lpt])
    assert said.startswith("Of 2 placements the simulated makespan is 7.5 % off the measured one in the median")
    assert "−10 % at most (aga). Both find lpt the quickest." in said
    wrong = timed(build, "aga", [1e-3, 4e-3], [1e-3, 1.6e-3])
    assert "following it costs 100 %" in measured_reading([wrong, lpt])
    near = timed(build, "aga", [1e-3, 2.01e-3], [1e-3, 1.6e-3])
    assert "cannot be told apart" in measured_reading([near, lpt])


def test_ranks_that_were_not_timed_are_named_and_give_no_makespan(build: Any) -> None:
    record = timed(build, "lpt", [1e-3, None], [1e-3, 2e-3])
    section = next(one for one in sections(build.run([], [record])) if one.name == "placement_measured")
    (variant,) = section.variants
    go.Figure(plain(variant.figure))
    assert "no measured makespan" in variant.reading
    assert variant.remarks[-1] == "lpt, rank 1 was not timed: timeout: 180 s."
    assert variant.rows[0][1] == "–"
    nothing = timed(build, "lpt", [1e-3, None], [1e-3, 2e-3], errors=[None, None])
    assert nothing.measured is not None
    nothing = replace(nothing, measured=replace(nothing.measured, measured_s=[None, None]))
    assert measured_beside_simulated([nothing]) is None
    assert placing_verdict(build.run([], [nothing])).kind == "not measured"


# The verdict of a run that only placed


def test_the_quickest_placement_is_named_with_what_the_worst_takes(build: Any) -> None:
    records = [timed(build, "aga", [1e-3, 4e-3], [1e-3, 3.6e-3]), timed(build, "lpt", [1e-3, 2e-3], [1e-3, 2.1e-3])]
    run = build.run([build.passed("torch_grouped_mm", build.case("mohge-3b, lpt, rank 0 of 2"), 1)], records)
    assert is_only_placing(run)
    said = placing_verdict(run)
    assert said.kind == "decided"
    assert said.sentence.startswith("mohge-3b, 256 tokens, router, float32: lpt leaves the slowest of 2 ranks computed")
    assert "with 2.00 ms; aga takes 2.00 times as long; its work is" in said.sentence
    assert said.remarks[0].endswith("Both find lpt the quickest.")
    page = render(run)
    assert said.sentence in page
    assert "The implementations" not in page


def test_near_placements_are_not_told_apart(build: Any) -> None:
    records = [timed(build, "aga", [2.01e-3], [2e-3]), timed(build, "lpt", [2e-3], [2e-3])]
    kind, sentence = measured_verdict(records)
    assert kind == "undecided"
    assert "not told apart from aga" in sentence


def test_placements_beside_their_measured_case_leave_the_page_to_it(believable: Any, build: Any) -> None:
    assert not is_only_placing(believable)
    assert not is_only_placing(build.run([]))
    predicted = placing_verdict(build.run([], [build.placement(build.case(), "lpt", [1e9, 3e9])]))
    assert predicted.kind == "predicted"
    assert "Predicted, not measured: lpt leaves the busiest of 2 ranks" in predicted.sentence


def test_names_of_policies_stay_text(build: Any) -> None:
    record = timed(build, EVIL, [1e-3, None], [1e-3, 2e-3])
    assert EVIL not in render(build.run([], [replace(record, notes={"placement": EVIL, "costs": EVIL})]))


def test_every_policy_has_a_colour_and_a_marker_of_its_own() -> None:
    for table, of in ((COLOURS, policy_colour), (MARKERS, policy_marker)):
        assert set(table) == set(POLICIES)
        assert len({of(policy) for policy in POLICIES}) == len(POLICIES)
        assert of("a later one") not in table.values()
