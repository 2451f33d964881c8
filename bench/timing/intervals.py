"""Intervals of medians and of ratios of medians, of samples that may depend on each other (see resample.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # of Student's t; scipy.stats would slow every command's start

from .resample import FEWEST, contrast

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and a 95 % interval around it; its ends are NaN where the samples do not tell (see the functions).

    blocks: of successive rounds that it rests on, 0 where there is no interval
    """

    value: float
    low: float
    high: float
    blocks: float = field(default=0.0, compare=False)

    @property
    def half_width(self) -> float:
        """The larger distance from the value to an end, relative to the value; infinite without an interval."""
        widest = max(self.high - self.value, self.value - self.low)
        return widest / self.value if self.value > 0 and math.isfinite(widest) else math.inf


def median_interval(samples: Sequence[float] | NDArray[np.float64]) -> Interval:
    """The median of samples float[n], taken one after another, with its interval.

    There is no interval below five samples, nor with one of 0: then the clock was too coarse to time the call.
    """
    values = np.asarray(samples, dtype=np.float64)
    if not _are_times(values):
        return Interval(float(np.median(values)), math.nan, math.nan)
    return _interval((values,), (1.0,))


def ratio_interval(
    a_samples: Sequence[float] | NDArray[np.float64], b_samples: Sequence[float] | NDArray[np.float64]
) -> Interval:
    """median(a) / median(b): how many times faster b is than a, with its interval.

    Sample i of both comes from the same interleaved round: rounds are resampled together, so a drift of the clock that
    hits both cancels, and where the lengths differ the rounds that only one has are left out. Below five rounds there
    is no interval. Raises ValueError for samples that are not all positive and finite.
    """
    a, b = np.asarray(a_samples, dtype=np.float64), np.asarray(b_samples, dtype=np.float64)
    for name, values in (("a", a), ("b", b)):
        if not _are_times(values):
            raise ValueError(
                f"samples of {name}: expected positive, finite times, got {values.min():g} to {values.max():g}"
            )
    both = min(len(a), len(b))
    return _interval((a[:both], b[:both]), (1.0, -1.0))


def student_half_width(error: float, df: float, level: float = LEVEL) -> float:
    """Half of the interval around a value with standard error `error`, known with `df` degrees of freedom."""
    return float(stdtrit(df, (1 + level) / 2)) * error


def _interval(series: Sequence[NDArray[np.float64]], weights: Sequence[float]) -> Interval:
    """The product of the medians, each to the power of its weight; its interval is one of the logarithm."""
    if not len(series[0]):
        return Interval(math.nan, math.nan, math.nan)
    medians = [float(np.median(values)) for values in series]
    value = math.prod(median**weight for median, weight in zip(medians, weights, strict=True))
    if len(series[0]) < FEWEST:
        return Interval(value, math.nan, math.nan)
    estimate = contrast(series, weights)
    half = student_half_width(math.sqrt(estimate.variance), estimate.df)
    return Interval(value, value * math.exp(-half), value * math.exp(half), estimate.samples / estimate.block)


def _are_times(values: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(values).all() and (values > 0).all())
