"""The sampling loop and its process: in time, cheap, ended with its parent, and readable when killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mohge.bench.telemetry import (
    Reading,
    RecordedSource,
    Sampler,
    SourceLostError,
    Trace,
    TraceWriter,
    UnavailableError,
    read_trace,
)
from mohge.bench.telemetry.sampler import COMMAND
from mohge.bench.telemetry.sampling import sample


class Clock:
    """Time that passes when it is waited for, and as much as `read_s` when something is read."""

    def __init__(self, stop_at: float) -> None:
        self.now, self.cpu, self.stop_at = 50.0, 0.0, 50.0 + stop_at

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now >= self.stop_at - 1e-9


class Slow:
    """A source whose readings take the time given for each, in order, then none."""

    def __init__(self, source, clock: Clock, takes: list[float]) -> None:
        self._source, self._clock, self._takes = source, clock, takes
        self.kind, self.unavailable = "recorded", {}
        self.describe, self.clocks, self.close = source.describe, source.clocks, source.close

    def open(self) -> None:
        self._source.open()

    def read(self, now: float) -> Reading:
        takes = self._takes.pop(0) if self._takes else 0.0
        self._clock.now += takes
        self._clock.cpu += takes / 10
        return self._source.read(now)


def run(source, tmp_path: Path, *, seconds: float = 1.0, clock: Clock | None = None) -> tuple[str, Trace]:
    clock = clock or Clock(seconds)
    source.open()
    writer = TraceWriter(tmp_path / "trace.jsonl")
    why = sample(source, writer, 0.1, clock.wait, clock=lambda: clock.now, cpu_clock=lambda: clock.cpu)
    writer.close()
    return why, read_trace(tmp_path / "trace.jsonl")


def times(trace: Trace) -> list[float]:
    return [round(reading.t - 50.0, 6) for reading in trace.readings]


# The loop


def test_readings_come_every_period_and_once_more_at_the_end(synthetic: Path, tmp_path: Path) -> None:
    why, trace = run(RecordedSource(synthetic), tmp_path)
    assert why == trace.end == "stopped"
    assert times(trace) == pytest.approx([0.1 * i for i in range(11)])
    assert trace.costs[0].readings == 10
    assert trace.header.source == "synthetic"


def test_missed_times_are_left_out_and_the_cost_is_written_down(synthetic: Path, tmp_path: Path) -> None:
    clock = Clock(1.0)
    source = Slow(RecordedSource(synthetic, loop=True), clock, [0.0, 0.01, 0.25, 0.01])
    _, trace = run(source, tmp_path, clock=clock)
    # The third reading, at 0.2, took until 0.45: 0.3 and 0.4 are left out, and 0.5 is on time again.
    assert trace.costs[0].readings == 8
    assert trace.costs[0].late_s == pytest.approx(0.0, abs=1e-9)
    assert trace.costs[0].read_us == pytest.approx(1e6 * 0.27 / 8)
    assert trace.costs[0].core_share == pytest.approx(0.027 / 1.0, rel=0.01)


def test_a_device_lost_in_the_middle_keeps_what_was_read(synthetic: Path, tmp_path: Path, faulty) -> None:
    why, trace = run(faulty(RecordedSource(synthetic), lost=5), tmp_path)
    assert why == trace.end == "lost: GPU is lost"
    assert len(trace.readings) == 5


def test_a_device_lost_at_once_still_leaves_a_file_that_says_so(synthetic: Path, tmp_path: Path, faulty) -> None:
    _, trace = run(faulty(RecordedSource(synthetic), lost=0), tmp_path)
    assert (trace.readings, trace.end) == ((), "lost: GPU is lost")


@pytest.mark.parametrize("number", [0, 6])
def test_a_refused_metric_is_in_the_file_with_its_reason(synthetic: Path, tmp_path: Path, faulty, number: int) -> None:
    _, trace = run(faulty(RecordedSource(synthetic), refused=(number, "dram")), tmp_path)
    assert trace.header.unavailable == {"dram": "Not Supported"}
    assert len(trace.series("dram")[0]) == number
    assert len(trace.series("sm")[0]) == 11


# A recording in the place of a device


def test_a_recording_is_played_at_its_speed(synthetic: Path) -> None:
    recorded = read_trace(synthetic)
    source = RecordedSource(synthetic, speed=4.0)
    source.open()
    first, later = source.read(10.0), source.read(10.25)
    assert first.values == recorded.readings[0].values
    assert [reading.values for reading in (*later.earlier, later)] == [r.values for r in recorded.readings[1:11]]
    assert later.t == pytest.approx(10.25)
    assert source.read(100.0).values == recorded.readings[-1].values
    with pytest.raises(SourceLostError, match="the recording is over"):
        source.read(100.1)


def test_a_looped_recording_goes_on_counting(synthetic: Path) -> None:
    source = RecordedSource(synthetic, loop=True)
    source.open()
    joules = [source.read(t).values["energy_j"] for t in (0.0, 5.0, 10.0, 15.0, 20.0)]
    assert joules == sorted(joules)
    assert source.kind == "synthetic"
    clocks = source.clocks()
    assert clocks is not None
    assert clocks.memory_mhz == 3201


@pytest.mark.parametrize("content", ["", "nonsense\n"])
def test_a_file_that_is_no_recording_cannot_be_opened(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(UnavailableError, match="not a trace"):
        RecordedSource(tmp_path / "x.jsonl").open()


# The process


def wait_for(path: Path, lines: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and path.read_bytes().count(b"\n") < lines:
        time.sleep(0.02)
    assert path.read_bytes().count(b"\n") >= lines


def test_before_during_after_results(synthetic: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    sampler = Sampler(path, str(synthetic), period_s=0.05)
    assert sampler.during() is not None
    begin = time.monotonic()
    sampler.before()
    assert sampler.during() is None
    with sampler.mark("triton", "layer"):
        wait_for(path, 5)
    sampler.after()
    end = time.monotonic()
    sampler.after()
    trace = sampler.results()
    assert trace.end == "stopped"
    ((mark, until),) = trace.windows("triton", "layer")
    assert begin <= trace.readings[0].t <= mark.t <= until <= end  # one clock for both processes
    assert trace.costs[0].core_share > 0
    assert trace.costs[0].readings >= 1


def test_killed_at_any_moment_the_file_stays_readable(synthetic: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    sampler = Sampler(path, str(synthetic), period_s=0.02)
    sampler.before()
    wait_for(path, 4)
    assert sampler._process is not None
    os.kill(sampler._process.pid, signal.SIGKILL)
    sampler._process.wait(timeout=60)
    assert sampler.during() == "the sampling process has ended"
    sampler.after()
    trace = read_trace(path)
    assert len(trace.readings) >= 3
    assert (trace.end, trace.costs) == ("", ())


def test_it_ends_with_the_program_it_watches_and_ctrl_c_is_not_for_it(synthetic: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    arguments = {"path": str(path), "source": str(synthetic), "gpu": None, "period_s": 0.02}
    words = [*COMMAND, json.dumps(arguments)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert "ready" in json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        before = path.read_bytes().count(b"\n")
        wait_for(path, before + 3)
        process.stdin.close()  # as when the program that held its other end has died
        assert process.wait(timeout=60) == 0
    assert read_trace(path).end == "stopped"


def test_why_it_cannot_start_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(UnavailableError, match=r"x\.jsonl: not a trace"):
        Sampler(tmp_path / "out.jsonl", str(tmp_path / "x.jsonl")).before()
    with pytest.raises(ValueError, match=r"period: expected at least 0.02 s, got 0.001"):
        Sampler(tmp_path / "out.jsonl", period_s=0.001)


def test_the_process_is_light() -> None:
    """It starts beside every replay: torch alone would cost seconds."""
    code = "import sys, mohge.bench.telemetry.sampling; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "scipy", "typer", "rich"} & set(done.stdout.split())
