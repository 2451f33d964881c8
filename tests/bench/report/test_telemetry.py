"""Telemetry in the report: the timeline out of the trace beside the run, energy, and traces that are missing."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from mohge.bench.cli import main
from mohge.bench.cli.measuring import finish
from mohge.bench.records import Environment, Run, RunWriter
from mohge.bench.records.codec import plain
from mohge.bench.report.cases import groups
from mohge.bench.report.curves import MOST_POINTS, drawn, kept
from mohge.bench.report.figures_energy import energy_per_token, joule_text
from mohge.bench.report.figures_telemetry import PANELS, curves, timeline
from mohge.bench.report.page import render
from mohge.bench.report.palette import colour, faint
from mohge.bench.report.section import Section
from mohge.bench.report.sections import sections
from mohge.bench.report.traces import load_traces, spans_by_record, spans_of
from mohge.bench.telemetry import Header, Mark, Reading, Trace, read_trace
from mohge.bench.telemetry.synthetic import write_synthetic

GPU = Environment(gpu={"name": "Some GPU"})
TRITON_S, PADDED_S = 101.9, 108.9  # when the synthetic trace marks the two layers, roughly


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("run") / "trace.jsonl").parent


@pytest.fixture(scope="module")
def trace(folder: Path) -> Trace:
    return read_trace(folder / "trace.jsonl")


@pytest.fixture
def run(build: Any, trace: Trace) -> Run:
    """Two implementations in the stretches that the synthetic trace marks, as if NVML had read them."""
    begins = {span.lane: span.begin for span in spans_of(trace) if span.whole}
    records = [
        build.watched(build.passed(name, build.case(), 10.0 + place), begin, joule_per_token=2e-3 * (1 + place))
        for place, (name, begin) in enumerate(begins.items())
    ]
    return build.run(records, environment=GPU)


def section(run: Run, folder: Path | None, name: str = "telemetry") -> Section:
    return {one.name: one for one in sections(run, load_traces(run, folder))}[name]


# The timeline


def test_lanes_and_every_metric_stand_on_one_clock(trace: Trace) -> None:
    begin, end = trace.readings[0].t, trace.readings[-1].t
    figure = timeline(trace, spans_of(trace), begin, end)
    assert figure is not None
    go.Figure(plain(figure))
    lanes = [one for one in figure["data"] if one["type"] == "bar"]
    lines = [one for one in figure["data"] if one["type"] == "scatter"]
    assert [lane["name"] for lane in lanes] == ["triton", "padded_bmm"]
    assert lanes[0]["text"] == ["whole layer", "gemm1", "gemm2", "combine"]
    assert lanes[0]["x"] == pytest.approx([3.0, 0.6, 0.6, 0.6])
    assert [line["name"] for line in lines] == [panel.title for panel in PANELS]
    assert {line["xaxis"] for line in lines} == {"x"}
    assert len({line["yaxis"] for line in lines}) == len(PANELS)
    power = lines[[panel.title for panel in PANELS].index("power")]
    assert power["y"] == [round(reading.values["power_w"], 1) for reading in trace.readings]
    assert all(low < high for low, high in domains(figure))


def domains(figure: Any) -> list[list[float]]:
    axes = [axis["domain"] for name, axis in figure["layout"].items() if name.startswith("yaxis")]
    assert all(above[0] >= below[1] for above, below in pairwise(axes))
    return axes


def test_bands_of_the_phases_run_through_all_panels_in_the_colour_of_their_lane(trace: Trace) -> None:
    spans = spans_of(trace)
    figure = timeline(trace, spans, trace.readings[0].t, trace.readings[-1].t)
    assert figure is not None
    bands = figure["layout"]["shapes"]
    assert [band["x1"] - band["x0"] for band in bands] == pytest.approx([span.end - span.begin for span in spans])
    assert {(band["yref"], band["y0"], band["y1"]) for band in bands} == {("paper", 0, 1)}
    assert bands[0]["fillcolor"] == faint(colour("triton"), 0.13)


def test_only_what_the_trace_has_gets_a_panel() -> None:
    readings = tuple(Reading(t, {"power_average_w": 300.0 + t, "sm": 0.5} if t < 3 else {}) for t in (1.0, 2.0, 3.0))
    bare = Trace(Header("nvml", {}, "", 0.1), readings, ())
    assert [curve.metric for curve in curves(bare, 0.0, 9.0)] == ["sm", "power_average_w"]
    figure = timeline(bare, [], 0.0, 9.0)
    assert figure is not None
    go.Figure(plain(figure))
    assert "power, as the driver averages it, W" in [note["text"] for note in figure["layout"]["annotations"]]
    assert figure["layout"]["xaxis"]["anchor"] == "y2"
    assert timeline(bare, [], 5.0, 9.0) is None


def test_a_better_metric_with_next_to_no_readings_gives_way() -> None:
    readings = [
        Reading(float(t), {"utilization": 0.5} | ({"utilization_ring": 0.9} if t < 2 else {})) for t in range(5)
    ]
    few = Trace(Header("nvml", {}, "", 0.1), tuple(readings), ())
    assert [curve.metric for curve in curves(few, 0.0, 9.0)] == ["utilization"]
    assert [curve.metric for curve in curves(few, 0.0, 1.0)] == ["utilization_ring"]


def test_one_reading_is_drawn_as_a_point() -> None:
    one = Trace(Header("nvml", {}, "", 0.1), (Reading(1.0, {"power_w": 300.0}),), (Mark(0.5, "begin", "a", "layer"),))
    figure = timeline(one, spans_of(one), 0.0, 2.0)
    assert figure is not None
    assert figure["data"][-1]["mode"] == "markers"
    go.Figure(plain(figure))


# Reduction


def test_a_reduced_curve_keeps_every_peak_and_its_place() -> None:
    values = np.sin(np.arange(100_003) / 500)
    values[[7, 50_000, 100_002]] = 9.0, -9.0, 5.0
    places = kept(values, MOST_POINTS)
    assert len(places) <= MOST_POINTS
    assert {7, 50_000, 100_002} <= set(places.tolist())
    assert (np.diff(places) > 0).all()


@pytest.mark.parametrize("count", [0, 1, 2, MOST_POINTS, MOST_POINTS + 1, 3 * MOST_POINTS + 7])
def test_short_curves_stay_whole_and_none_is_too_long(count: int) -> None:
    times, values = drawn(np.arange(count) * 0.1, np.arange(count) % 7.0, gap_s=1.0)
    assert len(times) == len(values) == count if count <= MOST_POINTS else len(times) <= MOST_POINTS
    assert np.isfinite(values).all()


@pytest.mark.parametrize("per_part", [3, 4000])
def test_no_line_is_drawn_across_a_gap(per_part: int) -> None:
    times = np.concatenate([np.arange(per_part) * 0.1 + 1e4 * part for part in range(3)])
    shown, values = drawn(times, np.ones_like(times), gap_s=0.5)
    assert np.isnan(values).sum() == 2
    assert (np.diff(shown) > 0).all()


def test_more_gaps_than_points_do_not_lengthen_a_curve() -> None:
    shown, values = drawn(np.arange(9000) * 10.0, np.arange(9000) % 13.0, gap_s=1.0)
    assert len(shown) <= MOST_POINTS
    assert np.isnan(values).any()


# Which stretch belongs to which record


def test_phases_belong_to_the_record_whose_window_came_last_in_their_lane(build: Any) -> None:
    marks = [(1, "layer"), (4, "gemm1"), (10, "layer"), (13, "gemm1")]
    lines = [Mark(t + after, kind, "triton", name) for t, name in marks for after, kind in ((0, "begin"), (1, "end"))]
    spans = spans_of(Trace(Header("nvml", {}, "", 0.1), (), tuple(lines)))
    records = [build.watched(build.passed(name, build.case(), 9), begin) for name, begin in
               (("triton", 10.001), ("triton", 1.001), ("cupy", 3.0), ("triton", None))]  # fmt: skip
    found = spans_by_record(spans, records)
    assert [[span.begin for span in mine] for mine in found] == [[10, 13], [1, 4], [], []]


# Sections


def test_the_main_case_comes_first_and_each_implementation_can_be_seen_alone(run: Run, folder: Path) -> None:
    found = section(run, folder)
    assert found.provenance == "measured"
    assert [variant.label.rpartition(" · ")[2] for variant in found.variants] == [
        "on cpu",
        "only triton",
        "only padded_bmm",
    ]
    whole, triton, _ = found.variants
    assert whole.figure is not None
    assert triton.figure is not None
    assert triton.figure["data"][0]["text"] == ["whole layer", "gemm1", "gemm2", "combine"]
    assert triton.figure["layout"]["xaxis"]["range"] == pytest.approx([0, 1.0 + 4.8], abs=0.15)
    assert [row[0] for row in whole.rows] == ["triton", "padded_bmm"]
    assert [row[0] for row in triton.rows] == ["triton", "gemm1 alone"]
    assert "sw_power_cap 40 %" in whole.rows[0]
    assert whole.reading.startswith("The tensor pipe is busy 55 % of the time with triton, not told apart from padded")


def test_only_means_whose_intervals_do_not_meet_are_told_apart(build: Any) -> None:
    means = (("triton", 650.0, [640.0, 660.0]), ("cupy", 600.0, [590.0, 610.0]), ("numba", 640.0, [630.0, 645.0]))
    records = [
        build.watched(build.passed(name, build.case(), 9), power_w=watts, interval={"power_w": ends})
        for name, watts, ends in means
    ]
    said = [section(build.run(chosen), None).variants[0].reading for chosen in (records[:2], records)]
    assert "power is 650 W with triton, the most of all" in said[0]
    assert "power is 650 W with triton, not told apart from numba" in said[1]


def test_several_cases_add_the_whole_trace(build: Any, run: Run, folder: Path) -> None:
    more = build.watched(build.passed("triton", build.case(tokens=16), 3), run.records[1].telemetry.begin_s + 9)  # type: ignore[union-attr]
    found = section(replace(run, records=[*run.records, more]), folder)
    assert found.variants[-1].label.startswith("the whole trace")
    assert found.variants[found.first].label.startswith("mohge-3b · 256 tokens")


@pytest.mark.parametrize("source", ["synthetic", "recorded"])
def test_readings_of_other_calls_are_called_that_and_say_nothing(build: Any, folder: Path, source: str) -> None:
    record = build.watched(build.passed("triton", build.case(), 9), source=source)
    run = build.run([record, build.watched(build.passed("numba", build.case(), 9), PADDED_S)])
    found = section(run, folder)
    assert found.provenance == source
    assert found.variants[0].reading.startswith(f"{source.capitalize()} readings")
    assert "busy" not in found.variants[0].reading
    assert f'<span class="badge {source}">{source}</span>' in render(run, folder)
    energy = section(build.run([record]), folder, "energy")
    assert not energy.variants
    assert f"{source.capitalize()} readings" in energy.empty


def test_a_thinned_timeline_says_so(build: Any, tmp_path: Path) -> None:
    lines = [{"trace": 1, "source": "nvml", "device": {}, "started": "", "period_s": 0.001}]
    lines += [{"t": 100 + place / 1000, "power_w": 300} for place in range(2000)]
    (tmp_path / "trace.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    run = build.run([build.watched(build.passed("triton", build.case(), 9), 100.0, discarded_s=0.0)])
    assert "2\u202f000 readings, down-sampled for display" in section(run, tmp_path).variants[0].reading


def test_there_is_none_without_a_gpu_and_a_reason_with_one(build: Any) -> None:
    record = build.passed("triton", build.case(), 9)
    assert {"telemetry", "energy"}.isdisjoint(one.name for one in sections(build.run([record])))
    assert "switched off" in section(build.run([record], environment=GPU), None).empty
    refused = replace(record, notes={"telemetry": "no telemetry: NVML is not there"})
    assert section(build.run([refused]), None).empty == "No telemetry in this run: NVML is not there."
    assert "NVML is not there" in section(build.run([refused]), None, "energy").empty
    assert "telemetry" not in {one.name for one in sections(build.run([], environment=GPU))}


def test_the_commands_look_for_traces_beside_the_run_wherever_the_page_goes(run: Run, tmp_path: Path) -> None:
    inside, page = tmp_path / "run", tmp_path / "elsewhere" / "page.html"
    inside.mkdir()
    page.parent.mkdir()
    write_synthetic(inside / "trace.jsonl")
    writer = RunWriter(inside, run)
    for arguments in ([str(inside)], [str(writer.path)]):
        with pytest.raises(SystemExit) as ended:
            main(["report", *arguments, "--output", str(page)])
        assert ended.value.code == 0
        assert 'data-figure="telemetry"' in page.read_text(encoding="utf-8")
        page.unlink()
    assert finish(writer.path, report=True, json=None) == 0
    assert 'data-figure="telemetry"' in (inside / "report.html").read_text(encoding="utf-8")


# Traces that are not there, or are none


def _missing(path: Path) -> None:
    path.unlink()


def _no_header(path: Path) -> None:
    path.write_text('{"t": 1}\n', encoding="utf-8")


def _not_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00" * 50)


def _no_readings(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0], encoding="utf-8")


def _number_too_large(path: Path) -> None:
    path.write_text(f'{path.read_text(encoding="utf-8")}{{"t": 1{"0" * 400}}}\n', encoding="utf-8")


def _link_out(path: Path) -> None:
    target = path.parent.parent / "elsewhere.jsonl"
    path.rename(target)
    path.symlink_to(target)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)  # opening it would wait for ever


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE = (_missing, _no_header, _not_text, _no_readings, _number_too_large, _link_out, _pipe, _folder)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_missing_or_damaged_trace_is_a_reason_and_the_means_stay(run: Run, tmp_path: Path, damage: Any) -> None:
    inside = tmp_path / "run"
    inside.mkdir()
    damage(write_synthetic(inside / "trace.jsonl"))
    found = section(run, inside)
    (variant,) = found.variants
    assert variant.figure is None
    assert not found.drawn
    assert variant.reading.startswith("No timeline: trace.jsonl")
    assert str(tmp_path) not in variant.reading
    assert variant.rows[0][0] == "triton"
    assert variant.reading.partition(". ")[0].replace("'", "&#39;") in render(run, inside)


@pytest.mark.parametrize("name", ["../trace.jsonl", "/etc/hostname", "..", "sub/trace.jsonl", "a\0b", "x" * 5000])
def test_only_a_plain_file_beside_the_run_is_opened(build: Any, folder: Path, name: str) -> None:
    inside = folder / "inside"
    inside.mkdir(exist_ok=True)
    run = build.run([build.watched(build.passed("triton", build.case(), 9), trace=name)])
    traces = load_traces(run, inside)
    assert isinstance(traces[name], str)
    assert "No timeline" in section(run, inside).variants[0].reading


def test_without_the_folder_or_a_name_there_is_a_reason(build: Any, run: Run) -> None:
    assert "folder of the run is not known" in section(run, None).variants[0].reading
    nameless = build.run([build.watched(build.passed("triton", build.case(), 9), trace="")])
    assert "name no trace" in section(nameless, None).variants[0].reading


def test_a_window_outside_the_trace_has_no_timeline(build: Any, folder: Path) -> None:
    for begin in (5000.0, None):
        run = build.run([build.watched(build.passed("new_one", build.case(), 9), begin)])
        variant = section(run, folder).variants[0]
        assert variant.figure is None
        assert "no reading of this time" in variant.reading


def test_a_section_without_any_figure_has_no_place_for_one(build: Any, folder: Path) -> None:
    records = [build.watched(build.passed("triton", build.case(tokens=n), 9), trace="absent.jsonl") for n in (16, 256)]
    page = render(build.run(records), folder)
    assert 'data-figure="telemetry"' not in page
    assert 'data-pick="telemetry"' in page
    assert page.count("No timeline: absent.jsonl: not there, beside the run file.") == 2


# Energy


def test_energy_of_a_token_has_the_interval_of_its_window(run: Run) -> None:
    (group,) = groups(run.records)
    figure = energy_per_token(group)
    assert figure is not None
    go.Figure(plain(figure))
    (bars,) = figure["data"]
    assert bars["y"] == ["triton", "padded_bmm"]
    assert bars["x"] == pytest.approx([2.0, 4.0])  # mJ
    assert bars["error_x"]["array"] == pytest.approx([2.0 * 50 / 1950, 4.0 * 50 / 1950])
    assert bars["text"] == ["400 GFLOP/J"] * 2
    found = section(run, None, "energy")
    assert "triton spends least on a token: 2.00 mJ" in found.variants[0].reading
    assert found.variants[0].rows[0][:2] == ("triton", "2.00 mJ")


def test_energies_that_overlap_are_undecided(build: Any) -> None:
    records = [
        build.watched(build.passed(name, build.case(), 9), joule_per_token=joule)
        for name, joule in (("triton", 2e-3), ("cupy", 2.01e-3))
    ]
    reading = section(build.run(records, environment=GPU), None, "energy").variants[0].reading
    assert reading.startswith("Undecided between triton and cupy")


ODD: tuple[dict[str, Any], ...] = (
    {"joule_per_token": math.nan},
    {"joule_per_token": 0.0, "power_w": math.nan, "tensor": None, "sm_mhz": math.inf},
    {"interval": {"energy_j": [math.nan, 1.0], "power_w": [1.0]}, "energy_j": 0.0},
    {"begin_s": math.nan, "end_s": math.nan, "discarded_s": math.nan, "phases": {"gemm1": {}}},
    {"end_s": None, "throttle": {"sw_power_cap": math.nan}},
    {"samples": 1, "interval": {}, "effective": {}, "tflop_per_joule": None},
)


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_a_number_is_a_dash(build: Any, folder: Path, odd: dict[str, Any]) -> None:
    run = build.run([build.watched(build.passed("triton", build.case(), 9), **odd)], environment=GPU)
    for one in sections(run, load_traces(run, folder)):
        for variant in one.variants:
            assert "nan" not in f"{variant.reading} {variant.rows} {variant.remarks}".lower().replace("remarks", "")
            if variant.figure is not None:
                go.Figure(plain(variant.figure))


@pytest.mark.parametrize(
    ("joule", "text"),
    [(2.5, "2.50 J"), (2e-3, "2.00 mJ"), (3e-5, "30.0 µJ"), (0.0, "0 J"), (math.nan, "–"), (None, "–")],
)
def test_joules_are_written_for_people(joule: float | None, text: str) -> None:
    assert joule_text(joule) == text
