"""What the clocks did stands under the samples, and suspect samples are ringed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from mohge.bench.records import Clocks
from mohge.bench.records.codec import plain
from mohge.bench.report.cases import groups
from mohge.bench.report.clocks import CLOCKS, clock_table
from mohge.bench.report.figures_time import samples_in_order
from mohge.bench.report.page import render
from mohge.bench.report.sections import sections

SEEN = Clocks("nvml", 40, 1965.0, 1410.0, 1980.0, 3201.0, {"sw_power_cap": 12}, suspects=5, rule="a sample is suspect")


def suspected(build: Any, name: str, places: list[int], **more: Any) -> Any:
    hot = replace(build.samples(9000.0), suspects=places, busy_share=0.97)
    return replace(build.passed(name, build.case(), 9, hot=hot), clocks=SEEN, **more)


def test_suspect_samples_are_ringed_where_they_were_taken(build: Any) -> None:
    (group,) = groups([suspected(build, "triton", [0, 7]), build.passed("cupy", build.case(), 8)])
    figure = samples_in_order(group)
    assert figure is not None
    go.Figure(plain(figure))
    rings = figure["data"][-1]
    samples = group.records[0].hot.samples_us  # type: ignore[union-attr]
    assert rings["x"] == [1, 8]
    assert rings["y"] == [samples[0] / 1000, samples[7] / 1000]
    assert rings["marker"]["symbol"] == "circle-open"
    assert len(figure["data"]) == 3


def test_without_suspects_nothing_is_ringed_and_without_clocks_there_is_no_table(build: Any) -> None:
    (group,) = groups([build.passed("triton", build.case(), 9)])
    figure = samples_in_order(group)
    assert figure is not None
    assert len(figure["data"]) == 1
    assert clock_table(group) == ((), (), ())


def test_the_table_says_what_the_clocks_did_and_the_rule(build: Any) -> None:
    run = build.run([suspected(build, "triton", [0, 7])])
    variant = {one.name: one for one in sections(run)}["samples"].variants[0]
    assert dict(zip(variant.header, variant.rows[0], strict=True)) == {
        "implementation": "triton",
        "suspect samples": "2 of 15",
        "with cold, phases": "5",
        "device busy": "97 %",
        "read by": "nvml",
        "readings": "40",
        "SM clock": "1\u202f965 MHz",
        "lowest to highest": "1\u202f410 to 1\u202f980 MHz",
        "memory clock": "3\u202f201 MHz",
        "held back by (readings)": "sw_power_cap (12)",
    }
    assert variant.remarks == ("A sample is suspect.",)
    assert "2 suspect samples ringed" in variant.reading
    assert "A sample is suspect." in render(run)


@pytest.mark.parametrize("clocks", [None, Clocks("nvml, lost after 0 readings", 0), replace(SEEN, sm_mhz=math.nan)])
def test_what_the_clocks_do_not_say_is_a_dash(build: Any, clocks: Clocks | None) -> None:
    record = replace(suspected(build, "triton", [-1, 99]), clocks=clocks)
    (group,) = groups([record])
    header, (row,), _ = clock_table(group)
    assert len(header) == len(row) == len(CLOCKS)
    assert "–" in row
    assert "nan" not in "".join(row)
    figure = samples_in_order(group)
    assert figure is not None
    assert len(figure["data"]) == 1  # such places are in no list of samples
