"""A run of any size: its report does no work twice, stays within its size and leaves out what it says it leaves out."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.records import Run, load_run
from mohge.bench.report import embedding, page, sections_heat, sections_telemetry, traces, verdict
from mohge.bench.report.curves import MOST_POINTS
from mohge.bench.report.embedding import blocks_of, compact
from mohge.bench.report.figures_telemetry import MOST_SPANS, PANELS, merged
from mohge.bench.report.page import render
from mohge.bench.report.traces import Span

CASES, EACH = 28, 12  # records: every implementation on every case
READINGS = 12_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    write = runpy.run_path(str(Path(__file__).with_name("big_run.py")))["write_big_run"]
    return write(tmp_path_factory.mktemp("big"), CASES * EACH, READINGS)


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return load_run(folder)


def counting(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """The calls of a function of a module, from now on."""
    calls: list[Any] = []
    function = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *given, **more: calls.append(given) or function(*given, **more))
    return calls


def test_a_trace_is_read_once_and_no_ratio_is_found_twice(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict._interval_of.cache_clear()
    reads = counting(monkeypatch, traces, "begin_reading")
    ratios = counting(monkeypatch, verdict, "ratio_interval")
    render(run, folder)
    assert len(reads) == 1
    asked = [tuple(part.tobytes() for part in pair) for pair in ratios]
    assert len(set(asked)) == len(asked)
    # The two fastest of each case, and the heat maps' cells that no record keeps a ratio of.
    assert 0 < len(asked) <= CASES + sections_heat.MOST_FOUND


def test_the_page_grows_by_little_with_each_record(run: Run, folder: Path) -> None:
    text = render(run, folder)
    own = len(text) - len(render(Run(["mohge"], "", "", run.environment), None))
    assert own / len(run.records) < 8000


@pytest.mark.parametrize("most", [10**6, 20_000, 100])
def test_curves_of_telemetry_keep_within_the_points_of_a_page(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(sections_telemetry, "MOST_IN_ALL", most)
    (section, _) = sections_telemetry.telemetry_sections(run, traces.load_traces(run, folder), None)
    figures = [variant.figure for variant in section.variants]
    curves = [trace for figure in figures if figure for trace in figure["data"] if trace["type"] == "scatter"]
    alone = [variant for variant in section.variants if " · only " in variant.label]
    least = sections_telemetry.LEAST_POINTS
    assert len(alone) == (CASES * EACH if most == 10**6 else 0)
    of_cases = curves[: -len(PANELS)]  # the last variant is the whole trace
    assert sum(len(curve["x"]) for curve in of_cases) <= max(most, least * len(of_cases))
    assert all(len(curve["x"]) <= MOST_POINTS for curve in curves)
    thinned = [variant for variant in section.variants[:-1] if "down-sampled for display" in variant.reading]
    assert len(thinned) == (0 if most == 10**6 else CASES)


def test_stretches_too_close_to_be_seen_are_drawn_as_one() -> None:
    spans = [Span("triton", "layer", float(t), t + 0.9) for t in range(3000)]
    spans += [Span("cupy", "layer", 4000.0, 4001.0), Span("triton", "gemm1", 5000.0, 5001.0)]
    found = merged(spans)
    assert [(one.lane, one.name, one.begin, one.end) for one in found] == [
        ("triton", "3000 stretches", 0.0, 2999.9),
        ("cupy", "1 stretch", 4000.0, 4001.0),
        ("triton", "1 stretch", 5000.0, 5001.0),
    ]
    assert merged(spans[:MOST_SPANS]) == spans[:MOST_SPANS]


# Numbers and blocks


def test_numbers_rounded_together_are_those_rounded_one_by_one() -> None:
    values = [1 / 3, -2e-9, 0.0, 12345678.9, 5, None, float("nan"), float("inf"), 1e15 / 7, *[0.1] * 10]
    assert compact(values) == [compact(one) for one in values]
    tiny = [1e-30 / 3, *values]
    assert compact(tiny) == [compact(one) for one in tiny]


def test_a_long_section_is_in_blocks_and_every_variant_in_just_one(monkeypatch: pytest.MonkeyPatch, build: Any) -> None:
    monkeypatch.setattr(embedding, "BLOCK_OF", 200)
    items = [({"data": [{"x": [place] * 20}]}, {"reading": str(place)} if place > 5 else None) for place in range(10)]
    blocks = blocks_of("figures-a", items)
    assert len(blocks.elements) == len(blocks.firsts) > 2
    figures, words = [], {}
    for number, element in enumerate(blocks.elements):
        found = build.data(element, "figures-a" + (f"-{number}" if number else ""))
        assert len(figures) == blocks.firsts[number]
        figures += found["figures"]
        words |= found["words"]
    assert figures == [figure for figure, _ in items]
    assert words == {str(place): {"reading": str(place)} for place in range(6, 10)}


def test_rows_beyond_what_the_text_holds_are_left_to_the_page(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_ROWS", 50)
    text = render(run)
    own = re.findall(r'<div data-variant="roofline"', text)
    assert len(own) == 2  # the first, whose rows are more than 50 already, and the one that is shown first
