"""The trace file: what is written comes back, whoever was killed while writing; what is no trace is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mohge.bench.telemetry import Cost, Header, Mark, Reading, Trace, TraceWriter, read_trace

HEADER = Header("nvml", {"name": "H200", "uuid": "GPU-1"}, "2026-01-01T00:00:00+00:00", 0.1, {"sm": "why"}, "boot-1")


def written(path: Path, header: Header = HEADER, *, ends: bool = True) -> Path:
    writer = TraceWriter(path)
    writer.header(header)
    writer.reading(Reading(1.0, {"power_w": 100.0}))
    writer.mark(Mark(1.05, "begin", "triton", "gemm1"))
    writer.reading(Reading(1.1, {"power_w": 300.0, "throttle": 4}, (Reading(1.07, {"utilization_ring": 0.5}),)))
    writer.mark(Mark(1.15, "end", "triton", "gemm1"))
    if ends:
        writer.end(1.2, "stopped", Cost(0.001, 0.2, 2, 150.0, 0.01), {"dram": "because"})
    writer.close()
    return path


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path / "trace.jsonl"))
    assert trace.header.device == HEADER.device
    assert trace.header.unavailable == {"sm": "why", "dram": "because"}
    assert [(reading.t, dict(reading.values)) for reading in trace.readings] == [
        (1.0, {"power_w": 100.0}),
        (1.07, {"utilization_ring": 0.5}),
        (1.1, {"power_w": 300.0, "throttle": 4}),
    ]
    assert [(mark.name, end) for mark, end in trace.windows("triton")] == [("gemm1", 1.15)]
    assert trace.windows("numba") == []
    assert trace.series("power_w", 1.05, 2.0) == ([1.1], [300.0])
    assert (trace.end, trace.costs[0].core_share) == ("stopped", pytest.approx(0.005))


def test_it_is_readable_as_plain_json_lines(tmp_path: Path) -> None:
    """Other readers rely on these names."""
    lines = [json.loads(line) for line in written(tmp_path / "trace.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {"trace", "source", "device", "started", "period_s", "unavailable"} <= set(lines[0])
    assert lines[1] == {"t": 1.0, "power_w": 100.0}
    assert lines[2] == {"t": 1.05, "mark": "begin", "lane": "triton", "name": "gemm1"}


def test_every_length_of_a_killed_writers_file_is_readable(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.jsonl").read_bytes()
    first = whole.index(b"\n") + 1
    seen = set()
    for length in range(first, len(whole)):
        (tmp_path / "torn.jsonl").write_bytes(whole[:length])
        trace = read_trace(tmp_path / "torn.jsonl")
        seen.add((len(trace.readings), len(trace.marks), trace.end))
    assert (3, 2, "") in seen
    assert (0, 0, "") in seen


def test_a_stretch_may_follow_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(written(path).read_bytes()[:-20])
    trace = read_trace(written(path))
    assert len(trace.readings) == 6
    assert len(trace.costs) == 1
    assert trace.end == "stopped"


def test_a_stretch_can_be_read_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(written(path).read_bytes()[:-20])
    start = path.stat().st_size
    trace = read_trace(written(path), start)
    assert (len(trace.readings), len(trace.costs), trace.end) == (3, 1, "stopped")


def test_a_mark_without_an_end_lasts_to_the_last_reading(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "trace.jsonl")
    writer.header(HEADER)
    writer.mark(Mark(1.0, "begin", "triton", "layer"))
    writer.reading(Reading(3.0, {"power_w": 1.0}))
    writer.close()
    assert read_trace(tmp_path / "trace.jsonl").windows() == [(Mark(1.0, "begin", "triton", "layer"), 3.0)]


def test_what_a_newer_version_adds_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "trace.jsonl")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"t": 2.0, "power_w": 5, "new_metric": {"a": 1}}\n')
    assert read_trace(path).readings[-1].values == {"power_w": 5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a header line"),
        ('{"t": 1, "power_w": 2}\n', "expected a header line"),
        ("PNG\n", "expected a header line"),
        ('{"trace": 2, "source": "nvml"}\n', "line 1: expected a trace of version 1, got 2"),
        (
            '{"trace": 1, "source": "guess", "device": {}, "started": "", "period_s": 1}\n',
            "source: expected one of nvml",
        ),
        ('HEADER\n{"t": 1, "power_w": "high"}\n', "line 2: power_w: expected a number, got 'high'"),
        (
            'HEADER\n{"t": 1, "power_w": 1' + "0" * 400 + "}\n",
            "trace.jsonl: not a trace: line 2: power_w: expected a number",
        ),
        ('HEADER\n{"t": 1' + "0" * 400 + ', "power_w": 1}\n', "line 2: t: expected a number"),
        ('HEADER\n{"t": 1, "end": "", "cost": {"wall_s": 1' + "0" * 400 + "}}\n", "line 2: wall_s: expected a number"),
        ('HEADER\n{"power_w": 3}\n', "line 2: expected a field 't'"),
        ('HEADER\nnonsense\n{"t": 1, "power_w": 3}\n', "line 2 is not a JSON object"),
        ('HEADER\n{"t": 1, "mark": "middle", "lane": "a", "name": "b"}\n', "mark: expected begin or end, got 'middle'"),
        ("HEADER\nOTHER\n", "expected one device and one boot"),
    ],
)
def test_what_is_no_trace_is_named_in_one_line(content: str, message: str, tmp_path: Path) -> None:
    header, other = HEADER.line(), {**HEADER.line(), "device": {"uuid": "GPU-2"}}
    path = tmp_path / "trace.jsonl"
    text = content.replace("HEADER", json.dumps(header)).replace("OTHER", json.dumps(other))
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as raised:
        read_trace(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_or_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_trace(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="cannot be written"):
        TraceWriter(tmp_path / "none" / "trace.jsonl")


def test_a_synthetic_trace_says_so_and_is_the_same_every_time(synthetic: Path, tmp_path: Path) -> None:
    from mohge.bench.telemetry.synthetic import write_synthetic

    trace: Trace = read_trace(synthetic)
    assert trace.header.source == "synthetic"
    assert "synthetic" in trace.header.device["name"]
    twice = [write_synthetic(tmp_path / name, seed=3).read_bytes() for name in ("a.jsonl", "b.jsonl")]
    assert twice[0] == twice[1]
    assert write_synthetic(tmp_path / "c.jsonl", seed=4).read_bytes() != twice[0]
