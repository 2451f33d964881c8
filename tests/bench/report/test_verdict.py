"""The verdict says what the records say, and no more."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from mohge.bench.records import ErrorRecord, Provenance, Record, Speedup, Status
from mohge.bench.report.cases import main_case
from mohge.bench.report.formats import bytes_text, digits, time_text
from mohge.bench.report.verdict import other_rows, table_rows, verdict

RATIO = Speedup("padded_bmm", 3.4, 3.2, 3.6)


def test_a_winner_is_named_with_its_time_and_ratio(build: Any) -> None:
    where = build.case()
    run = build.run(
        [
            build.passed("padded_bmm", where, 340),
            build.passed("torch_loop", where, 100, speedup=RATIO),
            build.passed("torch_grouped_mm", where, 125),
        ]
    )
    said = verdict(run)
    assert said.kind == "decided"
    assert said.sentence == (
        "torch_loop is fastest on mohge-3b (256 tokens, router, float32): 100 ms (98.0 ms to 102 ms), "
        "3.40 times (3.20 to 3.60) as fast as padded_bmm; the next, torch_grouped_mm, takes 1.25 times as long."
    )
    rows = table_rows(main_case(run))  # type: ignore[arg-type]
    assert [row["implementation"] for row in rows] == ["torch_loop", "torch_grouped_mm", "padded_bmm"]
    assert [row["best"] for row in rows] == [True, False, False]
    assert rows[0]["speedup"] == "3.40"
    assert rows[0]["speedup_interval"] == "3.20 to 3.60"


@pytest.mark.parametrize(
    ("milliseconds", "spread", "kind"),
    [((100, 103), 0.02, "undecided"), ((100, 110), 0.02, "decided"), ((100, 110), 0.2, "undecided")],
)
def test_overlapping_intervals_are_undecided(
    build: Any, milliseconds: tuple[float, float], spread: float, kind: str
) -> None:
    where = build.case()
    names = ("torch_loop", "torch_grouped_mm")
    records = [build.passed(n, where, ms, spread=spread) for n, ms in zip(names, milliseconds, strict=True)]
    said = verdict(build.run(records))
    assert said.kind == kind
    assert "padded_bmm not measured" in said.sentence
    assert ("overlap" in said.sentence) == (kind == "undecided")


def test_the_baseline_may_win(build: Any) -> None:
    where = build.case()
    run = build.run([build.passed("padded_bmm", where, 50), build.passed("torch_loop", where, 100)])
    assert "padded_bmm is fastest" in verdict(run).sentence
    assert "padding every expert costs nothing here" in verdict(run).sentence


def test_a_ratio_around_one_is_not_called_faster(build: Any) -> None:
    where = build.case()
    records = [
        build.passed("padded_bmm", where, 110),
        build.passed("torch_loop", where, 100, speedup=Speedup("padded_bmm", 1.1, 0.9, 1.3)),
    ]
    assert "not told apart from 1" in verdict(build.run(records)).sentence


def test_one_sample_is_undecided(build: Any) -> None:
    where = build.case()
    single = build.samples(100_000, count=1)
    records = [build.passed("torch_loop", where, 100, hot=single), build.passed("padded_bmm", where, 900)]
    said = verdict(build.run(records))
    assert said.kind == "undecided"
    assert "single sample of torch_loop" in said.sentence
    assert "one sample" in said.sentence


def test_one_implementation_has_nothing_to_be_compared_with(build: Any) -> None:
    said = verdict(build.run([build.passed("torch_loop", build.case(), 100)]))
    assert said.kind == "undecided"
    assert "nothing to compare it with" in said.sentence


def test_no_records(build: Any) -> None:
    assert verdict(build.run([])).sentence == "Not measured: this run holds no records."


def test_only_failures(build: Any) -> None:
    where = build.case()
    records = [
        Record("triton", Provenance.MEASURED, Status.INCORRECT, where, error=ErrorRecord(0.3, 9.0, [0, 0], "all")),
        Record("cupy", Provenance.MEASURED, Status.OUT_OF_MEMORY, where, reason="no room"),
    ]
    said = verdict(build.run(records))
    assert said.kind == "not measured"
    assert "of 2 implementations, 1 incorrect and 1 out of memory" in said.sentence
    assert all(row["hot"] == row["speedup"] == "–" for row in table_rows(main_case(build.run(records))))  # type: ignore[arg-type]


def test_nothing_measured_names_what_there_is_instead(build: Any) -> None:
    run = build.run([build.compiled("triton", 0)])
    assert verdict(run).sentence == "Not measured: every record of this run is compiled."
    assert main_case(run) is None
    (row,) = other_rows(run)
    assert row["provenance"] == "compiled"
    assert "hot" not in row


def test_not_a_number_is_no_time(build: Any) -> None:
    hot = replace(build.samples(1000), median_us=math.nan)
    said = verdict(build.run([build.passed("torch_loop", build.case(), 1, hot=hot)]))
    assert said.kind == "not measured"
    assert "nan" not in said.sentence


def test_an_unknown_status_is_shown_as_it_is(build: Any) -> None:
    odd: Any = "melted"
    run = build.run([Record("triton", Provenance.MEASURED, odd, build.case())])
    assert "1 melted" in verdict(run).sentence


def test_the_main_case_is_heterogeneous_of_full_size_with_the_most_tokens(build: Any) -> None:
    cases = [
        build.case("mohge-3b", 64),
        build.case("mohge-3b-uniform", 1024),
        build.case("gpt-oss-20b-hetero/4", 4096),
        build.case("mohge-3b", 256),
        build.case("mohge-3b", 256, "a trace"),
        build.case("mohge-3b", 16, "a trace"),
    ]
    found = main_case(build.run([build.passed("torch_loop", where, 1) for where in cases]))
    assert found is not None
    assert (found.case.spec, found.case.tokens, found.case.routing) == ("mohge-3b", 256, "a trace")


def test_a_scaled_down_layer_is_called_that(build: Any) -> None:
    where = build.case("mohge-3b/32, N=2", 24)
    said = verdict(build.run([build.passed("torch_loop", where, 1), build.passed("padded_bmm", where, 9)]))
    assert "(scaled down" in said.sentence
    assert any("mohge-3b with its hidden size and widths divided by 32, 2 experts a group" in r for r in said.remarks)


def test_remarks_name_what_has_no_time_and_an_interruption(believable: Any) -> None:
    remarks = " ".join(verdict(replace(believable, finished=None)).remarks)
    assert "There was no GPU" in remarks
    assert "cupy, triton and numba have no time" in remarks
    assert "interrupted" in remarks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (digits(0.01594), "0.0159"),
        (digits(999.6), "1\u202f000"),
        (digits(0), "0"),
        (digits(-2.5), "-2.50"),
        (digits(3e-9), "3.00e-09"),
        (digits(math.inf), "–"),
        (digits(None), "–"),
        (time_text(999.9), "1.00 ms"),
        (time_text(7.224), "7.22 µs"),
        (time_text(2.5e6), "2.50 s"),
        (bytes_text(3 * 2**20), "3.00 MiB"),
    ],
)
def test_numbers_are_written_for_people(text: str, expected: str) -> None:
    assert text == expected
