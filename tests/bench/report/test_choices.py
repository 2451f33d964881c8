"""What the page is filtered by and made of: choices, embedded data, the rows of records; and bad input."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mohge.bench.cli import main
from mohge.bench.records import Environment, Provenance, Record, Run, Status
from mohge.bench.report.choices import choices
from mohge.bench.report.embedding import PACKED_FROM, compact, data_element
from mohge.bench.report.page import render
from mohge.bench.report.record_rows import command, record_header, record_rows
from mohge.bench.report.section import Variant
from mohge.bench.report.sections import sections

# Choices


def test_everything_that_was_tried_can_be_chosen(believable: Run) -> None:
    offered = choices([believable], sections(believable))
    assert {chip.name for chip in offered.chips} == {record.implementation for record in believable.records}
    assert [chip.name for chip in offered.chips][:2] == ["triton", "cupy"]  # as in every legend
    assert len({chip.colour for chip in offered.chips}) == len({chip.glyph for chip in offered.chips}) == 6
    assert offered.tokens == tuple(sorted(offered.tokens))
    assert {"mohge-3b", "mohge-3b-uniform"} <= set(offered.specs)
    assert "every configuration" not in offered.specs  # compiled and never run: no case


def test_a_run_without_records_offers_nothing(build: Any) -> None:
    offered = choices([build.run([])], [])
    assert not offered.offered
    assert (offered.chips, offered.specs, offered.tokens) == ((), (), ())


def test_rows_say_what_they_are_about_by_their_columns() -> None:
    rows = (("triton", "1\u202f024", "x"), ("cupy", "–", "y"))
    variant = Variant("all", None, "It is.", ("implementation", "tokens", "note"), rows)
    assert [meta for _, meta in variant.marked_rows] == [
        {"implementation": "triton", "tokens": 1024},
        {"implementation": "cupy", "tokens": "–"},
    ]


# Embedded data


def test_numbers_keep_seven_digits_and_what_is_none_becomes_null() -> None:
    value = {"a": (1 / 3, math.nan, math.inf), "b": np.array([1.5, 2.0]), 3: Status.PASSED, "n": None, "t": [1, "x"]}
    assert compact(value) == {
        "a": [0.3333333, None, None],
        "b": [1.5, 2.0],
        "3": "passed",
        "n": None,
        "t": [1, "x"],
    }
    with pytest.raises(ValueError, match="cannot be drawn: object"):
        compact(object())


@pytest.mark.parametrize("packed", [False, True])
def test_data_comes_back_from_the_page_as_it_went_in(build: Any, packed: bool) -> None:
    value = {"name": "</script><!-- \u2028", "many": list(range(PACKED_FROM if packed else 3))}
    element = str(data_element("here", value))
    assert ("data-packed" in element) == packed
    assert element.count("</script>") == 1
    assert build.data(element, "here") == value
    assert "data-packed" not in str(data_element("here", value, packed=False))


# Records as rows


def test_every_record_is_a_row_with_the_command_that_makes_it(believable: Run) -> None:
    rows = record_rows(believable)
    assert {len(row) for row in rows} == {len(record_header())}
    assert len(rows) == len(believable.records)
    labelled = record_rows(believable, "first")
    assert record_header(("first", "second"))[0] == "run"
    assert {row[0] for row in labelled} == {"first"}


def test_a_command_names_the_case_where_options_can(build: Any) -> None:
    run = build.run([])
    where = replace(build.case(routing="zipf:1.2"), seed=3, step=2)
    record = build.passed("triton", where, 9)
    words = shlex.split(command(record, run))
    assert words[:2] == ["mohge", "bench"]
    pairs = dict(zip(words[2::2], words[3::2], strict=True))
    assert pairs == {
        "--spec": "mohge-3b",
        "--tokens": "256",
        "--routing": "zipf:1.2",
        "--dtype": "float32",
        "--device": "cpu",
        "--seed": "3",
        "--step": "2",
        "--implementations": "triton",
    }
    whole = shlex.join(run.command)
    for other in (
        replace(record, provenance=Provenance.COMPILED),
        replace(record, case=build.case(tokens=None)),
    ):
        assert command(other, run) == whole


# Bad input


def _crashed(build: Any) -> list[Record]:
    return [Record("triton", Provenance.MEASURED, Status.CRASHED, build.case(), reason="signal 11")]


def _one_sample(build: Any) -> list[Record]:
    return [build.passed("torch_loop", build.case(), 9, hot=build.samples(9000, count=1))]


def _not_numbers(build: Any) -> list[Record]:
    hot = replace(build.samples(100), median_us=math.nan, low_us=math.nan, samples_us=[math.nan])
    return [build.passed("torch_loop", build.case(), 1, hot=hot, tflops=math.nan)]


def _no_trace(build: Any) -> list[Record]:
    return [build.watched(build.passed("torch_loop", build.case(), 9), trace="absent.jsonl")]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: [], ("Not measured: this run holds no records", "Nothing was timed in this run")),
        (_crashed, ("Not measured", "signal 11", "Nothing was timed in this run")),
        (_one_sample, ("1 sample", "One sample each: nothing can be said of the spread")),
        (_not_numbers, ("Not measured", "Nothing was timed in this run")),
        (_no_trace, ("No timeline", "absent.jsonl: not there, beside the run file")),
    ],
)
def test_the_page_says_what_is_missing(build: Any, tmp_path: Any, make: Any, said: tuple[str, ...]) -> None:
    page = render(build.run(make(build), environment=Environment(gpu={"name": "Some GPU"})), tmp_path)
    for words in said:
        assert words in page, words
    data = page.partition('id="about"')[2].partition("* plotly.js v")[0]
    assert "NaN" not in data
    assert "Infinity" not in data


def test_a_run_of_an_unknown_schema_is_refused_in_one_line(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text('{"schema": 99, "records": []}', encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path)])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert "99" in captured.err
    assert not (tmp_path / "report.html").exists()
