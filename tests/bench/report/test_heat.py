"""The heat map of ratios: where its skew comes from, what its cells hold, what is marked as not sure or not there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from mohge.bench.records import Provenance, Record, Status
from mohge.bench.report.cases import measured_groups
from mohge.bench.report.figures_heat import heat_map
from mohge.bench.report.heat import heat_of, rivals
from mohge.bench.report.readings_heat import heat_reading, rows
from mohge.bench.report.sections import sections
from mohge.bench.report.skew import skew_of
from mohge.bench.workloads import parse_routing, routing_counts
from mohge.kernels import load
from mohge.reference import ExpertWeights, LayerSpec

MOHGE = LayerSpec.preset("mohge-3b")


def case_of(build: Any, tokens: int, routing: str) -> Any:
    return build.case(tokens=tokens, routing=routing, layer=MOHGE.to_dict())


def padded_flops(tokens: int, fullest: int) -> int:
    """What padded_bmm executes on mohge-3b: 64 experts of width 1280, each with the rows of the fullest."""
    return 6 * 1024 * 1280 * 64 * fullest


def pair(build: Any, tokens: int, routing: str, ratio: float, fullest: int) -> list[Record]:
    """torch_loop `ratio` times as fast as padded_bmm, in the same rounds."""
    where = case_of(build, tokens, routing)
    executed = padded_flops(tokens, fullest)
    hot = build.samples(100_000)
    slower = replace(hot, samples_us=[us * ratio for us in hot.samples_us], median_us=hot.median_us * ratio)
    return [
        build.passed("padded_bmm", where, 100, hot=slower, executed_flops=executed),
        build.passed("torch_loop", where, 100, hot=hot),
    ]


def heat_of_records(build: Any, records: list[Record], name: str = "torch_loop", other: str = "padded_bmm") -> Any:
    return heat_of(measured_groups(build.run(records)), name, other)


@pytest.mark.parametrize("routing", ["uniform", "zipf:1.2", "hot_set:0.25,0.8", "router", "one_expert:3"])
def test_the_skew_read_back_is_that_of_the_routing(build: Any, routing: str) -> None:
    spec = LayerSpec("small", hidden=8, widths=(2, 4, 6, 8), experts_per_group=4, top_k=3, top_groups=2)
    counts = routing_counts(parse_routing(routing).routing(spec, 50), spec.experts)
    layer = load("padded_bmm").prepare(spec, ExpertWeights.random(spec, 0), "cpu", _float32())
    record = build.passed("padded_bmm", build.case(tokens=50, layer=spec.to_dict()), 1)
    record = replace(record, executed_flops=layer.executed_flops(counts))
    (group,) = measured_groups(build.run([record]))
    assert skew_of(group) == pytest.approx(counts.max() / counts.mean())


def _float32() -> Any:
    import torch

    return torch.float32


def test_without_the_baseline_the_skew_is_not_known_and_its_column_comes_last(build: Any) -> None:
    bare = [build.passed(name, case_of(build, 64, "zipf:9"), time) for name, time in (("torch_loop", 1), ("triton", 2))]
    both = [build.passed("triton", case_of(build, 64, "uniform"), 2), *pair(build, 64, "uniform", 2, 6)]
    heat = heat_of_records(build, bare + both, other="triton")
    assert heat.routings == ("uniform", "zipf:9")
    assert heat.skews == {"uniform": 1.0}
    figure = heat_map(heat)
    assert figure is not None
    assert figure["data"][0]["x"] == ["uniform<br>skew 1.0", "zipf:9<br>skew not known"]


def test_rows_are_shapes_and_columns_go_from_even_to_skewed(build: Any) -> None:
    records = [
        *pair(build, 1024, "zipf:1.2", 3.0, 960),
        *pair(build, 64, "uniform", 0.5, 6),
        *pair(build, 1024, "uniform", 1.5, 96),
    ]
    heat = heat_of_records(build, records)
    assert heat.shapes == ("mohge-3b · 64 tokens", "mohge-3b · 1\u202f024 tokens")
    assert heat.routings == ("uniform", "zipf:1.2")
    assert heat.skews == pytest.approx({"uniform": 1.0, "zipf:1.2": 10.0})
    figure = heat_map(heat)
    assert figure is not None
    go.Figure(figure)
    (cells,) = figure["data"]
    assert [[value and round(float(value), 3) for value in row] for row in cells["z"]] == [
        [round(float(np.log2(0.5)), 3), None],
        [round(float(np.log2(1.5)), 3), round(float(np.log2(3.0)), 3)],
    ]
    assert cells["zmin"] == -cells["zmax"] == pytest.approx(-np.log2(3.0))
    reading = heat_reading(heat)
    assert "3 cases: faster in 2 (up to 3.00 times as fast, mohge-3b · 1\u202f024 tokens, zipf:1.2)" in reading
    assert "slower in 1 (down to 0.500 times as fast, mohge-3b · 64 tokens, uniform)" in reading
    assert "the ratio goes from 1.50 to 3.00, mohge-3b · 1\u202f024 tokens." in reading
    assert [row[6] for row in rows(heat)] == ["slower", "faster", "faster"]


@pytest.mark.parametrize("count", [15, 1])
def test_undecided_cells_are_marked_and_not_counted_as_faster(build: Any, count: int) -> None:
    where = case_of(build, 64, "uniform")
    noisy = [build.passed(name, where, 1, hot=build.samples(100 + 3 * number, 0.3, count)) for number, name in NAMES]
    heat = heat_of_records(build, noisy)
    figure = heat_map(heat)
    assert figure is not None
    assert figure["data"][0]["text"][0][0].endswith("<br>undecided")
    assert "undecided in 1" in heat_reading(heat)
    assert "faster" not in heat_reading(heat)


NAMES = list(enumerate(("torch_loop", "padded_bmm")))


def test_a_case_without_a_ratio_has_a_dash_and_the_reason(build: Any) -> None:
    lost = Record("padded_bmm", Provenance.MEASURED, Status.OUT_OF_MEMORY, case_of(build, 4096, "uniform"), "80 GiB")
    alone = build.passed("torch_loop", case_of(build, 4096, "uniform"), 9)
    heat = heat_of_records(build, [*pair(build, 64, "uniform", 2.0, 6), alone, lost])
    figure = heat_map(heat)
    assert figure is not None
    go.Figure(figure)
    dash = figure["data"][-1]
    assert dash["text"] == ["–"]
    assert "padded_bmm: out of memory, 80 GiB" in dash["customdata"][0]
    assert "1 case without a ratio" in heat_reading(heat)


def test_everything_is_held_against_the_baseline_and_the_fastest_against_everything() -> None:
    names = ["triton", "cupy", "padded_bmm", "torch_loop"]
    assert rivals(names, "cupy") == [
        *((name, "padded_bmm") for name in ("triton", "cupy", "torch_loop")),
        *(("cupy", name) for name in ("triton", "torch_loop")),
    ]
    assert rivals(["triton", "cupy"], "cupy") == [("cupy", "triton")]
    assert rivals(["padded_bmm", "cupy"], "padded_bmm") == [("cupy", "padded_bmm")]
    assert rivals(["triton"], "triton") == []


def test_the_section_begins_with_the_fastest_over_the_baseline(build: Any, believable: Any) -> None:
    section = next(section for section in sections(believable) if section.name == "heat")
    assert section.variants[section.first].label.startswith("torch_loop over padded_bmm")
    assert not next(s for s in sections(build.run([])) if s.name == "heat").variants


def test_a_run_of_many_cases_leaves_out_what_takes_long_and_says_so(build: Any, monkeypatch: Any) -> None:
    records = pair(build, 64, "uniform", 2.0, 10)
    records.append(build.passed("triton", records[0].case, 500, hot=build.samples(300_000)))
    whole, short = (_heat_section(build, records, monkeypatch, most) for most in (1, 0))
    assert [variant.label.split(" · ")[0] for variant in whole.variants if "over padded_bmm" not in variant.label] == [
        "torch_loop over triton"
    ]
    assert "Left out" not in whole.lead
    assert len(short.variants) == len(whole.variants) - 1
    assert short.lead.endswith("take long to find: 1 further map.")


def _heat_section(build: Any, records: list[Record], monkeypatch: Any, most: int) -> Any:
    monkeypatch.setattr("mohge.bench.report.sections_heat.MOST_FOUND", most)
    return next(section for section in sections(build.run(records)) if section.name == "heat")
