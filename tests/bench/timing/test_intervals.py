"""Intervals of medians and ratios: they cover what they should, and pairing cancels a shared drift."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mohge.bench.timing import Interval, median_interval, ratio_interval


def test_the_interval_of_equal_samples_is_a_point() -> None:
    assert median_interval([2.0] * 9) == Interval(2.0, 2.0, 2.0)
    assert median_interval([2.0] * 9).half_width == 0


def test_no_samples_have_no_interval() -> None:
    interval = median_interval([])
    assert all(math.isnan(value) for value in (interval.value, interval.low, interval.high))
    assert interval.half_width == math.inf


@pytest.mark.parametrize("samples", [[5.0], [1.0, 9.0], [3.0, 1.0, 2.0], [1.0, 2.0, 3.0, 100.0]])
def test_below_five_samples_there_is_a_median_and_no_interval(samples: list[float]) -> None:
    interval = median_interval(samples)
    assert interval.value == np.median(samples)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert interval.half_width == math.inf
    assert math.isnan(ratio_interval(samples, samples).low)


@pytest.mark.parametrize("samples", [[3.0, 1.0, 2.0, 5.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0, 1e6]])
def test_the_interval_lies_around_the_median_and_above_zero(samples: list[float]) -> None:
    interval = median_interval(samples)
    assert interval.value == np.median(samples)
    assert 0 < interval.low < interval.value < interval.high


def test_a_clock_too_coarse_to_time_a_call_gives_no_interval() -> None:
    interval = median_interval([0.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    assert interval.value == 0
    assert math.isnan(interval.low)
    assert interval.half_width == math.inf


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        interval = median_interval(generator.lognormal(0.0, 0.3, size=31))
        covered += interval.low <= 1.0 <= interval.high
    assert 182 <= covered <= 200  # 95 % of 200 is 190; three standard deviations are 9


def test_the_interval_narrows_with_more_samples() -> None:
    generator = np.random.default_rng(0)
    widths = [median_interval(generator.normal(10, 1, size=count)).half_width for count in (10, 100, 1000)]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_the_same_samples_give_the_same_interval() -> None:
    samples = np.random.default_rng(0).normal(10, 1, size=40)
    assert median_interval(samples) == median_interval(samples)
    assert ratio_interval(samples, samples[::-1]) == ratio_interval(samples, samples[::-1])


def test_a_ratio_is_how_many_times_faster_the_second_is() -> None:
    interval = ratio_interval([4.0] * 5, [2.0] * 5)
    assert interval == Interval(2.0, 2.0, 2.0)


def test_pairing_cancels_a_drift_that_hits_both() -> None:
    generator = np.random.default_rng(1)
    drift = np.linspace(1, 2, 60)
    a = 10 * drift * generator.normal(1, 0.002, 60)
    b = 11 * drift * generator.normal(1, 0.002, 60)
    pairs, alone = ratio_interval(a, b), [median_interval(values) for values in (a, b)]
    assert pairs.low <= 10 / 11 <= pairs.high < 1  # the planted 10 % is beyond doubt
    assert alone[0].high > alone[1].low  # and would have been lost
    assert pairs.half_width < min(one.half_width for one in alone) / 5


def test_pairs_end_with_the_shorter() -> None:
    assert ratio_interval([4.0] * 5 + [400.0], [2.0] * 5) == Interval(2.0, 2.0, 2.0)
    assert math.isnan(ratio_interval([], [1.0]).value)


@pytest.mark.parametrize("bad", [[0.0, 1.0], [-1.0], [math.nan], [math.inf]])
def test_times_that_are_none_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="samples of b: expected positive, finite times"):
        ratio_interval([1.0], bad)
