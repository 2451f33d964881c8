"""From rounds of samples to the logarithm of a ratio and its variance: within runs, and from run to run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from ..timing import Estimate, contrast
from .matching import Rounds
from .verdict import Effect, satterthwaite

# What slows a machine down for milliseconds slows it down for minutes too: medians of runs vary with the spread of the
# samples within them. Over twelve processes on two shared CPU cores (tests/bench/comparison/data) their deviation was
# 0.5 to 0.76 of that spread alone and 0.2 to 0.45 of it over anchors; rounded up, and known as well as twelve tell.
# Held out: the largest share in six of them, rounded up to the next half, calls 0.3 % (alone) and 0.5 % (over anchors)
# of the pairs of the other six different, over every sixth way to halve them; not rounded up, 6 % and 3 % over sixty
# ways, 21 % and 17 % in the worst. Six show up to 1.10 alone and 0.68 over anchors, and no more than the figures below
# in 96 % and 68 % of the ways. A second recording (held_out.json), on two cores with more to do, shows 0.26 to 0.41 and
# 0.07 to 0.3: 0 of 396 and 1 of 792 pairs are called different. All are CPUs; on a GPU it is a rule of thumb, and
# several runs a side show what it really is.
_ALONE, _ANCHORED, _ASSUMED_DF = 1.0, 0.5, 11.0
_IQR_OF_NORMAL = 1.349  # the interquartile range of a normal distribution over its standard deviation
_FEWEST_CONTROLS = 4  # degrees of freedom below which the anchors' disagreement is itself unknown
_CONTROL_TAIL = 0.2  # the variance taken is larger than what they show unless they agree by luck, this often


def paired(runs: Sequence[Rounds]) -> Effect:
    """Of two implementations timed in the same rounds, series (a, b) of each run: log(b / a).

    What hits a round hits both. Over several runs the mean counts, and what it varies beyond its own error is added.
    """
    estimates = [contrast(run.series, (-1.0, 1.0)) for run in runs]
    count = len(estimates)
    within = _mean_variance(estimates)
    excess = max(0.0, _variance([estimate.value for estimate in estimates]) - within) if count > 1 else 0.0
    df = satterthwaite([(within / count, sum(estimate.df for estimate in estimates)), (excess / count, count - 1)])
    samples = min(estimate.samples for estimate in estimates)
    return Effect(_mean(estimates), within / count, excess / count, df, samples, count if count > 1 else 0)


def across(a: Sequence[Rounds], b: Sequence[Rounds], run_to_run: float | None = None, shown: float = 0.0) -> Effect:
    """Of one implementation in runs of A and of B: log(b / a). The first series of each is it, the others its anchors.

    The anchors' mean is subtracted within each run. With several runs of a side the variance from run to run is that of
    their values, which holds what varies within them too, pooled over both sides: a Student interval over runs, as a
    bootstrap over two or three of them repeats the few values there are and is far too narrow. With one run each, a
    run's deviation is `run_to_run`, or comes from the spread of its samples, and the variance of the difference is no
    less than `shown` by the anchors.
    """
    sides = [[contrast(run.series, _weights(run)) for run in runs] for runs in (a, b)]
    value = _mean(sides[1]) - _mean(sides[0])
    within = sum(_mean_variance(side) / len(side) for side in sides)
    df = len(a) + len(b) - 2
    if df > 0:
        squares = sum(sum((estimate.value - _mean(side)) ** 2 for estimate in side) for side in sides)
        between = max(0.0, squares / df * (1 / len(a) + 1 / len(b)) - within)
        freedom = float(df)
    else:
        deviations = [deviation(run) if run_to_run is None else run_to_run for run in (a[0], b[0])]
        between = max(sum(value**2 for value in deviations), shown)
        parts = [(estimate.variance, estimate.df) for side in sides for estimate in side]
        freedom = satterthwaite([*parts, (between, _ASSUMED_DF)])
    samples = min(estimate.samples for side in sides for estimate in side)
    return Effect(value, within, between, freedom, samples, min(len(a), len(b)))


def deviation(run: Rounds) -> float:
    """The standard deviation to expect from run to run of the logarithm of a median, over anchors if there are any."""
    low, high = np.quantile(_weights(run) @ np.log(np.stack(run.series)), [0.25, 0.75])
    return (_ANCHORED if len(run.series) > 1 else _ALONE) * float(high - low) / _IQR_OF_NORMAL


def control_variance(shifts: Sequence[Sequence[float]]) -> float | None:
    """The variance from one run to another of one implementation against the others, seen in those that did not change.

    shifts: per case, log(b / a) of each. None where they are too few to tell.
    """
    df = sum(len(case) - 1 for case in shifts if case)
    if df < _FEWEST_CONTROLS:
        return None
    squares = sum(float(np.sum((np.asarray(case) - np.mean(case)) ** 2)) for case in shifts if case)
    return squares / (2 * float(gammaincinv(df / 2, _CONTROL_TAIL)))  # that quantile of chi squared


def _weights(run: Rounds) -> NDArray[np.float64]:
    """1 for the implementation, its anchors' mean subtracted."""
    anchors = len(run.series) - 1
    return np.array([1.0, *(-1.0 / anchors for _ in range(anchors))])


def _mean(estimates: Sequence[Estimate]) -> float:
    return float(np.mean([estimate.value for estimate in estimates]))


def _mean_variance(estimates: Sequence[Estimate]) -> float:
    return float(np.mean([estimate.variance for estimate in estimates]))


def _variance(values: Sequence[float]) -> float:
    return float(np.var(values, ddof=1))
