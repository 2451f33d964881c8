"""Trials under a watch: suspect samples are marked and counted, and a trial whose clocks were held back says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.cli.tune_view import show_study
from mohge.bench.records import CaseRecord, Provenance, Status, TuningRecord
from mohge.bench.telemetry import CpuDevice
from mohge.bench.timing import ClockLog, ClockReading
from mohge.bench.tuning import Outcome, StudyTask, TrialLimits, load_tunable, measure
from mohge.bench.tuning.candidate import Candidate
from mohge.bench.tuning.energy import EnergyMeter
from mohge.bench.tuning.measure import Bench

FINE = ClockReading(1800.0, 2600.0, ("sw_power_cap",))
HOT = ClockReading(1800.0, 2600.0, ("sw_thermal_slowdown",))
LIMITS = TrialLimits(seconds=0.5, timeout=30.0, min_samples=12, max_samples=12)


class Watch:
    """Too hot at the questions in `hot`, else only under the power cap."""

    source = "scripted"

    def __init__(self, *hot: int) -> None:
        self.asked, self._hot = 0, hot

    def read(self) -> ClockReading:
        self.asked += 1
        return HOT if self.asked in self._hot else FINE


class Broken(Watch):
    """Lost at the second question."""

    def read(self) -> ClockReading:
        if self.asked == 1:
            raise RuntimeError("GPU is lost")
        return super().read()


@pytest.fixture
def tried(
    make_task: Callable[..., StudyTask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Candidate]:
    """A configuration beside the current one, in this process, under a watch."""

    def tried(watch: Watch | None, meter: Any = None) -> Candidate:
        monkeypatch.setattr(measure, "clock_watch", lambda device: watch)
        task = make_task("PLAIN", limits=LIMITS)
        bench = Bench(task, load_tunable(task.implementation), [255], lambda _: None, tmp_path)
        bench._meter = meter
        bench.prepare()
        candidate = Candidate({"delay": 4})
        bench.run([candidate], LIMITS.seconds)
        assert candidate.status is Status.PASSED
        return candidate

    return tried


def test_a_trial_whose_clocks_were_held_back_says_so(tried: Callable[..., Candidate]) -> None:
    watch = Watch(4)
    result = tried(watch).result()
    (case,) = result.cases
    suspects = case["hot"]["suspects"]
    assert 0 < suspects < 12
    assert case["clocks"]["suspects"] == suspects
    assert case["clocks"]["samples"] == watch.asked
    assert case["clocks"]["throttle"] == {"sw_power_cap": watch.asked - 1, "sw_thermal_slowdown": 1}
    assert "rule" not in case["clocks"]
    assert result.outcome is Outcome.COMPLETE
    assert result.reason == f"uniform: clocks held back (sw_thermal_slowdown): {suspects} suspect samples"


@pytest.mark.parametrize(
    ("watch", "source"),
    [(Watch(), "scripted"), (Broken(), "scripted, lost after 1 readings: RuntimeError: GPU is lost")],
)
def test_without_suspects_nothing_is_said(tried: Callable[..., Candidate], watch: Watch, source: str) -> None:
    """The power cap alone is how long matrix work runs; and a watch that fails costs no trial."""
    result = tried(watch).result()
    assert result.reason == ""
    assert result.cases[0]["clocks"]["source"] == source
    assert result.cases[0]["hot"]["suspects"] == 0


def test_nobody_watching_leaves_no_clocks(tried: Callable[..., Candidate]) -> None:
    (case,) = tried(None).result().cases
    assert "clocks" not in case
    assert case["held_back"] == ""


class Counter:
    """A counter of energy at a power of 100 W on a clock that calls move, and a device that is done at once."""

    def __init__(self) -> None:
        self.now, self.calls, self.read = 0.0, 0, list[float]()

    def __call__(self) -> float:
        self.read.append(self.now)
        return 7.0 + 100.0 * self.now

    def call(self) -> None:
        self.calls += 1
        self.now += 0.001


def test_energy_is_that_of_the_window_over_its_calls() -> None:
    counter, watch = Counter(), Watch(2)
    log = ClockLog(watch)
    meter = EnergyMeter(counter, CpuDevice(), window_s=0.5, clock=lambda: counter.now)
    assert meter.joules_per_call(counter.call, log) == pytest.approx(0.1)
    begin, end = counter.read
    assert begin >= 0.5  # the rise is not in it
    assert end - begin == pytest.approx(0.5, abs=0.05)
    seen = log.summary(0)
    assert seen is not None
    assert seen.samples == watch.asked > 10
    assert seen.throttle["sw_thermal_slowdown"] == 1


def test_clocks_held_back_while_the_energy_was_taken_are_said_too(tried: Callable[..., Candidate]) -> None:
    class Meter:
        def joules_per_call(self, call: Callable[[], Any], clocks: ClockLog) -> float:
            call()
            assert clocks.watch is not None
            clocks.readings.append(HOT)
            return 0.25

    result = tried(Watch(), Meter()).result()
    assert result.energy_j == 0.25
    assert result.cases[0]["energy_clocks"]["throttle"] == {"sw_thermal_slowdown": 1}
    assert result.reason == "uniform: energy: clocks held back (sw_thermal_slowdown)"


def test_the_table_names_the_trials(capsys: pytest.CaptureFixture[str]) -> None:
    cases = [{"held_back": "clocks held back (hw_slowdown): 3 suspect samples"}]
    facts = {"outcome": "complete", "values": {"delay": 0}}
    entry = {**facts, "number": 4, "ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.6, "time_us": 1.0, "reason": "hot!"}
    record = TuningRecord(
        *("triton", Provenance.MEASURED, "GPU", "h16", 64, "any", CaseRecord("tiny", 64, "uniform", "float32", "cuda")),
        objective="time",
        trials=[{**facts, "number": number, "cases": cases if number == 4 else [{}]} for number in (3, 4)],
        finalists=[entry],
        notes={"mode": "measured", "current": {"delay": 1}, "ended": "", "verdict": "trial 4"},
    )
    show_study(record)
    printed = " ".join(capsys.readouterr().err.split())
    assert "timed while the clocks were held back: trial 4" in printed
    assert "delay 0; hot!" in printed
