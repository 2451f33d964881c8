"""Bootstrap intervals of medians and of ratios of medians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_RESAMPLES = 1000
_SEED = 20260422  # resampling must not make two readings of the same samples differ


@dataclass(frozen=True)
class Interval:
    """An estimate and a 95 % percentile bootstrap interval around it; NaN when there are no samples."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """The larger distance from the value to an end, relative to the value; infinite for a value of 0 or NaN."""
        widest = max(self.high - self.value, self.value - self.low)
        return widest / self.value if self.value > 0 else float("inf")


def median_interval(samples: Sequence[float] | NDArray[np.float64]) -> Interval:
    """The median of samples float[n] with its bootstrap interval."""
    values = np.asarray(samples, dtype=np.float64)
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    picks = _picks(len(values))
    low, high = _percentiles(np.median(values[picks], axis=1))
    return Interval(float(np.median(values)), low, high)


def ratio_interval(
    a_samples: Sequence[float] | NDArray[np.float64],
    b_samples: Sequence[float] | NDArray[np.float64],
    paired: bool = True,
) -> Interval:
    """median(a) / median(b): how many times faster b is than a, with its bootstrap interval.

    With `paired`, sample i of both comes from the same interleaved round: rounds are resampled together, so a drift of
    the clock that hits both cancels, and where the lengths differ the rounds that only one has are left out. Raises
    ValueError for samples that are not all positive and finite.
    """
    a, b = np.asarray(a_samples, dtype=np.float64), np.asarray(b_samples, dtype=np.float64)
    for name, values in (("a", a), ("b", b)):
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(
                f"samples of {name}: expected positive, finite times, got {values.min():g} to {values.max():g}"
            )
    if paired:
        both = min(len(a), len(b))
        a, b = a[:both], b[:both]
    if not len(a) or not len(b):
        return Interval(float("nan"), float("nan"), float("nan"))
    picks_a = _picks(len(a))
    picks_b = picks_a if paired else _picks(len(b), _SEED + 1)
    low, high = _percentiles(np.median(a[picks_a], axis=1) / np.median(b[picks_b], axis=1))
    return Interval(float(np.median(a) / np.median(b)), low, high)


def _picks(count: int, seed: int = _SEED) -> NDArray[np.int64]:
    """Indices of the resamples, int64[resamples, count]."""
    return np.random.default_rng(seed).integers(count, size=(_RESAMPLES, count))


def _percentiles(statistics: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(statistics, [tail, 1 - tail])
    return float(low), float(high)
