"""Reading a trace in bulk: the same as line by line, with far fewer steps than lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mohge.bench.telemetry import Header, Mark, Reading, Readings, Trace, TraceWriter, read_trace, trace_lines
from mohge.bench.telemetry.trace_lines import sorted_lines

HEADER = Header("nvml", {"name": "H200", "uuid": "GPU-1"}, "2026-01-01T00:00:00+00:00", 0.1)


def written(path: Path, readings: list[Reading]) -> Path:
    writer = TraceWriter(path)
    writer.header(HEADER)
    for place, reading in enumerate(readings):
        if place % 100 == 0:
            writer.mark(Mark(reading.t, "begin", "triton", f"part {place}"))
        writer.reading(reading)
    writer.close()
    return path


def odd(t: float, place: int) -> Reading:
    """Readings of several kinds in turn: one metric missing, another one, names with digits, numbers with exponents."""
    values: dict[str, float] = {"power_w": 300.0 + place % 7, "throttle": place % 3, "fp32": 0.25}
    if place % 5 == 0:
        del values["throttle"]
    if place % 11 == 0:
        values = {"utilization_ring": 0.5}
    if place % 13 == 0:
        values["tensor"] = 1e-7
    if place % 17 == 0:
        values["temperature_c"] = -12.5
    return Reading(t, values)


def test_what_was_written_comes_back_whatever_its_kind(tmp_path: Path) -> None:
    readings = [odd(round(0.1 * place, 6), place) for place in range(1000)]
    trace = read_trace(written(tmp_path / "trace.jsonl", readings))
    assert trace.readings == readings
    assert len(trace.marks) == 10


def test_readings_of_one_time_stay_as_the_file_has_them_and_others_are_sorted(tmp_path: Path) -> None:
    readings = [Reading(float(place // 50 % 3), {"power_w": float(place), "sm": 0.5}) for place in range(600)]
    readings[300:300] = [Reading(1.0, {"utilization_ring": 0.5})]
    trace = read_trace(written(tmp_path / "trace.jsonl", readings))
    assert trace.readings == sorted(readings, key=lambda reading: reading.t)


@pytest.mark.parametrize("piece", [50, 1000, 10**6])
def test_a_file_is_the_same_in_pieces_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    readings = [odd(0.1 * place, place) for place in range(200)]
    path = written(tmp_path / "trace.jsonl", readings)
    monkeypatch.setattr(trace_lines, "_PIECE", piece)
    assert [round(reading.t, 6) for reading in read_trace(path).readings] == [round(one.t, 6) for one in readings]


def test_most_lines_are_read_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a long trace fast: the steps are those of the few kinds of lines, not of all lines."""
    loads, calls = json.loads, []
    monkeypatch.setattr(json, "loads", lambda text, **more: calls.append(1) or loads(text, **more))
    readings = [Reading(0.1 * place, {"power_w": 0.5 + place, "sm_mhz": 1980}) for place in range(20_000)]
    blocks, others = sorted_lines(written(tmp_path / "trace.jsonl", readings))
    assert sum(len(block.numbers) for block in blocks) == 20_000
    assert len(others) == 1 + 200
    assert len(calls) < 10


SPOILT = {
    "not a number": ('"power_w":5', '"power_w":5.5.5', "line 12 is not a JSON object"),
    "no digits": ('"power_w":5', '"power_w":-', "line 12 is not a JSON object"),
    "a number in a name": ('"power_w":5', '"po9wer_w":5', None),
    "a zero in front": ('"power_w":5', '"power_w":05', "line 12 is not a JSON object"),
    "above a float": ('"power_w":5', '"power_w":' + "9" * 400, "line 12: power_w: expected a number"),
    "no time": ('"t":1.0,', "", "line 12: expected a field 't'"),
    "time twice": ('"t":1.0,', '"t":1.0,"t":2.0,', None),
    "a word": ('"power_w":5', '"power_w":true', "line 12: power_w: expected a number"),
    "cut off": ('"power_w":5}', '"power_w":5', "line 12 is not a JSON object"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_line_among_its_like_that_is_not_as_they_are_is_read_by_itself(tmp_path: Path, name: str) -> None:
    before, after, message = SPOILT[name]
    lines = ['{"t":1.0,"power_w":5}'] * 30
    lines[10] = lines[10].replace(before, after)
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join([json.dumps(HEADER.line()), *lines, ""]), encoding="utf-8")
    if message is None:
        assert len(read_trace(path).readings) == 30
        return
    with pytest.raises(ValueError, match=message):
        read_trace(path)


def test_a_torn_line_is_only_forgiven_before_a_new_stretch(tmp_path: Path) -> None:
    header, line = json.dumps(HEADER.line()), '{"t":1.0,"power_w":5}'
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join([header, *[line] * 20, '{"t":1.0,"po', header, *[line] * 20, '{"t"']), encoding="utf-8")
    assert len(read_trace(path).readings) == 40
    path.write_text("\n".join([header, *[line] * 20, '{"t":1.0,"po', *[line] * 20]), encoding="utf-8")
    with pytest.raises(ValueError, match="line 22 is not a JSON object"):
        read_trace(path)
    path.write_text("\n".join([*[line] * 20, header]), encoding="utf-8")
    with pytest.raises(ValueError, match="expected a header line"):
        read_trace(path)


# Columns


def test_columns_are_the_readings_and_have_nan_for_what_one_does_not_have() -> None:
    readings = (Reading(1.0, {"power_w": 300.0}), Reading(1.5, {"power_w": 310.0, "sm_mhz": 1980.0}), Reading(2.0))
    table = Readings.of(readings)
    assert table == readings
    assert (table[1], table[-1], list(table[1:])) == (readings[1], readings[-1], list(readings[1:]))
    assert np.isnan(table.columns["sm_mhz"][[0, 2]]).all()
    assert [part.tolist() for part in table.series("sm_mhz")] == [[1.5], [1980.0]]
    assert [len(part) for part in table.series("dram")] == [0, 0]
    assert [len(table.between(*window)) for window in ((1.0, 1.5), (1.1, 1.4), (0.0, 9.0), (3.0, 1.0))] == [2, 0, 3, 0]


@pytest.mark.parametrize("readings", [(), (Reading(1.0), Reading(2.0))])
def test_readings_without_values_are_still_readings(readings: Any) -> None:
    trace = Trace(HEADER, readings, ())
    assert trace.table == readings
    assert trace.series("power_w") == ([], [])
