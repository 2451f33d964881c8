"""The roofline: which roof limits a record, what is drawn and said with roofs, without them, and where counts lack."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from mohge.bench.records import Environment, Roof, Run
from mohge.bench.report.roofline import COPY, MATRIX, Roofs, limit_of, missing_roofs, roofs_of
from mohge.bench.report.section import Section
from mohge.bench.report.sections import sections

ROOFS = Roofs(matrix=0.1, copy=0.02)  # they meet at 5 FLOP/byte


def section_of(run: Run) -> Section:
    return next(section for section in sections(run) if section.name == "roofline")


def counted(build: Any, name: str, tokens: int, milliseconds: float, flops: float, moved: float) -> Any:
    record = build.passed(name, build.case(tokens=tokens), milliseconds, useful_flops=int(flops), bytes=int(moved))
    return replace(record, tflops=flops / milliseconds * 1e-9)


def with_roof(build: Any, records: list[Any], roof: Roof | None) -> Run:
    run = build.run(records)
    return replace(run, environment=replace(run.environment, roof=roof))


@pytest.mark.parametrize(
    ("flops", "moved", "limiter", "least_us"),
    [(1e9, 1e9, COPY, 5e4), (1e9, 1e8, MATRIX, 1e4), (5e8, 1e8, MATRIX, 5e3)],
)
def test_the_roof_that_takes_longer_is_the_limit(
    build: Any, flops: float, moved: float, limiter: str, least_us: float
) -> None:
    limit = limit_of(counted(build, "torch_loop", 16, 100, flops, moved), ROOFS)
    assert limit is not None
    assert (limit.limiter, limit.intensity) == (limiter, flops / moved)
    assert limit.least_us == pytest.approx(least_us)
    assert limit.share == pytest.approx(least_us / 1e5)
    # The share is also the rate over what the roofs allow at this intensity.
    assert limit.share == pytest.approx(limit.tflops / ROOFS.at(limit.intensity))


@pytest.mark.parametrize("more", [{"bytes": None}, {"bytes": 0}, {"useful_flops": 0}, {"useful_flops": None}])
def test_without_counts_there_is_no_limit(build: Any, more: dict[str, Any]) -> None:
    assert limit_of(build.passed("torch_loop", build.case(), 1, **more), ROOFS) is None


def test_roofs_are_those_of_the_dtype_and_measured(build: Any) -> None:
    known = Environment(roof=Roof({"float32": 0.1}, 0.02))
    assert roofs_of("float32", known) == ROOFS
    assert missing_roofs("float32", known) == ""
    assert roofs_of("bfloat16", known) is None
    assert missing_roofs("bfloat16", known) == "no matrix rate of bfloat16 was measured in this run"
    nothing = Environment(roof=Roof({"float32": math.nan}, None))
    assert roofs_of("float32", nothing) is None
    assert "no matrix rate of float32 and no copy bandwidth" in missing_roofs("float32", nothing)
    assert missing_roofs("float32", Environment()) == "no roofs were measured in this run"


def test_both_roofs_are_drawn_and_the_sentence_names_the_limits(build: Any) -> None:
    records = [
        counted(build, "torch_loop", 16, 100, 1e9, 1e9),
        counted(build, "padded_bmm", 16, 200, 1e9, 1e9),
        counted(build, "torch_loop", 4096, 20, 1e9, 1e8),
    ]
    (variant,) = section_of(with_roof(build, records, Roof({"float32": 0.1}, 0.02))).variants
    assert variant.figure is not None
    go.Figure(variant.figure)
    roof, padded, loop = variant.figure["data"]
    assert roof["x"][1] == pytest.approx(5)
    assert roof["y"][1:] == pytest.approx([0.1, 0.1])
    assert (padded["name"], loop["name"]) == ("padded_bmm", "torch_loop")
    assert loop["x"] == pytest.approx([1, 10])
    assert "At 16 tokens torch_loop comes nearest to the limit, the copy bandwidth: 50 % of it." in variant.reading
    assert "At 4\u202f096 tokens torch_loop reaches 50 % of the limit, the matrix rate." in variant.reading
    assert "the roofs meet at 5.00 FLOP/byte" in variant.reading
    assert [row[4] for row in variant.rows] == ["copy bandwidth", "copy bandwidth", "matrix rate"]


def test_undecided_is_not_called_nearest(build: Any) -> None:
    records = [counted(build, name, 16, 100, 1e9, 1e9) for name in ("torch_loop", "triton")]
    (variant,) = section_of(with_roof(build, records, Roof({"float32": 0.1}, 0.02))).variants
    assert "come nearest" in variant.reading
    assert "cannot be told apart" in variant.reading


def test_without_roofs_points_stand_alone_and_it_is_said(build: Any) -> None:
    records = [counted(build, "torch_loop", 16, 100, 1e9, 1e9)]
    (variant,) = section_of(with_roof(build, records, None)).variants
    assert variant.figure is not None
    assert [trace["name"] for trace in variant.figure["data"]] == ["torch_loop"]
    assert variant.reading == "No share of a roof can be given: no roofs were measured in this run."
    assert variant.rows[0][-1] == "not known"


def test_points_above_the_roof_and_records_without_counts_are_said(build: Any) -> None:
    above = counted(build, "torch_loop", 16, 10, 1e9, 1e9)
    bare = build.passed("padded_bmm", build.case(tokens=16), 9, bytes=None)
    (variant,) = section_of(with_roof(build, [above, bare], Roof({"float32": 0.1}, 0.02))).variants
    assert len(variant.remarks) == 2
    assert "1 point above the roof" in variant.remarks[0]
    assert "padded_bmm" in variant.remarks[1]
