"""Every figure, from ordinary and from degenerate runs; Plotly itself checks that each is one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from mohge.bench.records import Environment, Provenance, Record, Roof, Run, Status
from mohge.bench.records.codec import plain
from mohge.bench.report.cases import case_meta, measured_groups, series_of
from mohge.bench.report.figures_time import MOST_SAMPLES, rate_against_tokens, thinned, time_against_tokens
from mohge.bench.report.figures_work import useful_and_executed
from mohge.bench.report.palette import COLOURS, colour, marker
from mohge.bench.report.section import Section
from mohge.bench.report.sections import sections

NAMES = ("time", "rate", "roofline", "regimes", "heat", "work", "uniform", "phases", "samples", "placement", "compiled")


def by_name(run: Run) -> dict[str, Section]:
    return {section.name: section for section in sections(run)}


def test_a_full_run_has_every_figure_and_plotly_accepts_them(believable: Run) -> None:
    found = by_name(believable)
    assert tuple(found) == NAMES
    for section in found.values():
        assert section.variants, section.name
        variant = section.variants[section.first]
        go.Figure(plain(variant.figure))  # raises for a property that does not exist
        assert variant.reading.endswith(".")
    assert "olmoe-1b-7b/arxiv/7" in found["time"].variants[found["time"].first].label


def test_scaled_down_layers_are_labelled(believable: Run) -> None:
    labels = [variant.label for name in ("time", "work", "placement") for variant in by_name(believable)[name].variants]
    scaled = [label for label in labels if "gpt-oss-20b-hetero/4" in label]
    assert scaled
    assert all("scaled down" in label for label in scaled)


def test_times_are_the_medians_with_their_intervals(build: Any) -> None:
    records = [build.passed("torch_loop", build.case(tokens=tokens), tokens) for tokens in (64, 16)]
    ((_, series),) = series_of(measured_groups(build.run(records)))
    figure = time_against_tokens(series)
    assert figure is not None
    band, line = figure["data"]
    assert line["x"] == [16, 64]
    assert line["y"] == [16.0, 64.0]
    assert band["y"] == pytest.approx([16 * 0.98, 64 * 0.98, 64 * 1.02, 16 * 1.02])


def test_the_roof_is_the_measured_one_of_the_dtype(build: Any) -> None:
    ((_, series),) = series_of(measured_groups(build.run([build.passed("torch_loop", build.case(), 9)])))
    figure = rate_against_tokens(series, Environment(roof=Roof({"float32": 0.5, "bfloat16": 9.0})))
    assert figure is not None
    assert figure["layout"]["shapes"][0]["y0"] == 0.5
    without = rate_against_tokens(series, Environment(roof=Roof({"bfloat16": 9.0})))
    assert without is not None
    assert "shapes" not in without["layout"]


def test_work_adds_up_to_what_is_executed(build: Any) -> None:
    record = build.passed("padded_bmm", build.case(), 9, useful_flops=2_000_000_000, executed_flops=7_000_000_000)
    (group,) = measured_groups(build.run([record]))
    figure = useful_and_executed(group)
    assert figure is not None
    assert [trace["x"] for trace in figure["data"]] == [[2.0], [5.0]]


def _failed(build: Any) -> list[Record]:
    return [Record("triton", Provenance.MEASURED, Status.CRASHED, build.case(), reason="signal 11")]


def _not_numbers(build: Any) -> list[Record]:
    hot = replace(build.samples(100), median_us=math.nan, low_us=math.nan, samples_us=[math.nan])
    return [build.passed("torch_loop", build.case(), 1, hot=hot, tflops=math.nan, useful_flops=None)]


def _no_interval(build: Any) -> list[Record]:
    hot = replace(build.samples(100), low_us=math.nan, high_us=math.inf)
    return [build.passed(name, build.case(), 1, hot=hot, share_of_roof=math.nan) for name in ("torch_loop", "new_one")]


def _one_sample(build: Any) -> list[Record]:
    return [build.passed("torch_loop", build.case(), 1, hot=build.samples(100, count=1))]


def _no_tokens(build: Any) -> list[Record]:
    return [build.passed("torch_loop", build.case(tokens=0), 1), build.passed("padded_bmm", build.case(tokens=None), 1)]


def _no_layer(build: Any) -> list[Record]:
    return [build.passed("torch_loop", replace(build.case(), layer={}, id=""), 1, useful_flops=0, phases={})]


def _broken_resources(build: Any) -> list[Record]:
    return [replace(build.compiled("triton", 0), resources=[{}, {"registers": None}, {"error": "no"}])]


def _nothing(_: Any) -> list[Record]:
    return []


DEGENERATE = (
    _nothing,
    _failed,
    _not_numbers,
    _no_interval,
    _one_sample,
    _no_tokens,
    _no_layer,
    _broken_resources,
)


@pytest.mark.parametrize("make", DEGENERATE)
def test_degenerate_runs_give_valid_figures_or_none(build: Any, make: Any) -> None:
    for name, section in by_name(build.run(make(build), [build.placement(build.case(tokens=0), "lpt", [1.0])])).items():
        assert name in NAMES
        assert section.empty
        for variant in section.variants:
            go.Figure(plain(variant.figure))
            assert "nan" not in variant.reading.lower().split()


def test_colours_and_markers_are_one_per_implementation() -> None:
    assert len({colour(name) for name in COLOURS}) == len(COLOURS)
    assert len({marker(name) for name in COLOURS}) == len(COLOURS)
    assert colour("a later one") == colour("a later one")
    assert colour("a later one") not in COLOURS.values()


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (1, 1), (MOST_SAMPLES, MOST_SAMPLES), (MOST_SAMPLES + 1, 1001)])
def test_long_series_are_thinned(count: int, kept: int) -> None:
    samples, step = thinned([1.0] * count)
    assert len(samples) == kept
    assert step == (2 if count > MOST_SAMPLES else 1)


@pytest.mark.parametrize("name", ["time", "rate", "work", "uniform", "phases", "samples"])
def test_traces_say_whose_they_are_point_by_point_where_they_are_of_several(believable: Run, name: str) -> None:
    known = {record.implementation for record in believable.records}
    for variant in by_name(believable)[name].variants:
        assert variant.figure is not None
        assert {"spec", "routing"} <= set(variant.meta)
        own = [trace["meta"] for trace in variant.figure["data"]]
        assert any(meta.get("implementation") for meta in own)
        for trace, meta in zip(variant.figure["data"], own, strict=True):
            for value in meta.values():
                assert not isinstance(value, list) or len(value) == len(trace["y"])
            names = meta.get("implementation", [])
            assert ({names} if isinstance(names, str) else set(names)) <= known


def test_a_variant_says_what_it_is_about(believable: Run, build: Any) -> None:
    metas = [variant.meta for variant in by_name(believable)["work"].variants]
    assert all(meta["tokens"] > 0 for meta in metas)
    assert all("tokens" not in variant.meta for variant in by_name(believable)["time"].variants)
    assert case_meta(build.case(routing="zipf:1.2"))["skew"] == 1.2
    assert "skew" not in case_meta(build.case(routing="zipf:"))
