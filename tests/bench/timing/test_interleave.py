"""Interleaved measurement on a pretended clock: order, stop reasons, failures; nothing here depends on speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from mohge.bench.records import Samples, Status
from mohge.bench.timing import FEWEST, Failure, Interval, Prepared, measure_interleaved, ratio_interval
from mohge.bench.timing.stopping import FIRST_LOOK, decided


@dataclass
class FakeTimer:
    """A clock that the calls move: a call returns its own microseconds."""

    now: float = 0.0
    log: list[tuple[str, Any, bool]] = field(default_factory=list)

    def seconds(self) -> float:
        return self.now

    def prepare(self, call: Callable[[], Any]) -> Prepared:
        self.log.append(("prepare", call, False))
        return Prepared(call, "pretended")

    def sample(self, prepared: Prepared, *, cold: bool) -> float:
        self.log.append(("sample", prepared.call, cold))
        microseconds = prepared.call()
        self.now += microseconds * 1e-6
        return microseconds

    def method(self, prepared: Prepared, *, cold: bool) -> str:
        return f"{prepared.how}, {'cold' if cold else 'hot'}"


def steady(microseconds: float) -> Callable[[], float]:
    return lambda: microseconds


def noisy(microseconds: float, spread: float, seed: int) -> Callable[[], float]:
    generator = np.random.default_rng(seed)
    return lambda: microseconds * float(generator.lognormal(0, spread))


def samples_of(result: Samples | Failure) -> Samples:
    assert isinstance(result, Samples)
    return result


def test_steady_times_stop_at_the_first_look() -> None:
    results = measure_interleaved(
        {"a": steady(100), "b": steady(300)}, timer=FakeTimer(), cold=False, min_samples=12, warmup_seconds=0
    )
    a, b = samples_of(results["a"]), samples_of(results["b"])
    assert list(results) == ["a", "b"]
    assert a == Samples([100.0] * FIRST_LOOK, 100.0, 100.0, 100.0, "pretended, hot", "interval within 1 %")
    assert b.median_us == 300


def test_noisy_times_go_on_until_the_interval_is_narrow() -> None:
    results = measure_interleaved(
        {"a": noisy(100, 0.05, 0), "b": steady(10)}, timer=FakeTimer(), cold=True, seconds=1e9, target=0.02
    )
    a, b = samples_of(results["a"]), samples_of(results["b"])
    assert a.stop == b.stop == "interval within 2 %"
    assert 10 < len(a.samples_us) == len(b.samples_us) < 500
    assert a.low_us >= 0.98 * a.median_us
    assert a.high_us <= 1.02 * a.median_us
    assert a.method == "pretended, cold"


def test_the_time_limit_stops_noise() -> None:
    results = measure_interleaved(
        {"a": noisy(1e5, 0.5, 0)}, timer=FakeTimer(), cold=False, seconds=2.0, target=0.001, warmup_seconds=0
    )
    a = samples_of(results["a"])
    assert a.stop == "time limit 2 s"
    assert sum(a.samples_us[:-1]) < 2e6 <= sum(a.samples_us)


def test_the_sample_limit_stops_noise() -> None:
    results = measure_interleaved(
        {"a": noisy(1, 0.5, 0)}, timer=FakeTimer(), cold=False, target=0.001, max_samples=30, warmup_seconds=0
    )
    assert samples_of(results["a"]).stop == "sample limit 30"
    assert len(samples_of(results["a"]).samples_us) == 30


@pytest.mark.parametrize(("options", "rounds"), [({}, FEWEST), ({"fewest": 3}, 3)])
def test_slow_calls_have_the_fewest_samples_even_past_the_limit(options: Any, rounds: int) -> None:
    timer = FakeTimer()
    results = measure_interleaved({"a": steady(9e6)}, timer=timer, cold=False, seconds=1, warmup_seconds=0, **options)
    assert samples_of(results["a"]).samples_us == [9e6] * rounds
    assert samples_of(results["a"]).stop == "time limit 1 s"
    assert math.isfinite(samples_of(results["a"]).low_us) == (rounds == FEWEST)


def rounds_of(timer: FakeTimer, calls: dict[str, Callable[[], Any]], warmups: int) -> Iterator[list[str]]:
    names = {call: name for name, call in calls.items()}
    order = [names[call] for kind, call, _ in timer.log if kind == "sample"][warmups:]
    for start in range(0, len(order), len(calls)):
        yield order[start : start + len(calls)]


def test_every_round_has_each_candidate_once_in_a_new_order() -> None:
    calls = {name: steady(10 + number) for number, name in enumerate("abcd")}
    timer = FakeTimer()
    measure_interleaved(calls, timer=timer, cold=True, min_samples=40, warmup_seconds=0, seed=5)
    rounds = list(rounds_of(timer, calls, warmups=4))
    assert len(rounds) == 40
    assert all(sorted(one) == list("abcd") for one in rounds)
    assert len({tuple(one) for one in rounds}) > 10
    assert all(cold for kind, _, cold in timer.log if kind == "sample")

    again, other = FakeTimer(), FakeTimer()
    measure_interleaved(calls, timer=again, cold=True, min_samples=40, warmup_seconds=0, seed=5)
    measure_interleaved(calls, timer=other, cold=True, min_samples=40, warmup_seconds=0, seed=6)
    assert list(rounds_of(again, calls, 4)) == rounds
    assert list(rounds_of(other, calls, 4)) != rounds


def test_warm_up_lasts_for_a_time_and_is_not_counted() -> None:
    call, timer = steady(1000), FakeTimer()
    results = measure_interleaved({"a": call}, timer=timer, cold=False, min_samples=5, warmup_seconds=0.02)
    samples = [entry for entry in timer.log if entry[0] == "sample"]
    assert len(samples_of(results["a"]).samples_us) == FIRST_LOOK
    assert len(samples) - FIRST_LOOK in (20, 21)
    assert timer.log[0][0] == "prepare"


def test_a_drift_of_the_clock_hits_all_alike() -> None:
    """Everything gets twice as slow on the way; paired rounds still see the planted 5 % between the two."""
    timer = FakeTimer()

    def drifting(microseconds: float) -> Callable[[], float]:
        return lambda: microseconds * (1 + min(timer.now, 1.0))

    calls = {"fast": drifting(10_000), "slow": drifting(10_500)}
    results = measure_interleaved(calls, timer=timer, cold=False, seconds=1.0, target=1e-6, warmup_seconds=0)
    ratio = ratio_interval(samples_of(results["slow"]).samples_us, samples_of(results["fast"]).samples_us)
    assert 1.0 < ratio.low <= ratio.value <= ratio.high < 1.1


class OutOfMemoryError(RuntimeError):
    """Named as torch's and CuPy's are."""


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeError("illegal memory access\ndetails"), Status.CRASHED, "RuntimeError: illegal memory access"),
        (OutOfMemoryError("tried 8 GiB"), Status.OUT_OF_MEMORY, "OutOfMemoryError: tried 8 GiB"),
        (MemoryError(), Status.OUT_OF_MEMORY, "MemoryError"),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_call_that_raises_drops_out_and_the_others_go_on(
    error: Exception, status: Status, reason: str, at: int
) -> None:
    calls = {"bad": raising(error, at), "good": steady(100)}
    results = measure_interleaved(calls, timer=FakeTimer(), cold=False, min_samples=10, warmup_seconds=0)
    assert results["bad"] == Failure(status, reason)
    assert samples_of(results["good"]).samples_us == [100.0] * FIRST_LOOK


def raising(error: BaseException, at: int) -> Callable[[], float]:
    done = 0

    def call() -> float:
        nonlocal done
        done += 1
        if done > at:
            raise error
        return 50.0

    return call


def test_when_all_raise_it_ends() -> None:
    calls = {"a": raising(RuntimeError("x"), 3), "b": raising(RuntimeError("y"), 0)}
    results = measure_interleaved(calls, timer=FakeTimer(), cold=False, warmup_seconds=0)
    assert results == {"a": Failure(Status.CRASHED, "RuntimeError: x"), "b": Failure(Status.CRASHED, "RuntimeError: y")}


@pytest.mark.parametrize("at", [0, 4])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_through(error: type[BaseException], at: int) -> None:
    with pytest.raises(error):
        measure_interleaved({"a": raising(error(), at)}, timer=FakeTimer(), cold=False, warmup_seconds=0)


def test_nothing_to_time() -> None:
    assert measure_interleaved({}, timer=FakeTimer(), cold=False) == {}


def test_progress_is_told_every_round() -> None:
    seen: list[tuple[int, float]] = []
    measure_interleaved(
        {"a": steady(1000)},
        timer=FakeTimer(),
        cold=False,
        min_samples=5,
        max_samples=5,
        warmup_seconds=0,
        on_progress=lambda rounds, seconds: seen.append((rounds, round(seconds, 6))),
    )
    assert seen == [(1, 0.001), (2, 0.002), (3, 0.003), (4, 0.004), (5, 0.005)]


@pytest.mark.parametrize(
    "bad",
    [
        {"seconds": 0},
        {"min_samples": 0},
        {"min_samples": 9, "max_samples": 8},
        {"max_samples": 2},
        {"target": 0},
    ],
)
def test_limits_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        measure_interleaved({"a": steady(1)}, timer=FakeTimer(), cold=False, **bad)


def jittery(microseconds: float, seed: int) -> Callable[[], float]:
    """Spread evenly over 7 % up and down: in forty samples the median is known to some percent, not to one."""
    generator = np.random.default_rng(seed)
    return lambda: microseconds * float(generator.uniform(0.93, 1.07))


@pytest.mark.parametrize(("baseline", "other", "ends"), [("base", 200, True), ("base", 50, True), ("base", 101, False)])
def test_a_decided_ratio_to_the_baseline_ends_it(baseline: str, other: float, ends: bool) -> None:
    def stop(baseline: str | None) -> str:
        calls = {"base": jittery(100, 0), "other": jittery(other, 1)}
        found = measure_interleaved(
            calls, timer=FakeTimer(), cold=False, warmup_seconds=0, max_samples=40, baseline=baseline
        )
        assert samples_of(found["base"]).stop == samples_of(found["other"]).stop
        return samples_of(found["other"]).stop

    decided = "every ratio to base decided by 2 %, interval within 5 %"
    assert stop(baseline) == (decided if ends else "sample limit 40")
    assert stop(None) == stop("someone else") == "sample limit 40"


def test_a_baseline_alone_or_one_that_has_failed_decides_nothing() -> None:
    limits: dict[str, Any] = {"timer": FakeTimer(), "cold": False, "warmup_seconds": 0, "max_samples": 40}
    alone = measure_interleaved({"base": jittery(100, 0)}, baseline="base", **limits)
    assert samples_of(alone["base"]).stop == "sample limit 40"
    calls = {"base": raising(RuntimeError("broken"), 3), "other": jittery(200, 1)}
    left = measure_interleaved(calls, baseline="base", **limits)
    assert samples_of(left["other"]).stop == "sample limit 40"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.03, 1.2, True),
        (1.01, 1.2, False),
        (0.9, 0.97, True),
        (0.9, 0.99, False),
        (0.99, 1.01, True),
        (0.99, 1.03, False),
        (math.nan, math.nan, False),
    ],
)
def test_what_decides_a_ratio(low: float, high: float, expected: bool) -> None:
    assert decided(Interval(1.0, low, high)) is expected


def test_the_first_round_tells_what_seconds_there_are() -> None:
    asked = list[float]()

    def seconds(round_s: float) -> float:
        asked.append(round_s)
        return 8 * round_s

    found = measure_interleaved(
        {"a": noisy(1e6, 0.5, 0)}, timer=FakeTimer(), cold=False, seconds=seconds, target=1e-6, warmup_seconds=0
    )
    taken = samples_of(found["a"])
    assert asked == [pytest.approx(taken.samples_us[0] * 1e-6)]
    assert taken.stop == f"time limit {8 * asked[0]:.3g} s"
    assert sum(taken.samples_us[:-1]) < 8e6 * asked[0] <= sum(taken.samples_us)
