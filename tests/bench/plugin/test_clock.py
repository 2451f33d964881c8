"""The replay clock hands out every sample exactly, whatever came before it."""

from __future__ import annotations

import numpy as np

from mohge.bench.plugin.clock import ReplayClock
from mohge.bench.plugin.fixture import Work
from mohge.bench.plugin.saved import counted
from mohge.bench.records import Samples


def replayed(clock: ReplayClock, rounds: int) -> list[float]:
    """What pytest-benchmark sees: it reads the clock before and after every call."""
    seen = []
    for _ in range(rounds):
        clock.rewind()
        start = clock()
        clock.advance()
        seen.append(clock() - start)
    return seen


def samples(times: list[float], suspects: list[int]) -> Samples:
    return Samples(times, 1.0, 1.0, 1.0, "by hand", "no more samples", suspects=suspects)


def test_differences_are_the_samples_to_the_last_bit() -> None:
    times = np.random.default_rng(0).lognormal(3, 2, 500).tolist()
    clock = ReplayClock()
    clock.load(times)
    assert replayed(clock, 500) == [time / 1e6 for time in times]


def test_after_the_last_sample_the_real_call_runs() -> None:
    clock, calls = ReplayClock(), []
    clock.load([1.0], lambda: calls.append("called"))
    assert replayed(clock, 3) == [1e-6, 0.0, 0.0]
    assert calls == ["called", "called"]


def test_it_has_a_name_that_a_report_can_show() -> None:
    assert ReplayClock().__name__ == "replayed_samples"


def test_suspects_do_not_count_while_enough_others_do() -> None:
    assert counted(samples([1.0, 9.0, 2.0, 3.0, 4.0, 5.0], [1])) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert counted(samples([1.0, 9.0, 2.0, 3.0, 4.0], [1])) == [1.0, 9.0, 2.0, 3.0, 4.0]


def test_rates_are_of_what_is_known() -> None:
    assert Work(flops=2_000_000).rates(4.0) == {"tflops": 0.5}
    assert Work(moved_bytes=8_000_000).rates(4.0) == {"tbps": 2.0}
    assert Work().rates(4.0) == {}
