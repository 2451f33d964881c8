"""The verdict says what the records say, and no more."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mohge.bench.records import ErrorRecord, Provenance, Record, Samples, Speedup, Status
from mohge.bench.report.cases import has_interval, main_case
from mohge.bench.report.formats import bytes_text, digits, time_text
from mohge.bench.report.verdict import other_rows, table_rows, verdict
from mohge.bench.timing import median_interval

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
    assert said.sentence.startswith(
        "torch_loop is fastest on mohge-3b (256 tokens, router, float32): 100 ms (98.0 ms to 102 ms), "
        "3.40 times (3.20 to 3.60) as fast as padded_bmm; the next, torch_grouped_mm, takes 1.2"
    )
    assert re.search(r" times \(1\.2\d to 1\.3\d\) as long\.$", said.sentence)
    rows = table_rows(main_case(run))  # type: ignore[arg-type]
    assert [row["implementation"] for row in rows] == ["torch_loop", "torch_grouped_mm", "padded_bmm"]
    assert [row["best"] for row in rows] == [True, False, False]
    assert rows[0]["speedup"] == "3.40"
    assert rows[0]["speedup_interval"] == "3.20 to 3.60"


@pytest.mark.parametrize(
    ("milliseconds", "spread", "kind"),
    [((100, 101), 0.02, "undecided"), ((100, 110), 0.02, "decided"), ((100, 110), 0.2, "undecided")],
)
def test_a_ratio_whose_interval_includes_one_is_undecided(
    build: Any, milliseconds: tuple[float, float], spread: float, kind: str
) -> None:
    where = build.case()
    names = ("torch_loop", "torch_grouped_mm")
    records = [build.passed(n, where, ms, spread=spread) for n, ms in zip(names, milliseconds, strict=True)]
    said = verdict(build.run(records))
    assert said.kind == kind
    assert "padded_bmm not measured" in said.sentence
    assert ("which includes 1" in said.sentence) == (kind == "undecided")
    assert table_rows(main_case(build.run(records)))[0]["best"] == (kind == "decided")  # type: ignore[arg-type]


def test_what_hits_a_round_hits_both_and_decides_nothing(build: Any) -> None:
    """Medians of 30 % either way, and yet one takes 3 % longer in every round."""
    drift = np.linspace(70_000, 130_000, 20)
    records = [timed(build, "torch_loop", drift), timed(build, "torch_grouped_mm", 1.03 * drift)]
    assert verdict(build.run(records)).kind == "decided"
    other = timed(build, "torch_grouped_mm", 1.03 * drift, stop="another time limit")
    assert verdict(build.run([records[0], other])).kind == "undecided"  # not in the same rounds: the intervals overlap
    assert "the intervals overlap" in verdict(build.run([records[0], other])).sentence


def test_samples_that_remember_the_one_before_are_no_more_evidence_than_they_are(build: Any) -> None:
    """Of two equal implementations one met slow stretches: independent samples of these times would name a winner."""
    noise, memory = np.random.default_rng(25).normal(0, 0.01, 60), np.zeros(60)
    for place in range(1, 60):
        memory[place] = 0.8 * memory[place - 1] + noise[place]
    a, b = np.full(60, 1e5), 1e5 * np.exp(memory)
    picks = np.random.default_rng(0).integers(60, size=(1000, 60))
    assert np.quantile(np.median(b[picks], axis=1) / 1e5, 0.025) > 1
    records = [timed(build, "torch_loop", a), timed(build, "torch_grouped_mm", b)]
    assert verdict(build.run(records)).kind == "undecided"


def test_too_few_rounds_are_undecided_and_counted(build: Any) -> None:
    """Three rounds of which one is always faster: what the first default run of a slow machine has."""
    ratio = Speedup("padded_bmm", 2.0, math.nan, math.nan, rounds=3)
    records = [
        replace(timed(build, "torch_loop", [50e3, 51e3, 52e3]), speedup=ratio),
        timed(build, "padded_bmm", [100e3, 101e3, 102e3]),
    ]
    said = verdict(build.run(records))
    assert said.kind == "undecided"
    assert "with only 3 samples, too few for an interval" in said.sentence
    assert "undecided: 3 rounds are too few" in said.sentence
    assert records[0].hot is not None
    assert not has_interval(replace(records[0].hot, low_us=49e3, high_us=53e3))  # as files from before say
    rows = table_rows(main_case(build.run(records)))  # type: ignore[arg-type]
    assert rows[0]["speedup_interval"] == "undecided: 3 rounds are too few"
    assert rows[0]["hot_interval"] == "3 samples"
    assert not rows[0]["best"]


def timed(build: Any, name: str, samples_us: Any, stop: str = "time limit 2 s") -> Record:
    """A record with these samples and the interval that timing gives them."""
    interval = median_interval(samples_us)
    hot = Samples(list(samples_us), interval.value, interval.low, interval.high, "monotonic clock", stop)
    return build.passed(name, build.case(), interval.value / 1000, hot=hot)


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
    assert "as fast as padded_bmm, undecided" in verdict(build.run(records)).sentence
    row = table_rows(main_case(build.run(records)))[0]  # type: ignore[arg-type]
    assert row["speedup_interval"] == "0.900 to 1.30, undecided"


def test_one_sample_is_undecided(build: Any) -> None:
    where = build.case()
    single = build.samples(100_000, count=1)
    records = [build.passed("torch_loop", where, 100, hot=single), build.passed("padded_bmm", where, 900)]
    said = verdict(build.run(records))
    assert said.kind == "undecided"
    assert "100 ms (1 sample)" in said.sentence
    assert "with only 1 sample, too few for an interval" in said.sentence


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
