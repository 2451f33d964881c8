"""A what-if study drawn: who is best where, whether moving pays, the front, plans scored elsewhere, single steps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from mohge.bench.records import (
    Environment,
    Provenance,
    Run,
    RunWriter,
    StepRecord,
    TransferRecord,
    WhatIfRecord,
    load_run,
)
from mohge.bench.records.codec import plain
from mohge.bench.report import figures_what_if as figures
from mohge.bench.report.figures_steps import timelines, traffic
from mohge.bench.report.figures_transfer import mean_scores, transfer_matrix
from mohge.bench.report.page import render
from mohge.bench.report.readings_what_if import what_if_verdict, worth_sentence
from mohge.bench.report.scenarios import choice_name, is_only_what_if, numeric_axes, skew_of
from mohge.bench.report.section import Section
from mohge.bench.report.sections import sections
from mohge.bench.report.sections_what_if import MOST
from mohge.bench.whatif import Wanted, make_study, parse_grid, run_study
from mohge.bench.whatif.settings import Setting, main_setting, settings, solved

EVIL = "<script>alert(1)</script>"
GRID = "tokens=256 ranks=2,4 policy=aga,lpt,stratified replicas=0 routing=zipf:0.8,zipf:1.2 group_loss=0,1"


def scenario(number: int = 0, policy: str = "lpt", seconds: float = 1e-4, **more: Any) -> WhatIfRecord:
    """A possible scenario; 1e-4 s less than the baseline takes is saved."""
    asked: dict[str, Any] = {
        "id": f"{number:016x}",
        "spec": "mohge-3b",
        "tokens": 4096,
        "routing": "zipf:1.2",
        "group_loss": 0.0,
        "seed": 0,
        "ranks": 8,
        "replicas": 0,
        "capacity": None,
        "cluster": "h200x8",
        "style": "by_rank",
        "provenance": Provenance.SIMULATED,
        "status": "possible",
        "memory": 2**26,
        "traffic": 2.0**26,
        "work_over_bound": 1.05,
        "saved_s": 2e-4 - seconds,
        "migration_bytes": 2.0**27,
        "migration_s": 1e-3,
        "pays_after": 1e-3 / (2e-4 - seconds) if seconds < 2e-4 else None,
        "net_s": (2e-4 - seconds) * 1000 - 1e-3,
        "group_rows": [0.25, 0.75],
        **more,
    }
    return WhatIfRecord(number=number, policy=policy, seconds=seconds, **asked)


def transferred(policy: str = "lpt", **more: Any) -> TransferRecord:
    """Two layers, two windows: 1.1 on its own, 1.3 and 1.5 on the other."""
    facts: dict[str, Any] = {
        "windows": ["code", "math"],
        "layers": [3, 7],
        "scores": [[[1.1, 1.3], [1.3, 1.1]], [[1.1, 1.5], [1.5, 1.1]]],
        "on_own": 1.1,
        "on_others": 1.4,
        "status": "possible",
        "provenance": Provenance.SIMULATED,
        **more,
    }
    return TransferRecord("mohge-3b", 8, policy, 0, "olmoe.counts", **facts)


def run_of(build: Any, *records: WhatIfRecord, **more: Any) -> Run:
    """A run of a study."""
    wanted = {"baseline": "aga", "horizon": 1000}
    notes = {"what_if": {"wanted": wanted, "costs": {"1024": "predicted: a data sheet"}, "links": {"h200x8": "nvlink"}}}
    return build.run([], what_if=list(records), **{"notes": notes, **more})


def by_name(run: Run) -> dict[str, Section]:
    return {section.name: section for section in sections(run)}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Run:
    asked = make_study(Wanted(parse_grid([GRID]).to_dict()))
    environment = Environment()
    writer = RunWriter.create(tmp_path_factory.mktemp("runs"), "what-if", command=["mohge"], environment=environment)
    with writer:
        run_study(asked, writer)
        writer.add_what_if([], [transferred()])
    return load_run(writer.path)


# The whole


def test_a_study_has_every_section_and_plotly_accepts_them(study: Run) -> None:
    found = by_name(study)
    assert list(found) == [
        *("what_if_best", "what_if_worth", "what_if_front", "what_if_along", "what_if_groups", "transfer"),
        *("step_ranks", "step_timeline", "step_traffic"),
    ]
    for section in found.values():
        assert section.provenance == "simulated"
        assert section.variants, section.name
        for variant in section.variants:
            go.Figure(plain(variant.figure))
            assert variant.reading.endswith(".")
            assert "nan" not in f"{variant.reading} {variant.rows}".lower().split()


def test_the_page_answers_first_and_has_no_empty_measured_part(study: Run) -> None:
    assert is_only_what_if(study)
    page = render(study)
    assert "is balancing worth it?" in page
    assert "Simulated, not measured: on mohge-3b (256 tokens, zipf:0.8, group loss 0, 4 ranks)" in page
    assert "The implementations" not in page
    assert "Nothing was timed" not in page


def test_a_study_beside_measured_records_leaves_the_page_to_them(believable: Run, build: Any) -> None:
    run = replace(believable, what_if=[scenario()])
    assert not is_only_what_if(run)
    assert "what_if_best" in by_name(run)
    assert "The implementations" in render(run)
    assert "what_if_best" not in by_name(believable)


# Who is best, and whether moving pays


def test_the_verdict_names_the_best_its_bound_and_the_net_benefit(build: Any) -> None:
    slow = scenario(0, "aga", 2e-4, saved_s=0.0, migration_s=0.0, migration_bytes=0.0, net_s=0.0, pays_after=0.0)
    said = what_if_verdict(run_of(build, slow, scenario(1, work_over_bound=1.04)))
    assert said.kind == "predicted"
    assert said.sentence == (
        "Simulated, not measured: on mohge-3b (4\u202f096 tokens, zipf:1.2, 8 ranks) lpt is the quickest with 100 µs a "
        "step, 2.00 times as fast as under aga; its busiest rank has 1.040 times the work of a proven bound."
    )
    assert said.remarks[0] == (
        "Balancing is worth it here: from aga to lpt moving 128 MiB takes 1.00 ms, has paid after 10 steps and gains "
        "99.0 ms in 1\u202f000 steps, 50 % of the time."
    )
    assert said.remarks[1] == "Seconds of experts (H 1024) predicted: a data sheet."


def test_balancing_that_gains_nothing_is_not_worth_it() -> None:
    worse = scenario(0, seconds=3e-4)
    (setting,) = settings([worse])
    assert "not worth it here: no choice gains anything over aga in 1\u202f000 steps" in worth_sentence(
        setting, "aga", 1000
    )
    (unknown,) = settings([scenario(saved_s=None, net_s=None)])
    assert "not known: aga cannot be placed here" in worth_sentence(unknown, "aga", 1000)


def test_a_choice_that_does_not_fit_is_not_best_where_another_fits() -> None:
    (setting,) = settings([scenario(0, seconds=1e-5, fits=False), scenario(1, "aga", fits=True)])
    assert setting.best.policy == "aga"
    assert [row.policy for row in figures.front_of(setting.choices)] == ["aga"]


def test_impossible_scenarios_are_counted_with_their_reason(build: Any) -> None:
    never = scenario(1, "aga", status="impossible", reason="16 ranks need as many experts")
    remarks = by_name(run_of(build, scenario(), never))["what_if_best"].variants[0].remarks
    assert remarks[0] == "1 scenario of 2 cannot be: 16 ranks need as many experts (1)."
    nothing = what_if_verdict(run_of(build, never))
    assert nothing.kind == "not measured"
    assert "16 ranks need as many experts" in nothing.sentence
    assert by_name(run_of(build, never))["what_if_best"].variants == []


def test_the_main_setting_is_the_middle_one_without_group_loss() -> None:
    rows = [
        scenario(number, ranks=ranks, group_loss=loss)
        for number, (ranks, loss) in enumerate((ranks, loss) for ranks in (4, 8, 16) for loss in (0.5, 0.0))
    ]
    given = main_setting(settings(rows)).given
    assert (given["ranks"], given["group_loss"]) == (8, 0.0)


# Figures


def test_the_map_has_the_best_of_every_cell_and_what_it_gains() -> None:
    rows = [
        scenario(0, "aga", 2e-4, ranks=4, saved_s=0.0),
        scenario(1, "lpt", 1e-4, ranks=4),
        scenario(2, "eplb", 1.6e-4, ranks=8, replicas=16),
    ]
    figure = figures.best_map(settings(rows), "ranks", "routing")
    assert figure is not None
    (cells,) = figure["data"]
    assert cells["z"] == [[2.0, 1.25]]
    texts = [note["text"] for note in figure["layout"]["annotations"]]
    assert texts == ["lpt<br>2.00 ×", "eplb +16<br>1.25 ×"]


def test_the_front_is_solid_and_the_beaten_faint() -> None:
    rows = [
        scenario(0, "lpt", 1e-4, memory=300, traffic=3.0),
        scenario(1, "aga", 2e-4, memory=200, traffic=2.0),
        scenario(2, "eplb", 2e-4, memory=400, traffic=4.0),
    ]
    figure = figures.pareto(rows)
    assert figure is not None
    go.Figure(plain(figure))
    points = [trace for trace in figure["data"] if trace.get("customdata") and trace["yaxis"] == "y"]
    sizes = {trace["name"]: trace["marker"]["size"] for trace in points}
    assert sizes["lpt"] == sizes["aga"] > sizes["eplb"]
    assert figures.pareto(rows[:1]) is None


def test_the_line_of_a_choice_crosses_zero_where_it_has_paid() -> None:
    (setting,) = settings([scenario(0, "lpt", 1e-4), scenario(1, "aga", 2e-4, saved_s=0.0, migration_s=0.0)])
    figure = figures.net_benefit(setting, 1000)
    assert figure is not None
    (line,) = figure["data"]  # the baseline moves nothing
    assert line["x"] == pytest.approx([0, 10, 40])
    assert line["y"] == pytest.approx([-1, 0, 3])


def test_axes_are_found_with_their_values() -> None:
    rows = [scenario(n, routing=f"zipf:{skew}") for n, skew in enumerate((0.8, 1.2, 1.6))]
    assert numeric_axes(rows) == ["skew"]
    figure = figures.along(rows, "skew")
    assert figure is not None
    assert figure["data"][0]["x"] == [0.8, 1.2, 1.6]
    assert numeric_axes([*rows, scenario(3, routing="uniform")]) == []
    assert skew_of("hot_set:0.1,0.5") is None


def test_shares_of_groups_add_up_along_the_group_loss() -> None:
    rows = [scenario(0), scenario(1, group_loss=1.0, group_rows=[0.5, 0.5])]
    figure = figures.group_shares(rows)
    assert figure is not None
    assert [trace["y"] for trace in figure["data"]] == [[25.0, 50.0], [75.0, 50.0]]
    assert figures.group_shares(rows[:1]) is None


def test_a_large_study_is_drawn_in_part_and_says_so(build: Any) -> None:
    rows = [scenario(number, seed=number, group_loss=0.0) for number in range(MOST + 5)]
    section = by_name(run_of(build, *rows))["what_if_worth"]
    assert len(section.variants) == MOST
    assert section.variants[0].remarks[-1] == "5 more are in the run file and not drawn here."


def test_choices_have_names() -> None:
    assert choice_name(scenario(replicas=8, capacity=1.25)) == "lpt with 8 spare copies and memory at most 1.25 × even"


# Plans scored elsewhere


def test_the_matrix_has_the_mean_of_layers_and_each_layer(build: Any) -> None:
    assert mean_scores(transferred()) == [pytest.approx([1.1, 1.4]), pytest.approx([1.4, 1.1])]
    never = {"status": "impossible", "reason": "no", "scores": [], "on_own": None, "on_others": None}
    run = build.run(
        [],
        transfers=[
            transferred(),
            transferred("aga", **never),
        ],
    )
    section = by_name(run)["transfer"]
    assert [variant.label.rpartition(" · ")[2] for variant in section.variants] == [
        "mean of 2 layers",
        "layer 3",
        "layer 7",
    ]
    figure = section.variants[0].figure
    assert figure is not None
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["<b>1.10</b>", "1.40", "1.40", "<b>1.10</b>"]
    assert section.variants[0].rows == (("lpt", "1.10", "1.40", ""), ("aga", "–", "–", "no"))
    said = what_if_verdict(run)
    assert said.sentence.startswith(
        "Simulated, not measured: a plan of lpt on 8 ranks leaves the busiest rank with 1.10"
    )
    assert transfer_matrix([], []) is None


# Single steps


def step(number: int, **more: Any) -> StepRecord:
    """Two ranks, of which rank 1 computes twice as long."""
    facts: dict[str, Any] = {
        "baseline": number == 0,
        "rows": [10.0, 20.0],
        "work": [1e9, 2e9],
        "compute_s": [1e-5, 2e-5],
        "memory": [2.0**20, 2.0**20],
        "straggler": 1,
        "nodes": 1,
        "bytes_matrix": [[0.0, 2.0**20], [2.0**21, 0.0]],
        "intervals": [[0, "compute", 0, 0.0, 1e-5], [1, "compute", 0, 0.0, 2e-5], [0, "combine", 0, 2e-5, 3e-5]],
        "bound": 1.5e9,
        **more,
    }
    return StepRecord(number, f"{number:016x}", Provenance.SIMULATED, **facts)


def test_the_straggler_is_marked_and_its_end_is_a_line() -> None:
    one = step(0)
    figure = timelines([("aga", one.intervals, one.straggler)], 2)
    assert figure is not None
    compute = next(trace for trace in figure["data"] if trace["name"] == "compute")
    assert compute["x"] == pytest.approx([10, 20])
    assert compute["marker"]["color"][0] != compute["marker"]["color"][1] == "#009E73"
    assert figure["layout"]["yaxis"]["ticktext"] == ["0", "<b>1 ▸</b>"]
    assert figure["layout"]["shapes"][0]["x0"] == pytest.approx(20)
    assert timelines([("aga", [], 0)], 2) is None


def test_traffic_has_no_cell_for_a_rank_and_itself_and_parts_the_nodes() -> None:
    figure = traffic([("aga", step(0).bytes_matrix), ("lpt", step(1).bytes_matrix)], nodes=2)
    assert figure is not None
    go.Figure(plain(figure))
    assert figure["data"][0]["z"] == [[None, 1.0], [2.0, None]]
    assert len(figure["layout"]["shapes"]) == 4
    assert traffic([("aga", [[0.0, 0.0], [0.0, 0.0]])]) is None


def test_steps_are_drawn_the_baseline_first(build: Any) -> None:
    run = run_of(build, scenario(0, "aga", 2e-4), scenario(1), steps=[step(1), step(0)])
    found = by_name(run)
    (variant,) = found["step_timeline"].variants
    assert variant.reading.startswith("aga takes 30.0 µs; lpt takes 30.0 µs; under aga the ranks wait 17 %")
    figure = found["step_ranks"].variants[0].figure
    assert figure is not None
    assert figure["layout"]["xaxis"]["ticktext"] == ["aga", "lpt"]


# Odd studies


@pytest.mark.parametrize(
    "odd",
    [
        {"seconds": math.nan},
        {"seconds": 0.0},
        {"memory": None, "traffic": None, "group_rows": []},
        {"saved_s": None, "migration_s": None, "net_s": None, "pays_after": None, "work_over_bound": math.nan},
        {"spec": EVIL, "routing": EVIL, "cluster": EVIL, "note": EVIL},
    ],
)
def test_odd_scenarios_give_valid_figures_or_none(build: Any, odd: dict[str, Any]) -> None:
    rows = [scenario(0, "aga", **({"seconds": 2e-4} | odd)), scenario(1, EVIL, **odd)]
    run = run_of(build, *rows, steps=[step(0), step(7), step(1, intervals=[], bytes_matrix=[], bound=None)])
    for section in sections(run):
        for variant in section.variants:
            if variant.figure is not None:
                go.Figure(plain(variant.figure))
            assert "nan" not in f"{variant.reading} {variant.rows}".lower().split()
    assert EVIL not in render(run)


def test_notes_of_another_kind_are_no_error(build: Any) -> None:
    for notes in ({}, {"what_if": None}, {"what_if": {"wanted": 3, "costs": "x", "links": []}}):
        assert "the present placement" in render(run_of(build, scenario(), notes=notes))
    assert solved([scenario(seconds=math.inf)]) == []
    assert Setting({}, (scenario(),)).best.policy == "lpt"
