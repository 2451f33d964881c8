"""From rounds of samples to the logarithm of a ratio and its variance: within runs, and from run to run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from .matching import Rounds
from .resample import Estimate, contrast
from .verdict import Effect, satterthwaite

_ASSUMED_DF = 11.0  # an assumed deviation is as well known as the default one, which comes from twelve runs
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


def across(a: Sequence[Rounds], b: Sequence[Rounds], assumed: float) -> Effect:
    """Of one implementation in runs of A and of B: log(b / a). The first series of each is it, the others its anchors.

    The anchors' mean is subtracted within each run. With several runs of a side the variance from run to run is that of
    their values, which holds what varies within them too, pooled over both sides: a Student interval over runs, as a
    bootstrap over two or three of them repeats the few values there are and is far too narrow. With one run each,
    `assumed` is the variance of the difference of two runs.
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
        between = assumed
        parts = [(estimate.variance, estimate.df) for side in sides for estimate in side]
        freedom = satterthwaite([*parts, (assumed, _ASSUMED_DF)])
    samples = min(estimate.samples for side in sides for estimate in side)
    return Effect(value, within, between, freedom, samples, min(len(a), len(b)))


def control_variance(shifts: Sequence[Sequence[float]]) -> float | None:
    """The variance from one run to another of one implementation against the others, seen in those that did not change.

    shifts: per case, log(b / a) of each. None where they are too few to tell.
    """
    df = sum(len(case) - 1 for case in shifts if case)
    if df < _FEWEST_CONTROLS:
        return None
    squares = sum(float(np.sum((np.asarray(case) - np.mean(case)) ** 2)) for case in shifts if case)
    return squares / float(stats.chi2.ppf(_CONTROL_TAIL, df))


def _weights(run: Rounds) -> tuple[float, ...]:
    anchors = len(run.series) - 1
    return (1.0, *(-1.0 / anchors for _ in range(anchors)))


def _mean(estimates: Sequence[Estimate]) -> float:
    return float(np.mean([estimate.value for estimate in estimates]))


def _mean_variance(estimates: Sequence[Estimate]) -> float:
    return float(np.mean([estimate.variance for estimate in estimates]))


def _variance(values: Sequence[float]) -> float:
    return float(np.var(values, ddof=1))
