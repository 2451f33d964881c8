"""Unequal experts against equal ones: which layers are twins, what is said of parameters, time, energy and doubt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from mohge.bench.records import Record, Run
from mohge.bench.report.figures_twins import change_text, percent_change, twins_figure
from mohge.bench.report.readings_twins import table, twins_reading
from mohge.bench.report.sections import sections
from mohge.bench.report.twins import Change, pairs, parameters, weight_bytes


def records(build: Any, tokens: int, mine: float, twin: float, name: str = "torch_loop", **more: Any) -> list[Record]:
    """One implementation on mohge-3b and on its twin, in milliseconds."""
    return [
        build.passed(name, build.case(tokens=tokens), mine, **more),
        build.passed(name, build.case("mohge-3b-uniform", tokens), twin, **more),
    ]


def with_energy(record: Record, build: Any, joule: float) -> Record:
    window = {"energy_j": 1000.0, "interval": {"energy_j": [990.0, 1010.0]}, "memory_bytes": int(joule * 1e9)}
    return build.watched(record, joule_per_token=joule, **window)


def section_of(run: Run) -> Any:
    return next(section for section in sections(run) if section.name == "uniform")


def test_twins_agree_in_all_but_the_widths(build: Any) -> None:
    mine, twin = records(build, 64, 100, 120)
    others = [build.case("mohge-3b-uniform", 16), build.case("mohge-3b-uniform", 64, "zipf:1.0")]
    others.append(build.case("mohge-3b-uniform", 64, layer={"top_k": 8}, id="eight"))
    others.append(build.case("mohge-3b-uniform", 64, dtype="bfloat16"))
    strangers = [build.passed("torch_loop", where, 90) for where in others]
    (pair,) = pairs(build.run([mine, *strangers, twin, build.passed("triton", mine.case, 9)]))
    assert pair.time.value == pytest.approx(100 / 120 - 1)
    assert pair.time.low == pytest.approx(100 / 120 * 0.98 / 1.02 - 1)
    assert pair.time.high == pytest.approx(100 / 120 * 1.02 / 0.98 - 1)
    assert pair.flops == pytest.approx(6656 / (8 * 1024) - 1)
    assert pair.energy is None


def test_parameters_and_weights_are_those_of_the_preset(build: Any) -> None:
    mine, twin = build.case(dtype="bfloat16"), build.case("mohge-3b-uniform", dtype="bfloat16")
    assert (parameters(mine), parameters(twin)) == (163_577_856, 201_326_592)
    assert weight_bytes(mine) == 2 * 163_577_856
    assert weight_bytes(replace(mine, dtype="float7")) is None
    assert parameters(replace(mine, layer={})) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change(-0.1875, -0.25, -0.1), "18.8 % less (10.0 % to 25.0 % less)"),
        (Change(0.05, -0.02, 0.1), "5.00 % more (2.00 % less to 10.0 % more), undecided"),
        (Change(0.05), "5.00 % more, undecided: no interval"),
    ],
)
def test_a_change_says_its_interval_and_its_doubt(change: Change, words: str) -> None:
    assert change_text(change) == words
    assert percent_change(None) == "–"


def test_the_sentence_says_what_the_parameters_buy_and_what_is_undecided(build: Any) -> None:
    run = build.run(
        [
            *records(build, 16, 100, 101, "padded_bmm"),
            *records(build, 16, 80, 100),
            *records(build, 256, 300, 200, "padded_bmm"),
        ]
    )
    reading = twins_reading(pairs(run))
    size, *times = reading.split(". At ")
    assert size == (
        "mohge-3b has 18.75 % fewer expert parameters than mohge-3b-uniform (163.6 M against 201.3 M; weights of "
        "624 MiB against 768 MiB)"
    )
    few, many = times
    assert few == (
        "16 tokens (useful FLOPs: 18.8 % less): torch_loop takes 20.0 % less time (16.7 % to 23.1 % less), undecided "
        "with padded_bmm"
    )
    assert many.startswith("256 tokens (useful FLOPs: 18.8 % less): padded_bmm takes 50.0 % more time (")
    assert reading.endswith("The energy of both layers was not measured.")
    header, rows = table(pairs(run))
    assert [dict(zip(header, row, strict=True))["verdict"] for row in rows] == ["undecided", "less", "more"]
    assert not any("energy" in name for name in header)


def test_many_implementations_are_told_by_the_least_and_the_most(build: Any) -> None:
    times = {"triton": 70, "cupy": 80, "numba": 90, "padded_bmm": 120, "torch_loop": 100.5}
    found = pairs(build.run([one for name, time in times.items() for one in records(build, 64, time, 100, name)]))
    assert (
        "FLOPs: 18.8 % less): 3 implementations take 10.0 % (numba) to 30.0 % (triton) less time and padded_bmm "
        "takes 20.0 % more time, undecided with torch_loop."
    ) in twins_reading(found)


def test_energy_is_a_panel_of_its_own_where_both_layers_have_it(build: Any) -> None:
    mine, twin = records(build, 64, 80, 100)
    run = build.run([with_energy(mine, build, 0.3), with_energy(twin, build, 0.4)])
    (pair,) = pairs(run)
    assert pair.energy is not None
    assert (pair.energy.value, pair.memory) == pytest.approx((-0.25, -0.25))
    assert pair.energy.low == pytest.approx(0.75 * 0.99 / 1.01 - 1)
    figure = twins_figure([pair])
    assert figure is not None
    go.Figure(figure)
    assert [trace["y"] for trace in figure["data"] if trace.get("yaxis") == "y2"] == [pytest.approx([-25])]
    assert "Energy at 64 tokens: torch_loop takes 25.0 % less energy for a token (" in twins_reading([pair])
    assert "memory in use" in table([pair])[0]


@pytest.mark.parametrize("count", [1, 15])
def test_marks_are_hollow_where_nothing_is_decided_and_wide_intervals_do_not_hide_the_values(
    build: Any, count: int
) -> None:
    wide = replace(build.samples(100, count=count), low_us=1.0, high_us=9000.0)
    figure = twins_figure(pairs(build.run(records(build, 64, 1, 1, hot=wide))))
    assert figure is not None
    (mark,) = [trace for trace in figure["data"] if trace["mode"] == "markers"]
    assert mark["marker"]["symbol"] == ["circle-open"]
    assert mark["error_y"]["array"] == [pytest.approx(899_900 if count > 1 else 0)]
    low, high = figure["layout"]["yaxis"]["range"]
    assert -30 < low < 0 < high < 30


def test_the_lines_are_the_counted_changes(build: Any) -> None:
    figure = twins_figure(pairs(build.run([*records(build, 16, 8, 9), *records(build, 64, 8, 9)])))
    assert figure is not None
    go.Figure(figure)
    weights, flops = figure["data"][:2]
    assert weights["name"] == "expert parameters and weights: 18.75 % less"
    assert weights["y"] == pytest.approx([-18.75] * 2)
    assert flops["x"] == pytest.approx([-0.42, 0.42, None, 0.58, 1.42, None])
    assert figure["layout"]["xaxis"]["ticktext"] == ["16 tokens", "64 tokens"]


def test_without_a_pair_nothing_is_drawn(build: Any) -> None:
    assert twins_figure([]) is None
    section = section_of(build.run([build.passed("torch_loop", build.case(), 9)]))
    assert not section.variants
    assert section.empty == "No heterogeneous layer was timed beside a uniform twin."
