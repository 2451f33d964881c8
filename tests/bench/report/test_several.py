"""Several runs in one report: of one machine over time, of others side by side, never mixed without a word."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from mohge.bench.records import Environment, LabelledRun, Provenance, Record, Run, Status
from mohge.bench.records.codec import plain
from mohge.bench.report.figures_several import MARKERS, MOST_BARS, PATTERNS, side_by_side, trend
from mohge.bench.report.page_several import render_several, write_several
from mohge.bench.report.palette import colour
from mohge.bench.report.plot import logarithmic
from mohge.bench.report.section import Section, Variant
from mohge.bench.report.sections_several import _order, _together, several_sections
from mohge.bench.report.several import BOTH, OVER_TIME, SIDE_BY_SIDE, Several
from mohge.bench.report.verdict_several import case_table, columns, verdict_several

NOWHERE = Path("nowhere")
H100, H200 = ({"name": name, "uuid": f"GPU-{name}", "driver": "570.1"} for name in ("NVIDIA H100", "NVIDIA H200"))


def labelled(label: str, run: Run, *, day: int = 1, gpu: dict[str, Any] | None = None, **more: Any) -> LabelledRun:
    environment = replace(run.environment, gpu=gpu)
    started = f"2026-01-{day:02}T12:00:00+00:00"
    return LabelledRun(label, replace(run, environment=environment, started=started, **more), NOWHERE)


@pytest.fixture
def times(build: Any) -> Any:
    """times(triton, padded_bmm) in milliseconds: a run with these on one case, forty samples each."""

    def make(*milliseconds: float) -> Run:
        names = ("triton", "padded_bmm", "torch_loop")
        hot = [build.samples(ms * 1000, 0.004, 40) for ms in milliseconds]
        return build.run([build.passed(n, build.case(), 1, hot=h) for n, h in zip(names, hot, strict=False)])

    return make


@pytest.fixture
def over_time(times: Any) -> Several:
    runs = [times(10, 30), times(10, 30), times(5, 30)]
    return Several([labelled("abc"[place], run, day=9 - place, gpu=H100) for place, run in enumerate(runs)][::-1])


@pytest.fixture
def machines(times: Any) -> Several:
    return Several([labelled("a", times(10, 30), gpu=H100), labelled("b", times(8, 31), gpu=H200)])


def by_name(several: Several) -> dict[str, Section]:
    return {section.name: section for section in several_sections(several)}


# Which runs belong together


def test_the_rules_of_comparison_say_what_is_one_machine(times: Any) -> None:
    runs = [
        labelled("old", times(1), day=2, gpu=H100),
        labelled("other", times(1), gpu=H200),
        labelled("new", times(1), day=1, gpu={**H100, "uuid": "GPU-x", "driver": "580.2"}),
        labelled("cpu", times(1)),
    ]
    several = Several(runs)
    assert several.kind == BOTH
    assert [[item.label for item in machine.runs] for machine in several.machines] == [
        *(["new", "old"], ["other"], ["cpu"])
    ]
    assert [several.places(machine) for machine in several.machines] == [[0, 1], [2], [3]]
    assert Several(runs[:2]).kind == SIDE_BY_SIDE
    assert Several([runs[0], runs[2]]).kind == OVER_TIME


def test_cpus_with_other_threads_are_other_machines_and_told_apart(times: Any) -> None:
    runs = [labelled(name, times(1)) for name in "ab"]
    more = {**runs[1].run.environment.cpu, "threads": 8}
    runs[1] = replace(runs[1], run=replace(runs[1].run, environment=replace(runs[1].run.environment, cpu=more)))
    names = [machine.name for machine in Several(runs).machines]
    assert len(set(names)) == 2
    assert names[1].endswith("8 threads")


def test_runs_are_ordered_by_start_and_one_without_a_time_comes_first(times: Any) -> None:
    broken = labelled("broken", times(1), gpu=H100)
    broken = replace(broken, run=replace(broken.run, started="yesterday"))
    several = Several(
        [labelled("late", times(1), day=5, gpu=H100), broken, labelled("early", times(1), day=2, gpu=H100)]
    )
    assert several.labels == ["broken", "early", "late"]
    figure = trend(several, several.machines[0], several.cases[0])
    assert figure is not None
    assert figure["layout"]["xaxis"]["type"] == "category"
    assert figure["data"][0]["x"] == ["broken", "early", "late"]


def test_what_differs_is_said_fact_by_fact(times: Any) -> None:
    several = Several(
        [
            labelled("a", times(1), gpu=H100),
            labelled("b", times(1), gpu={**H100, "driver": "580.2"}, source_hash="feed"),
        ]
    )
    assert several.differences == {"GPU driver": ["570.1", "580.2"], "kernel sources": ["0123abcd", "feed"]}
    assert "Between the runs differ: GPU driver and kernel sources." in several.remarks
    same = Several([labelled("a", times(1), gpu=H100), labelled("b", times(1), gpu=H100)])
    assert same.differences == {}
    assert "the same in all runs" in " ".join(same.remarks)
    cards = Several([labelled("a", times(1), gpu=H100), labelled("b", times(1), gpu={**H100, "uuid": "other"})])
    assert "on 2 different cards" in cards.remarks[0]


def test_an_interrupted_run_is_named(times: Any) -> None:
    several = Several([labelled("a", times(1)), labelled("b", times(1), finished=None)])
    assert any(remark.startswith("b was interrupted") for remark in several.remarks)


def test_one_run_is_not_several(times: Any) -> None:
    with pytest.raises(ValueError, match="expected two or more"):
        Several([labelled("a", times(1))])


# The first screen


def test_the_case_most_runs_have_comes_first(build: Any) -> None:
    large, small = build.case(tokens=256), build.case(tokens=16)
    runs = [
        build.run([build.passed("a", large, 9), build.passed("a", small, 2)]),
        build.run([build.passed("a", small, 3)]),
    ]
    several = Several([labelled("one", runs[0]), labelled("two", runs[1])])
    assert [case.case.tokens for case in several.cases] == [16, 256]
    table = case_table(several, several.cases[1])
    assert [cell["text"] for cell in table["rows"][0]["cells"]] == ["9.00 ms", "–"]


def test_a_case_of_all_machines_goes_before_one_of_more_runs(build: Any) -> None:
    here, shared = build.case(tokens=256), build.case(tokens=16)
    runs = [build.run([build.passed("a", here, 9), build.passed("a", shared, 2)])]
    runs += [build.run([build.passed("a", here, 9)]), build.run([build.passed("a", here, 9)])]
    runs.append(build.run([build.passed("a", shared, 3)]))
    gpus = (H100, H100, H100, H200)
    several = Several(
        [labelled(str(day), run, day=day, gpu=gpu) for day, (run, gpu) in enumerate(zip(runs, gpus, strict=True), 1)]
    )
    assert [case.case.tokens for case in several.cases] == [16, 256]
    assert "fastest on mohge-3b (16 tokens" in verdict_several(several).sentence
    apart = Several([labelled("x", runs[1], gpu=H100), labelled("y", runs[3], gpu=H200)])
    assert "no case was timed in more than one" in verdict_several(apart).sentence


def test_the_table_has_a_column_per_run_and_keeps_failures(build: Any, times: Any) -> None:
    crash = Record("triton", Provenance.MEASURED, Status.CRASHED, build.case(), reason="signal 11")
    broken = build.run([crash, build.passed("padded_bmm", build.case(), 30)])
    several = Several([labelled("a", times(10, 30), gpu=H100), labelled("b", broken, gpu=H200)])
    assert [(column.label, column.machine, column.started) for column in columns(several)] == [
        ("a", "NVIDIA H100", "2026-01-01 12:00 UTC"),
        ("b", "NVIDIA H200", "2026-01-01 12:00 UTC"),
    ]
    (triton, padded) = case_table(several, several.cases[0])["rows"]
    assert triton["cells"][0] == {"text": "10.0 ms", "small": "9.96 ms to 10.0 ms", "bad": False, "best": True}
    assert triton["cells"][1] == {"text": "crashed", "small": "signal 11", "bad": True, "best": False}
    assert not any(cell["best"] for cell in padded["cells"])


def test_over_time_the_verdict_is_that_of_compare(over_time: Several) -> None:
    found = verdict_several(over_time)
    assert found.kind == "decided"
    assert found.sentence.startswith("On mohge-3b (256 tokens, router, float32), from c to a: ")
    assert "triton (" in found.sentence
    assert "is slower" in found.sentence
    assert any("mohge compare c a" in remark for remark in found.remarks)


def test_machines_are_decided_by_their_intervals(machines: Several, times: Any) -> None:
    found = verdict_several(machines)
    assert found.kind == "decided"
    assert found.sentence.startswith("NVIDIA H200 is fastest on mohge-3b (256 tokens, router, float32): 8.00 ms (")
    assert "the next, NVIDIA H100, takes 1.25 times as long, 10.0 ms (" in found.sentence
    alike = Several([labelled("a", times(10, 30), gpu=H100), labelled("b", times(10.01, 31), gpu=H200)])
    assert verdict_several(alike).kind == "undecided"
    assert "intervals overlap" in verdict_several(alike).sentence


def test_times_taken_in_two_ways_decide_nothing_and_are_not_joined(times: Any) -> None:
    graph = times(5, 30)
    records = [replace(r, hot=replace(r.hot, timer="graph")) for r in graph.records]
    graph = replace(graph, records=records)
    plain_run = times(10, 30)
    plain_run = replace(plain_run, records=[replace(r, hot=replace(r.hot, timer="events")) for r in plain_run.records])
    apart = Several([labelled("a", plain_run, gpu=H100), labelled("b", graph, gpu=H200)])
    assert verdict_several(apart).kind == "undecided"
    assert "by graph and by events" in verdict_several(apart).sentence
    same = Several([labelled("a", plain_run, gpu=H100), labelled("b", graph, day=2, gpu=H100)])
    assert verdict_several(same).kind == "undecided"
    assert any("was timed by events in one run and by graph in another" in remark for remark in same.remarks)
    figure = trend(same, same.machines[0], same.cases[0])
    assert figure is not None
    assert [len(trace["x"]) for trace in figure["data"] if trace["name"] == "triton"] == [1, 1]


NOTHING = {
    "no records": lambda build: build.run([]),
    "failures": lambda build: build.run(
        [Record("a", Provenance.MEASURED, Status.CRASHED, build.case(), reason="signal 11")]
    ),
    "another case": lambda build: build.run([build.passed("a", build.case("olmoe-1b-7b", 4), 1)]),
    "no numbers": lambda build: build.run(
        [build.passed("a", build.case(), 1, hot=replace(build.samples(9), median_us=math.nan), tflops=math.nan)]
    ),
}


@pytest.mark.parametrize("other", NOTHING)
def test_runs_with_nothing_in_common_still_give_a_page(build: Any, other: str, times: Any) -> None:
    for first in (times(10, 30), NOTHING[other](build)):
        runs = [labelled("first", first), labelled("second", NOTHING[other](build), day=2)]
        several = Several(runs)
        found = verdict_several(several)
        if first.records and first.records[0].implementation == "triton":
            assert found.kind == "undecided"
        page = render_several(runs)
        assert "NaN" not in page.partition('id="about">')[2].partition("* plotly.js v")[0]
        assert found.sentence.split(":")[0] in page


# Figures


def test_a_trend_has_the_runs_in_time_with_their_intervals(over_time: Several) -> None:
    figure = trend(over_time, over_time.machines[0], over_time.cases[0])
    assert figure is not None
    go.Figure(plain(figure))
    triton, padded, *keys = figure["data"]
    assert triton["x"] == ["2026-01-07 12:00:00", "2026-01-08 12:00:00", "2026-01-09 12:00:00"]
    assert triton["y"] == [5.0, 10.0, 10.0]
    assert triton["error_y"]["array"] == pytest.approx([0.02, 0.04, 0.04])
    assert triton["line"]["color"] == colour("triton")
    assert triton["marker"]["symbol"] == padded["marker"]["symbol"] == list(MARKERS[:3])
    assert [(key["name"], key["marker"]["symbol"]) for key in keys] == list(zip("cba", MARKERS, strict=False))


def test_bars_have_the_colour_of_the_implementation_and_the_hatching_of_the_run(machines: Several) -> None:
    figure = side_by_side(machines, machines.cases[0])
    assert figure is not None
    go.Figure(plain(figure))
    bars = [trace for trace in figure["data"] if not trace.get("showlegend", True)]
    assert [(bar["y"], bar["x"]) for bar in bars] == [
        *((["triton"], [10.0]), (["padded_bmm"], [30.0]), (["triton"], [8.0]), (["padded_bmm"], [31.0]))
    ]
    assert [bar["marker"]["color"] for bar in bars] == [colour("triton"), colour("padded_bmm")] * 2
    assert [bar["marker"]["pattern"]["shape"] for bar in bars] == [PATTERNS[0]] * 2 + [PATTERNS[1]] * 2
    keys = [trace for trace in figure["data"] if trace not in bars]
    assert [key["name"] for key in keys] == ["NVIDIA H100 · a", "NVIDIA H200 · b"]
    assert len({bar["offsetgroup"] for bar in bars}) == 2


def test_too_many_runs_leave_the_last_of_each_machine_and_say_so(times: Any) -> None:
    runs = [labelled(f"r{day}", times(10), day=day, gpu=H100) for day in range(1, MOST_BARS + 1)]
    section = by_name(Several([*runs, labelled("new", times(8), gpu=H200)]))["beside"]
    (variant,) = section.variants
    assert variant.figure is not None
    assert [trace["name"] for trace in variant.figure["data"] if trace.get("showlegend", True)] == [
        f"NVIDIA H100 · r{MOST_BARS}",
        "NVIDIA H200 · new",
    ]
    assert "r1, r2" in variant.remarks[0]


def test_the_change_has_a_row_per_case_with_its_verdict(over_time: Several) -> None:
    section = by_name(over_time)["change"]
    (variant,) = section.variants
    assert variant.figure is not None
    go.Figure(plain(variant.figure))
    assert [row[0] for row in variant.rows] == ["triton", "padded_bmm"]
    assert variant.rows[0][6] == "slower"
    assert variant.figure["data"][0]["marker"]["symbol"] == ["diamond"]
    assert variant.figure["data"][0]["x"][0] == pytest.approx(2.0, rel=0.05)
    assert [trace["y"] for trace in variant.figure["data"]] == [[2], [3]]
    (label,) = variant.figure["layout"]["annotations"]
    assert label["text"] == "<b>mohge-3b</b><br>256 tokens · router · float32"
    assert label["y"] < 2


def test_labels_of_a_logarithmic_axis_are_in_full() -> None:
    assert logarithmic(0.27, 1.7)["ticktext"] == ["0.2", "0.5", "1", "2"]
    assert "ticktext" not in logarithmic(1.0, 1.2)
    assert logarithmic(1.0, 1e5)["ticktext"][:4] == ["1", "10", "100", "1\u202f000"]


# What is of one run alone


def test_sections_of_one_run_are_drawn_run_by_run_or_said_to_be_left_out(believable: Run, times: Any) -> None:
    found = by_name(Several([labelled("full", believable), labelled("bare", times(10, 30), day=2)]))
    assert {variant.label.split(" · ")[0] for variant in found["time"].variants} == {"full", "bare"}
    assert found["time"].title == "Time against tokens, run by run"
    assert {variant.label.split(" · ")[0] for variant in found["placement"].variants} == {"full"}
    assert found["placement"].lead.endswith("Nothing of bare: this run holds no placements.")


def test_what_no_run_has_is_said_once(times: Any) -> None:
    found = by_name(Several([labelled("a", times(10, 30)), labelled("b", times(10, 30), day=2)]))
    assert not found["placement"].variants
    assert found["placement"].empty == "This run holds no placements."


def test_a_section_keeps_its_place_though_a_run_lacks_it() -> None:
    assert _order([["a", "c", "d"], ["a", "b", "c"], ["x", "d", "e"]]) == ["x", "a", "b", "c", "d", "e"]


def test_figures_of_another_provenance_are_never_under_one_badge(build: Any) -> None:
    figure = {"data": [], "layout": {}}
    found = [
        (
            label,
            Section("telemetry", "Telemetry", "Lead.", kind, "Why not.", [Variant("case", figure, "Said.")] * count),
        )
        for label, kind, count in (
            ("a", "measured", 1),
            ("b", "synthetic", 1),
            ("c", "measured", 2),
            ("d", "measured", 0),
        )
    ]
    measured, synthetic = _together([*found, ("e", None)])
    assert (measured.name, measured.provenance) == ("telemetry", "measured")
    assert (synthetic.name, synthetic.provenance) == ("telemetry_synthetic", "synthetic")
    assert [variant.label for variant in measured.variants] == ["a · case", "c · case", "c · case"]
    assert [variant.label for variant in synthetic.variants] == ["b · case"]
    assert measured.lead == "Lead. Nothing of d: why not. Nothing of e."
    (neither,) = _together([("a", replace(found[3][1], empty="Off.")), found[3]])
    assert neither.empty == "Nothing of a: off. Nothing of d: why not."


# The page


def test_the_page_names_every_run_and_machine_and_escapes_them(machines: Several, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    runs = [machines.runs[0], replace(machines.runs[1], label=evil)]
    write_several(runs, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert evil not in page
    for words in ("NVIDIA H100", "NVIDIA H200", "How do these machines compare", "What differs between the runs"):
        assert words in page
    assert page.count("* plotly.js v") == 1


def test_environments_may_be_empty(times: Any) -> None:
    runs = [LabelledRun(name, replace(times(9), environment=Environment()), NOWHERE) for name in "ab"]
    assert "a CPU without a name" in render_several(runs)


def test_versions_that_another_stands_for_are_named_below_the_table(build: Any) -> None:
    where = build.case()
    records = [build.passed(name, where, ms) for name, ms in (("cupy", 10), ("cupy_mma", 14), ("padded_bmm", 30))]
    runs = [labelled(label, build.run(records), gpu=H100) for label in "ab"]
    page = render_several(runs)
    assert 'Not in these tables: cupy_mma, which are versions of others. Their times: <a href="#records">' in page
    assert "Not in these tables" not in render_several([labelled(label, build.run(records[::2])) for label in "ab"])
