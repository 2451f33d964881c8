"""A trace read in a process of its own is the trace that would be read here, and so are its errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mohge.bench.telemetry import Header, Reading, Trace, TraceWriter, apart, begin_reading, read_trace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "trace.jsonl"
    writer = TraceWriter(file)
    writer.header(Header("nvml", {"name": "H200", "uuid": "GPU-1"}, "2026-01-01T00:00:00+00:00", 0.1))
    for place in range(20):
        writer.reading(Reading(0.1 * place, {"power_w": 300.0 + place, "sm_mhz": 1980.0}))
    writer.close()
    return file


def refuse(_: object) -> Trace:
    raise AssertionError("read here")


def test_a_large_one_is_read_apart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "LARGE_BYTES", 0)
    expected = read_trace(path)
    monkeypatch.setattr(apart, "read_trace", refuse)
    found = begin_reading(path)()
    assert found == expected
    assert len(found.readings) == 20


def test_a_small_one_is_read_here(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "read_trace", refuse)
    with pytest.raises(AssertionError, match="read here"):
        begin_reading(path)()


@pytest.mark.parametrize("text", ["", "no trace\n", '{"t":1.0}\n'])
def test_what_is_no_trace_is_said_in_the_same_words(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "LARGE_BYTES", 0)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="not a trace") as here:
        read_trace(path)
    wait = begin_reading(path)
    with pytest.raises(ValueError, match="not a trace") as there:
        wait()
    assert str(there.value) == str(here.value)


def test_a_file_that_is_not_there_is_said_when_it_is_waited_for(tmp_path: Path) -> None:
    wait = begin_reading(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="cannot be read"):
        wait()


def test_a_process_that_fails_is_made_up_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    false = shutil.which("false")
    if false is None:
        pytest.skip("no command that fails")
    monkeypatch.setattr(apart, "LARGE_BYTES", 0)
    monkeypatch.setattr(apart.sys, "executable", false)
    assert begin_reading(path)() == read_trace(path)
