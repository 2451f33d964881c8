"""Clocks around samples: which rounds they make suspect, and what the record says. The watch is scripted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mohge.bench.records import Samples
from mohge.bench.timing import (
    ClockLog,
    ClockReading,
    Prepared,
    counted_pairs,
    counting,
    measure_interleaved,
    ratio_interval,
)
from mohge.bench.timing.clocks import READING_SECONDS

FINE = ClockReading(1800.0, 2600.0)
HOT = ClockReading(1800.0, 2600.0, ("hw_thermal_slowdown",))
CAPPED = ClockReading(1750.0, 2600.0, ("sw_power_cap",))
SLOW = ClockReading(1500.0, 2600.0, ("sw_power_cap",))
IDLE = ClockReading(1800.0, 2600.0, ("gpu_idle",))


@dataclass
class Watch:
    """Gives `script[n]` at question n, and `usual` after the script's end; an exception in it is raised."""

    script: dict[int, Any] = field(default_factory=dict)
    usual: ClockReading | None = FINE
    asked: int = 0
    source: str = "scripted"

    def read(self) -> ClockReading | None:
        answer = self.script.get(self.asked, self.usual)
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class FakeTimer:
    """A clock that the calls move: a call returns its own microseconds."""

    now: float = 0.0

    def seconds(self) -> float:
        return self.now

    def prepare(self, call: Callable[[], Any]) -> Prepared:
        return Prepared(call, "pretended", way="cpu")

    def sample(self, prepared: Prepared, *, cold: bool) -> float:
        microseconds = prepared.call()
        self.now += microseconds * 1e-6
        return microseconds

    def method(self, prepared: Prepared, *, cold: bool) -> str:
        return "pretended"


def measure(watch: Watch, calls: dict[str, Callable[[], float]], **options: Any) -> tuple[dict[str, Samples], ClockLog]:
    log = ClockLog(watch)
    options = {"seconds": 1e9, "min_samples": 10, "max_samples": 10, "warmup_seconds": 0} | options
    results = measure_interleaved(calls, timer=FakeTimer(), cold=False, clocks=log, **options)
    return {name: result for name, result in results.items() if isinstance(result, Samples)}, log


def steady(microseconds: float) -> Callable[[], float]:
    return lambda: microseconds


def listed(*microseconds: float) -> Callable[[], float]:
    """These times one after the other; the first is for the untimed sample before the rounds."""
    left = iter((microseconds[0], *microseconds))
    return lambda: next(left)


# A round of 20 ms is read after every time: question n is asked after n rounds.
ROUND = 20_000.0


@pytest.mark.parametrize(
    ("script", "suspects"),
    [
        ({}, []),
        ({4: HOT}, [3, 4]),
        ({0: HOT}, [0]),
        ({10: HOT}, [9]),
        ({4: HOT, 5: HOT}, [3, 4, 5]),
        ({4: SLOW}, [3, 4]),
        ({4: CAPPED}, []),
        ({4: IDLE}, []),
        (dict.fromkeys(range(11), CAPPED), []),
        ({4: ClockReading(None, None, ("sw_thermal_slowdown",))}, [3, 4]),
        ({4: ClockReading(None, None, ("hw_power_brake_slowdown", "sw_power_cap"))}, [3, 4]),
        ({4: ClockReading(None, None)}, []),
        ({4: None}, []),
        ({4: HOT, 3: None, 5: None}, [2, 3, 4, 5]),
    ],
    ids=str,
)
def test_a_bad_reading_marks_the_rounds_beside_it(script: dict[int, Any], suspects: list[int]) -> None:
    results, _ = measure(Watch(script), {"a": steady(ROUND)})
    assert results["a"].suspects == suspects


def test_readings_are_between_rounds_and_not_more_often_than_a_hundred_times_a_second() -> None:
    watch = Watch()
    measure(watch, {"a": steady(ROUND)})
    assert watch.asked == 11
    watch = Watch()
    measure(watch, {"a": steady(READING_SECONDS * 1e6 / 4)}, max_samples=100, min_samples=100)
    assert watch.asked in (26, 27)


def test_between_far_readings_every_round_is_suspect() -> None:
    """Read after 0, 4, 8 and 10 rounds; the one after 4 is bad."""
    results, _ = measure(Watch({1: HOT}), {"a": steady(READING_SECONDS * 1e6 / 4 + 1)})
    assert results["a"].suspects == [0, 1, 2, 3, 4, 5, 6, 7]


def test_suspects_stay_among_the_samples_and_out_of_the_median() -> None:
    slow = [ROUND, ROUND, ROUND, 2 * ROUND, 2 * ROUND, 2 * ROUND, 2 * ROUND, ROUND, ROUND, ROUND]
    results, log = measure(Watch({4: HOT, 6: HOT}), {"a": listed(*slow), "b": steady(ROUND)})
    a, b = results["a"], results["b"]
    assert a.suspects == b.suspects == [3, 4, 5, 6]
    assert a.samples_us == slow
    assert (a.median_us, a.low_us, a.high_us) == (ROUND, ROUND, ROUND)
    assert a.stop.endswith("; 4 of 10 samples suspect and left out")
    clocks = log.summary(len(a.suspects))
    assert clocks is not None
    assert (clocks.source, clocks.samples, clocks.suspects) == ("scripted", log.watch.asked, 4)  # type: ignore[union-attr]
    assert (clocks.sm_mhz, clocks.low_mhz, clocks.high_mhz, clocks.memory_mhz) == (1800.0, 1800.0, 1800.0, 2600.0)
    assert clocks.throttle == {"hw_thermal_slowdown": 2}
    assert "hw_thermal_slowdown" in clocks.rule
    assert "10 %" in clocks.rule


def test_when_most_are_suspect_all_count() -> None:
    script = dict.fromkeys(range(2, 9), HOT)
    results, _ = measure(Watch(script), {"a": steady(ROUND)})
    assert results["a"].suspects == [1, 2, 3, 4, 5, 6, 7, 8]
    assert results["a"].median_us == ROUND
    assert results["a"].stop.endswith("; 8 of 10 samples suspect and counted: too few others")


def test_sampling_goes_on_until_enough_samples_count() -> None:
    """Six slow rounds under heat. Looked at after 36 and 45 rounds: the last has the blocks that count, all alike."""
    script = dict.fromkeys(range(1, 6), HOT)
    times = listed(*[2 * ROUND] * 6, *[ROUND] * 100)
    results, _ = measure(Watch(script), {"a": times}, min_samples=10, max_samples=100)
    a = results["a"]
    assert a.suspects == [0, 1, 2, 3, 4, 5]
    assert (a.median_us, a.low_us, a.high_us) == (ROUND, ROUND, ROUND)
    assert a.stop == "interval within 1 %; 6 of 45 samples suspect and left out"


def test_pairs_leave_a_suspect_round_out_of_both() -> None:
    def samples(times: list[float], suspects: list[int]) -> Samples:
        return Samples(times, 0.0, 0.0, 0.0, "pretended", "", suspects=suspects)

    a = samples([10.0, 10.0, 99.0, 10.0, 10.0, 10.0, 10.0, 10.0], [2])
    b = samples([5.0, 77.0, 5.0, 5.0, 5.0, 5.0, 5.0], [1])
    assert counted_pairs(a, b) == ([10.0] * 5, [5.0] * 5)
    assert ratio_interval(*counted_pairs(a, b)).value == 2.0


@pytest.mark.parametrize(
    ("total", "suspects", "left"),
    [
        (6, [], 6),
        (6, [0], 5),
        (6, [0, 1], 6),
        (10, [0, 1, 2, 3, 4], 5),
        (12, range(7), 12),
        (4, [0], 4),
        (100, range(50), 50),
        (0, [], 0),
    ],
)
def test_suspects_are_left_out_while_five_and_half_remain(total: int, suspects: Any, left: int) -> None:
    assert len(counting(total, suspects)) == left


def test_a_watch_that_fails_is_not_asked_again_and_the_record_says_so() -> None:
    watch = Watch({3: RuntimeError("GPU is lost")})
    results, log = measure(watch, {"a": steady(ROUND)})
    assert results["a"].median_us == ROUND
    assert watch.asked == 4
    clocks = log.summary(0)
    assert clocks is not None
    assert clocks.source == "scripted, lost after 3 readings: RuntimeError: GPU is lost"
    assert clocks.samples == 3


def test_nobody_asked_means_no_clocks() -> None:
    assert ClockLog().summary(0) is None
    silent = ClockLog(Watch(usual=None))
    assert silent.read() is None
    clocks = silent.summary(0)
    assert clocks is not None
    assert (clocks.samples, clocks.sm_mhz, clocks.low_mhz) == (0, None, None)


def test_a_branch_keeps_what_was_read_and_goes_its_own_way() -> None:
    log = ClockLog(Watch())
    log.read()
    branch = log.branch()
    branch.read()
    assert (len(log.readings), len(branch.readings)) == (1, 2)
