"""From estimates to verdicts: intervals, many comparisons at once, and what it would take to decide.

The rule, with r the ratio B over A and θ the practical threshold:

- slower: r is told apart from 1 at a family-wise 5 % over all rows (Holm 1979), and r >= 1 + θ; faster the other way,
  r <= 1 / (1 + θ);
- same: the whole 95 % interval of r lies between 1 / (1 + θ) and 1 + θ;
- undecided: anything else.

So two equal things are called different in at most 5 % of comparisons, however many rows one has. "Slower" asks for an
estimate beyond θ, not for the whole interval: with θ = 2 % a slowdown of 3 % is then found as soon as the interval is
about 1 % to each side, where the whole interval beyond θ would take four times the samples. The price is that a true
change just below θ may be called one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from ..timing import LEVEL, student_half_width
from .result import Ratio, Verdict

_MOST_TIMES = 1000.0  # an estimate so close to the threshold that it would take more is not decided by samples


@dataclass(frozen=True)
class Effect:
    """The logarithm of the ratio B over A, and where its variance comes from.

    within:  variance that shrinks with samples;  between: variance that shrinks with runs
    df:      degrees of freedom behind both together
    samples: rounds a side, in each run;  runs: runs a side, 0 where both sides are in one run
    """

    value: float
    within: float
    between: float
    df: float
    samples: int
    runs: int

    @property
    def error(self) -> float:
        """The standard error."""
        return math.sqrt(self.within + self.between)

    @property
    def p_value(self) -> float:
        """Two-sided, of the ratio being 1."""
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * stdtr(self.df, -abs(self.value) / self.error))

    def half_width(self, level: float = LEVEL) -> float:
        """Of the interval of the logarithm."""
        return student_half_width(self.error, self.df, level)

    @property
    def ratio(self) -> Ratio:
        """With its 95 % interval."""
        half = self.half_width()
        return Ratio(math.exp(self.value), _exp(self.value - half), _exp(self.value + half))


def satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of variances, each with its own (Satterthwaite 1946)."""
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / df for variance, df in parts if variance > 0)
    return total**2 / spread if spread > 0 else max((df for _, df in parts), default=1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value adjusted so that those below 5 % are false in at most 5 % of families."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted


def decide(effect: Effect, p_adjusted: float, threshold: float) -> Verdict:
    """The verdict, by the rule above."""
    limit = math.log1p(threshold)
    if p_adjusted <= 1 - LEVEL and abs(effect.value) >= limit:
        return Verdict.SLOWER if effect.value > 0 else Verdict.FASTER
    if abs(effect.value) + effect.half_width() <= limit:
        return Verdict.SAME
    return Verdict.UNDECIDED


@dataclass(frozen=True)
class Remedy:
    """What would decide an undecided row: more samples or more runs of each side, or neither."""

    samples: int | None = None
    runs: int | None = None
    text: str = ""


def remedy(effect: Effect, threshold: float, rows: int) -> Remedy:
    """What an undecided row needs, if the estimate stays where it is; widths shrink with the root of the number.

    To be called faster or slower it must be told apart from 1 among `rows` rows, to be called the same its interval
    must end before the threshold.
    """
    limit = math.log1p(threshold)
    gap = abs(effect.value) if abs(effect.value) >= limit else limit - abs(effect.value)
    level = 1 - (1 - LEVEL) / max(1, rows) if abs(effect.value) >= limit else LEVEL
    width = effect.half_width(level) / effect.error if effect.error else 0.0
    if gap * math.sqrt(_MOST_TIMES) < width * effect.error:
        return Remedy(text="too close to the threshold to be decided")
    if width**2 * effect.between >= gap**2 or effect.runs > 1:
        return _more_runs(effect, gap, level)
    factor = width**2 * effect.within / (gap**2 - width**2 * effect.between)
    more = max(1, _rounded_up(effect.samples * (factor - 1)))
    return Remedy(samples=more, text=f"needs about {more} more samples a side")


def _more_runs(effect: Effect, gap: float, level: float) -> Remedy:
    """The smallest number of runs a side whose interval is narrow enough, if their medians vary as assumed or seen."""
    runs = max(1, effect.runs)
    spread = effect.within + effect.between
    for count in range(runs + 1, int(_MOST_TIMES)):
        width = student_half_width(1.0, 2 * count - 2, level)
        if width**2 * spread * runs / count <= gap**2:
            more = _rounded_up(count - runs)
            return Remedy(runs=more, text=f"needs about {more} more runs a side; more samples will not help")
    return Remedy(text="not even a thousand runs a side would decide")


def _rounded_up(count: float) -> int:
    """To two significant digits."""
    if count <= 0:
        return 0
    step = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return math.ceil(count / step) * step


def _exp(value: float) -> float:
    """Large intervals of few samples stay numbers."""
    return math.exp(min(700.0, max(-700.0, value)))
