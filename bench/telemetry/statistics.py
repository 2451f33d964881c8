"""Means of readings that depend on one another, and energies from a counter that moves in steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
FEWEST = 4  # readings below which a mean has no interval: their dependence cannot be seen
_CORRECTIONS = 3  # further ones widen the intervals more than they mend them


@dataclass(frozen=True)
class Mean:
    """A mean and its 95 % interval (None with too few readings). effective: independent readings it is worth."""

    value: float
    low: float | None
    high: float | None
    count: int
    effective: float


def mean_interval(values: Sequence[float] | NDArray[np.float64]) -> Mean | None:
    """The mean of evenly spaced readings float[n] with Student's t over the readings they are worth; None without any.

    On autoregressive readings it holds the mean in 92 to 97 % of cases up to a memory of 0.5 from one reading to the
    next, and in 88 to 92 % at 0.8, with 30 to 60 readings.
    """
    data = np.asarray(values, dtype=np.float64)
    count = len(data)
    if not count:
        return None
    mean = float(data.mean())
    if count < FEWEST:
        return Mean(mean, None, None, count, float(count))
    variance, effective = variance_of_mean(data)
    from scipy.special import stdtrit  # a second to import, and only here

    half = float(stdtrit(max(effective - 1, 1.0), (1 + LEVEL) / 2)) * math.sqrt(variance)
    return Mean(mean, mean - half, mean + half, count, effective)


def variance_of_mean(data: NDArray[np.float64]) -> tuple[float, float]:
    """The variance of the mean of readings float[n], and how many independent readings they are worth, 1 to n.

    Readings of a device follow each other (power control, averaging in the driver), so n of them say less than n
    independent ones: v = (γ_0 + 2 Σ_k (1 - k/n) γ_k) / n, with autocovariances γ_k up to the first pair of neighbours
    whose sum is not positive (Geyer, Statistical Science 7, 1992, section 3.3). Measured around their own mean, γ_k
    come out too small by about v, which is added back, and v computed anew.
    """
    count = len(data)
    centred = data - data.mean()
    spread = float(centred @ centred) / count
    if spread <= 1e-24 * max(1.0, float(data.mean()) ** 2):
        return 0.0, float(count)
    covariance = np.correlate(centred, centred, "full")[count - 1 :] / (count - np.arange(count))
    variance, corrected = 0.0, covariance
    for _ in range(_CORRECTIONS):
        corrected = covariance + variance
        weighted = (1 - np.arange(count) / count) * corrected
        total = 0.0
        for lag in range(1, count - 1, 2):
            if corrected[lag] + corrected[lag + 1] <= 0:
                break
            total += float(weighted[lag] + weighted[lag + 1])
        variance = min(max((corrected[0] + 2 * total) / count, corrected[0] / count), corrected[0])
    return float(variance), float(corrected[0] / variance)


@dataclass(frozen=True)
class Energy:
    """Joules of a window. low, high: bounds from the counter's steps, or the interval of the power's mean.

    source: where it comes from, in words;  note: what was wrong with a better source, if anything
    """

    joules: float
    low: float | None
    high: float | None
    source: str
    note: str = ""


def counter_energy(times: Sequence[float], joules: Sequence[float], begin: float, end: float) -> Energy | str:
    """The energy of [begin, end] from readings of a counter in it, or the reason why it cannot be told.

    The counter moves in steps: at either end a reading is stale by up to one. The growth between the first reading and
    the last is stretched to the window, and is certain to within the largest step.
    """
    t, e = np.asarray(times, dtype=np.float64), np.asarray(joules, dtype=np.float64)
    inside = (t >= begin) & (t <= end)
    t, e = t[inside], e[inside]
    if len(t) < 2:
        return f"the counter was read {len(t)} times in the window"
    steps = np.diff(e)
    if (steps < 0).any():
        place = int(np.argmax(steps < 0)) + 1
        return f"the counter went back by {-steps[place - 1]:.3g} J, {t[place] - begin:.1f} s into the window"
    moves = steps[steps > 0]
    if len(moves) < 2:
        return f"the counter moved {len(moves)} times in the window"
    stretch = (end - begin) / (t[-1] - t[0])
    growth, step = float(e[-1] - e[0]), float(moves.max())
    return Energy(growth * stretch, (growth - step) * stretch, (growth + step) * stretch, "counter")


def power_energy(times: Sequence[float], watts: Sequence[float], begin: float, end: float) -> Energy | None:
    """The energy of [begin, end] from readings of the power: trapezoidal mean times the window; None under two."""
    t, p = np.asarray(times, dtype=np.float64), np.asarray(watts, dtype=np.float64)
    inside = (t >= begin) & (t <= end)
    t, p = t[inside], p[inside]
    if len(t) < 2 or t[-1] <= t[0]:
        return None
    span = end - begin
    joules = float(np.trapezoid(p, t)) / float(t[-1] - t[0]) * span
    mean = mean_interval(p)
    if mean is None or mean.low is None or mean.high is None:
        return Energy(joules, None, None, "power")
    return Energy(joules, joules + (mean.low - mean.value) * span, joules + (mean.high - mean.value) * span, "power")
