"""Intervals of samples that depend on each other: how often they cover the truth, and where naive ones do not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mohge.bench.timing import FEWEST, contrast, median_interval, ratio_interval
from mohge.bench.timing.resample import block_length

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
COUNT, TRIALS = 120, 120


def autoregressive(
    generator: np.random.Generator, memory: float, spread: float, count: int = COUNT
) -> NDArray[np.float64]:
    """Each value remembers a share of the one before."""
    noise = generator.normal(0, spread, count + 100)
    values = np.zeros_like(noise)
    for place in range(1, len(noise)):
        values[place] = memory * values[place - 1] + noise[place]
    return values[100:]


def both(generator: np.random.Generator, make: Callable[[], NDArray[np.float64]]) -> Pair:
    return make(), make()


KINDS: dict[str, Callable[[np.random.Generator], Pair]] = {
    "independent": lambda g: both(g, lambda: g.normal(0, 0.05, COUNT)),
    "each with a memory": lambda g: both(g, lambda: autoregressive(g, 0.7, 0.02)),
    "a drift that hits both": lambda g: both(g, lambda: np.linspace(0, 0.3, COUNT) + g.normal(0, 0.01, COUNT)),
    "spikes": lambda g: both(g, lambda: g.normal(0, 0.01, COUNT) + (g.random(COUNT) < 0.1) * g.exponential(1, COUNT)),
    "two levels": lambda g: both(g, lambda: g.normal(0, 0.005, COUNT) + 0.05 * (g.random(COUNT) < 0.5)),
}


def coverage(kind: str, half_width: Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[float, float]]) -> float:
    """The share of trials whose interval of log(b / a) holds the truth, 0."""
    generator = np.random.default_rng(11)
    covered = 0
    for _ in range(TRIALS):
        a, b = (np.exp(values) for values in KINDS[kind](generator))
        low, high = half_width(a, b)
        covered += low <= 0 <= high
    return covered / TRIALS


def ours(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    interval = ratio_interval(b, a)
    return math.log(interval.low), math.log(interval.high)


def one_by_one(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """The bootstrap for independent samples: percentiles of the ratio over rounds drawn one by one."""
    picks = np.random.default_rng(1).integers(len(a), size=(600, len(a)))
    low, high = np.quantile(np.log(np.median(b[picks], axis=1) / np.median(a[picks], axis=1)), [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("kind", KINDS)
def test_95_percent_intervals_cover_the_truth(kind: str) -> None:
    assert coverage(kind, ours) >= 0.92  # 95 % of 120 is 114; two standard deviations are 5


def test_resampling_one_by_one_does_not() -> None:
    """The reason for blocks."""
    assert coverage("each with a memory", one_by_one) < 0.8


@pytest.mark.parametrize("count", [10, COUNT])
def test_a_median_of_samples_with_a_memory_is_covered(count: int) -> None:
    """And would not have been: the interval a run file had before blocks missed the truth four times as often."""
    generator = np.random.default_rng(6)
    covered = naive = 0
    for _ in range(TRIALS):
        samples = np.exp(autoregressive(generator, 0.6, 0.02, count))
        interval = median_interval(samples)
        covered += interval.low <= 1 <= interval.high
        low, high = one_by_one(np.ones(count), samples)
        naive += low <= 0 <= high
    assert covered >= 0.88 * TRIALS  # 92 % in long series of simulations; two standard deviations are 5 %
    assert naive < 0.8 * TRIALS


def test_few_samples_are_not_trusted_too_much() -> None:
    """Of five samples a bootstrap's percentiles alone are too narrow."""
    generator, covered = np.random.default_rng(5), 0
    for _ in range(150):
        a, b = np.exp(generator.normal(0, 0.05, (2, FEWEST)))
        low, high = ours(a, b)
        covered += low <= 0 <= high
    assert covered >= 0.95 * 150


def test_the_interval_is_not_needlessly_wide() -> None:
    """Against the error of a difference of medians of independent normal samples, sqrt(pi / n) times the deviation."""
    generator = np.random.default_rng(2)
    errors = [
        math.sqrt(contrast([*np.exp(generator.normal(0, 0.01, (2, 400)))], (-1.0, 1.0)).variance) for _ in range(10)
    ]
    assert np.median(errors) == pytest.approx(0.01 * math.sqrt(math.pi / 400), rel=0.25)


def test_pairing_cancels_what_hits_both() -> None:
    generator = np.random.default_rng(3)
    shared = autoregressive(generator, 0.9, 0.05)
    a, b = (np.exp(shared + generator.normal(0, 0.002, COUNT)) for _ in range(2))
    pair = contrast((a, b), (-1.0, 1.0)).variance
    apart = contrast((a,), (1.0,)).variance + contrast((b,), (1.0,)).variance
    assert pair < apart / 20


@pytest.mark.parametrize(("memory", "shortest", "longest"), [(0.0, 5, 6), (0.9, 8, 24)])
def test_blocks_are_as_long_as_the_memory(memory: float, shortest: int, longest: int) -> None:
    generator = np.random.default_rng(4)
    lengths = [block_length(autoregressive(generator, memory, 1.0)) for _ in range(30)]
    assert shortest <= np.median(lengths) <= longest
    assert max(lengths) <= COUNT // 5


@pytest.mark.parametrize("count", [5, 6, 9, 10, 11, 27])
def test_few_or_equal_samples_have_a_block(count: int) -> None:
    assert 1 <= block_length(np.zeros(count)) <= max(1, count // 5)
    estimate = contrast((np.full(count, 3.0), np.full(count, 6.0)), (-1.0, 1.0))
    assert estimate.value == pytest.approx(math.log(2))
    assert estimate.variance == pytest.approx(0, abs=1e-24)


def test_a_coarse_clock_widens_the_interval() -> None:
    """All samples on one tick or the next: the median cannot be known better than the tick."""
    a, b = np.array([4.0] * 90 + [5.0] * 10), np.array([4.0] * 100)
    assert math.sqrt(contrast((a, b), (-1.0, 1.0)).variance) >= math.log(5 / 4) / math.sqrt(12) * 0.99


def test_the_same_samples_give_the_same_estimate() -> None:
    a, b = np.exp(np.random.default_rng(0).normal(0, 0.1, (2, 50)))
    assert contrast((a, b), (-1.0, 1.0)) == contrast((a, b), (-1.0, 1.0))
