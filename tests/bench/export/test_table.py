"""CSV that other readers read back to the same values."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import pytest

from mohge.bench.export import records_csv, samples_csv


def read(pieces: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(pieces), newline=""), strict=True))


def test_a_row_has_the_record_and_where_it_is_from(build: Any) -> None:
    records = [build.passed("padded_bmm", build.case(), 300.0), build.passed("triton", build.case(), 150.0)]
    first, second = read(records_csv([build.labelled(build.run(records))]))
    assert first["run"] == "first"
    assert (first["implementation"], first["provenance"], first["status"]) == ("padded_bmm", "measured", "passed")
    assert (first["spec"], first["tokens"], first["routing"], first["dtype"]) == (
        "mohge-3b",
        "64",
        "zipf:1.2",
        "float32",
    )
    assert (first["widths"], first["hidden"], first["top_groups"]) == ("384 640", "1024", "2")
    assert float(first["hot_median_us"]) == 300.0
    assert float(first["hot_low_us"]) == 294.0
    assert float(first["cold_median_us"]) == 360.0
    assert (first["hot_samples"], first["hot_suspects"], first["hot_timer"]) == ("5", "0", "cpu")
    assert float(first["useful_tflops"]) == pytest.approx(3e9 / 300e-6 / 1e12)
    assert float(first["executed_tflops"]) == pytest.approx(9e9 / 300e-6 / 1e12)
    assert float(first["gb_per_s"]) == pytest.approx(5e8 / 300e-6 / 1e9)
    assert (first["share_of_roof"], first["speedup"], second["speedup"]) == ("0.25", "", "2.0")
    assert float(first["gemm1_median_us"]) == 180.0
    assert first["route_median_us"] == ""
    assert first["command"] == "mohge run --spec 'my layer.toml'"
    assert (first["cpu"], first["gpu"], first["torch"], first["cupy"]) == ("Some CPU", "", "2.13.0", "14.2.0")
    assert (first["git_dirty"], first["roof_matmul_tflops"]) == ("true", "float32=0.2")


def test_names_come_back_as_they_were(build: Any) -> None:
    where = build.case(spec=build.evil, routing=build.evil)
    (row,) = read(records_csv([build.labelled(build.run([build.failed(build.evil, where, build.evil)]), build.evil)]))
    assert row["run"] == row["implementation"] == row["spec"] == row["routing"] == row["reason"] == build.evil
    assert row["status"] == "crashed"
    assert row["hot_median_us"] == ""


def test_what_is_not_a_number_is_an_empty_cell(build: Any) -> None:
    record = build.passed("a", build.case(), 100.0, hot=build.samples(math.nan), tflops=math.inf, share_of_roof=None)
    (row,) = read(records_csv([build.labelled(build.run([record]))]))
    assert {row[name] for name in ("hot_median_us", "useful_tflops", "share_of_roof", "gb_per_s")} == {""}


def test_runs_are_kept_apart_and_an_empty_one_is_not_lost(build: Any) -> None:
    one = build.labelled(build.run([build.passed("a", build.case(), 1.0)]), "one")
    other = build.labelled(
        build.run([build.passed("a", build.case(), 2.0, phases={"mine": build.samples(3.0)})]), "two"
    )
    rows = read(records_csv([one, other, build.labelled(build.run([]), "none")]))
    assert [(row["run"], row["hot_median_us"], row["mine_median_us"]) for row in rows[:2]] == [
        *(("one", "1.0", ""), ("two", "2.0", "3.0"))
    ]
    assert (rows[2]["run"], rows[2]["status"], rows[2]["reason"]) == ("none", "not_run", "this run holds no records")
    assert rows[2]["cpu"] == "Some CPU"


def test_the_long_table_has_every_sample_in_order(build: Any) -> None:
    hot = build.samples(2.0, samples_us=[3.0, 2.0, 1.0], suspects=[0])
    records = [build.failed("b", build.case()), build.passed("a", build.case(), 2.0, hot=hot, cold=None)]
    rows = read(samples_csv([build.labelled(build.run(records))]))
    series = [(row["which"], row["sample"], row["time_us"], row["suspect"]) for row in rows[:3]]
    assert series == [("hot", "0", "3.0", "true"), ("hot", "1", "2.0", "false"), ("hot", "2", "1.0", "false")]
    assert {row["record"] for row in rows} == {"1"}
    assert {row["which"] for row in rows} == {"hot", "phases:plan", "phases:gemm1", "phases:gemm2"}
    assert len(rows) == 18


def test_without_samples_the_long_table_is_its_header(build: Any) -> None:
    text = "".join(samples_csv([build.labelled(build.run([build.failed("a", build.case())]))]))
    assert text.startswith("run,record,implementation,")
    assert text.count("\n") == 1
