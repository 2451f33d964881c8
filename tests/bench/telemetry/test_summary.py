"""Means know that readings depend on each other; energy says where it comes from; nothing is said that is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mohge.bench.records import Telemetry
from mohge.bench.records.codec import decode, plain
from mohge.bench.telemetry import Header, Mark, Reading, Trace, Window, mean_interval, read_trace, summarize
from mohge.bench.telemetry.statistics import Energy, counter_energy, power_energy, variance_of_mean

HEADER = Header("nvml", {"name": "H200", "uuid": "GPU-1"}, "2026-01-01T00:00:00+00:00", 0.1)
TIMES = [round(10 + 0.1 * i, 6) for i in range(41)]  # a reading every 0.1 s from 10 to 14 s


def trace(**metrics: float | Callable[[float], float]) -> Trace:
    """Constant metrics, or a function of the time since 10 s."""
    readings = [
        Reading(t, {name: value(t - 10) if callable(value) else value for name, value in metrics.items()})
        for t in TIMES
    ]
    return Trace(HEADER, tuple(readings), ())


def autoregressive(random: np.random.Generator, count: int, memory: float) -> np.ndarray:
    values = np.empty(count)
    values[0] = random.normal()
    for i in range(1, count):
        values[i] = memory * values[i - 1] + random.normal() * np.sqrt(1 - memory**2)
    return values


# Means


@pytest.mark.parametrize(("memory", "share"), [(0.0, 0.93), (0.5, 0.92), (0.8, 0.88)])
def test_intervals_hold_the_mean_about_as_often_as_they_say(memory: float, share: float) -> None:
    """Of readings that remember the one before: an interval that ignored it would hold it far less than 95 %."""
    random = np.random.default_rng(1)
    held = naive = 0
    for _ in range(400):
        values = autoregressive(random, 60, memory)
        mean = mean_interval(values)
        assert mean is not None
        assert mean.low is not None
        assert mean.high is not None
        held += mean.low <= 0 <= mean.high
        naive += abs(values.mean()) <= 2 * values.std(ddof=1) / np.sqrt(len(values))
    assert held >= share * 400
    assert memory < 0.5 or naive < held


def test_the_effective_count_shrinks_with_memory() -> None:
    random = np.random.default_rng(2)
    independent = variance_of_mean(random.normal(size=200))[1]
    dependent = variance_of_mean(autoregressive(random, 200, 0.9))[1]
    assert 120 < independent <= 200
    assert dependent < 40  # theory: 200 (1 - 0.9) / (1 + 0.9) = 11
    assert variance_of_mean(np.full(30, 1980.0)) == (0.0, 30)


def test_few_readings_have_a_mean_but_no_interval() -> None:
    assert mean_interval([]) is None
    three = mean_interval([1.0, 2.0, 3.0])
    assert three is not None
    assert (three.value, three.low, three.high) == (2.0, None, None)


# Energy


def test_energy_from_the_counter_is_certain_to_a_step() -> None:
    """500 W, the counter moving every 0.1 s but read 0.06 s late at one end and on time at the other."""
    stamps = np.arange(10.0, 14.0, 0.1)
    joules = 1e6 + 50.0 * np.floor((stamps - 0.06) / 0.1 + 1e-9)
    energy = counter_energy(stamps.tolist(), joules.tolist(), 10.0, 14.0)
    assert isinstance(energy, Energy)
    assert energy.source == "counter"
    assert energy.low is not None
    assert energy.high is not None
    assert energy.low <= 500 * 4.0 <= energy.high
    assert energy.high - energy.low == pytest.approx(2 * 50, rel=0.05)


@pytest.mark.parametrize(
    ("joules", "reason"),
    [
        ([1.0], "read 1 times"),
        ([5.0] * 8, "moved 0 times"),
        ([1.0, 2.0, 3.0, 1.5, 2.5], "went back by 1.5 J, 0.3 s into the window"),
    ],
)
def test_a_counter_that_cannot_tell_says_why(joules: list[float], reason: str) -> None:
    stamps = [10 + 0.1 * i for i in range(len(joules))]
    assert reason in str(counter_energy(stamps, joules, 10.0, 14.0))


def test_energy_from_power_is_its_trapezoidal_mean_times_the_window() -> None:
    energy = power_energy([10.0, 11.0, 13.0], [100.0, 300.0, 300.0], 10.0, 14.0)
    assert energy is not None
    assert energy.joules == pytest.approx((200 * 1 + 300 * 2) / 3 * 4)
    assert power_energy([10.0], [100.0], 10.0, 14.0) is None


def test_a_counter_going_back_gives_way_to_the_power(synthetic: Path, faulty) -> None:
    from mohge.bench.telemetry import RecordedSource

    source = faulty(RecordedSource(synthetic), backward=30)
    source.open()
    readings = tuple(source.read(t) for t in np.arange(0, 5.5, 0.1))
    seen = Trace(replace(HEADER, source="recorded"), readings, ())
    before, over = (summarize(seen, Window(2.0, end)) for end in (2.8, 5.0))
    assert before.energy_source == "counter"
    assert over.energy_source == "power_w"
    assert "counter went back by" in over.notes[0]
    assert over.energy_j is not None
    assert over.power_w is not None
    assert over.energy_j == pytest.approx(over.power_w * 3.0, rel=0.02)


# The record


def test_a_record_is_the_window_and_nothing_outside() -> None:
    seen = trace(
        sm=lambda t: 0.9 if t >= 1 else 0.1,
        power_w=lambda t: 500.0 if t >= 1 else 90.0,
        energy_j=lambda t: 1000 + 500.0 * t,
        sm_mhz=lambda t: 1700 if t < 3 else 900,  # the clock jumps
        throttle=lambda t: 0x4 if t >= 3 else 0x0,
        temperature_c=lambda t: 40 + t,
        memory_bytes=2**30,
    )
    window = Window(11.0, 14.0, calls=600, tokens=100, flops=2e9, discarded_s=1.0, phases={"gemm1": (12.0, 13.0)})
    result = summarize(seen, window, "trace.jsonl")
    assert result.window_s == pytest.approx(3.0)
    assert result.samples == 31
    assert result.sm == pytest.approx(0.9)
    assert result.power_w == pytest.approx(500)
    assert result.energy_j == pytest.approx(1500)
    assert result.joule_per_token == pytest.approx(1500 / 60_000)
    assert result.tflop_per_joule == pytest.approx(600 * 2e9 * 1e-12 / 1500)
    assert (result.sm_mhz, result.temperature_c, result.memory_bytes) == (1700, 44, 2**30)
    assert result.throttle == {"sw_power_cap": pytest.approx(11 / 31)}
    assert (result.calls, result.discarded_s, result.trace) == (600, 1.0, "trace.jsonl")
    assert result.phases["gemm1"]["sm"] == pytest.approx(0.9)
    assert result.tensor is None
    assert result.notes == []
    assert decode(Telemetry, plain(result), "telemetry") == result


def test_a_window_that_had_not_settled_says_so() -> None:
    result = summarize(trace(power_w=lambda t: 300.0 + 60 * t), Window(10.0, 14.0))
    assert any("not settled: power went from" in note for note in result.notes)


def test_an_average_power_stands_in_and_is_named() -> None:
    result = summarize(trace(power_average_w=400.0), Window(10.0, 14.0, 10, 10))
    assert (result.power_w, result.energy_source) == (400.0, "power_average_w")
    assert any("lags behind" in note for note in result.notes)


def test_the_ring_buffer_is_preferred_where_it_has_enough() -> None:
    readings = tuple(Reading(t, {"utilization": 1.0, "utilization_ring": 0.5}) for t in TIMES)
    sparse = (Reading(11.0, {"utilization_ring": 0.0}), *(Reading(t, {"utilization": 1.0}) for t in TIMES))
    assert summarize(Trace(HEADER, readings, ()), Window(10.0, 14.0)).utilization == 0.5
    assert summarize(Trace(HEADER, sparse, ()), Window(10.0, 14.0)).utilization == 1.0


def test_a_recording_says_nothing_per_token(synthetic: Path) -> None:
    """Its joules were spent on other calls than those counted here."""
    seen = read_trace(synthetic)
    ((mark, end),) = seen.windows("triton", "layer")
    result = summarize(seen, Window(mark.t, end, 100, 100, 1e9))
    assert result.source == "synthetic"
    assert result.energy_j is not None
    assert (result.joule_per_token, result.tflop_per_joule) == (None, None)
    assert any("synthetic readings" in note for note in result.notes)


def test_a_window_without_readings_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"readings in a window of 1.0 s, got none"):
        summarize(trace(sm=1.0), Window(20.0, 21.0))


def test_shares_stay_shares() -> None:
    result = summarize(trace(sm=lambda t: 0.0 if t < 2 else 1.0), Window(10.0, 14.0))
    low, high = result.interval["sm"]
    assert 0 <= low < high <= 1


def test_marks_tell_the_windows() -> None:
    marks = (Mark(11.0, "begin", "a", "x"), Mark(12.0, "end", "a", "x"), Mark(12.0, "begin", "a", "x"))
    seen = replace(trace(sm=1.0), marks=marks)
    assert [(mark.t, end) for mark, end in seen.windows("a")] == [(11.0, 12.0), (12.0, 14.0)]
