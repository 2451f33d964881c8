"""When an interleaved measurement ends: the medians are known, or who is faster is, or a limit is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from .intervals import Interval, median_interval, ratio_interval
from .suspects import counting

# Intervals are computed at a geometric series of rounds: looking after every round costs time and invites a lucky stop.
_NEXT_LOOK = 1.25
# An interval ends a measurement only when it rests on so many blocks of successive rounds (resample.py). With fewer its
# width is itself hardly known, and of samples that depend on each other for longer than was seen it is too small:
# whoever stops wherever it is narrow picks those. Simulated (tests/bench/timing/stopping_study.py, 300 measurements of
# two equal calls each): share of 95 % intervals of the ratio that miss it, so that a wrong one is called faster, under
# this rule and without it. Independent times 2 and 2 %; each with a drift of its own that correlates successive rounds
# by 0.5: 3 and 6 %, by 0.7: 7 and 19 %; slowed in stretches of 15 rounds: 7 and 11 %; recorded ones below 1 and 1 %.
# Most of what is above 5 % is the interval's own: at a fixed 80 rounds, without looking, it misses 6 % for correlations
# of 0.5, 9 % for 0.8, 6 % for stretches. A slow drift of the clock cancels in a ratio; the interval of a median is for
# the stretch it was taken in, and misses the median of an hour.
LEAST_BLOCKS = 12
# No look before so many rounds finds as many blocks, which are never shorter than the cube root of the rounds.
FIRST_LOOK = next(rounds for rounds in count(1) if rounds >= LEAST_BLOCKS * round(rounds ** (1 / 3)))
# A ratio is decided when its whole interval lies beyond this change, or within it: what `mohge compare` calls faster,
# slower and the same unless told otherwise.
MARGIN = 0.02
# To end a measurement the interval must be so many times wider and still decide, which makes it one of about 99 %: a
# true ratio at the margin itself gets a chance to be excluded at every look, and each that takes it is a miss: 9 % of
# independent times that vary by 5 %, and 3 % with the wider interval.
WIDER = 1.4
# Then medians may be this many times coarser than asked for, and no more: a record's rate is made of one.
COARSER = 5.0
# Seconds for all rounds, or what gives them from the seconds that the first round took.
Seconds = float | Callable[[float], float]


@dataclass(frozen=True)
class Series:
    """The samples of one candidate so far, and the places of those that are suspect."""

    samples: Sequence[float]
    suspects: frozenset[int]


def decided(ratio: Interval, margin: float = MARGIN) -> bool:
    """Whether the interval of a ratio of times lies beyond a change of `margin`, up or down, or within it."""
    limit = 1 + margin
    return ratio.low > limit or ratio.high < 1 / limit or (ratio.low >= 1 / limit and ratio.high <= limit)


def widened(interval: Interval) -> Interval:
    """The interval of a ratio with its logarithm WIDER times as wide."""
    low, high = (interval.value * (end / interval.value) ** WIDER for end in (interval.low, interval.high))
    return Interval(interval.value, low, high, interval.blocks)


class Stopping:
    """Asked after every round whether it was the last. The limits are those of `measure_interleaved`."""

    def __init__(
        self, seconds: Seconds, samples: tuple[int, int], fewest: int, target: float, baseline: str | None
    ) -> None:
        """samples: the least that count before an interval may stop it, and the most. Raises ValueError."""
        least, most = samples
        if not callable(seconds) and not seconds > 0:
            raise ValueError(f"seconds: expected more than 0, got {seconds}")
        if not 1 <= least <= most:
            raise ValueError(f"samples: expected 1 <= min_samples <= max_samples, got {least} and {most}")
        if not target > 0:
            raise ValueError(f"target: expected more than 0, got {target}")
        self._seconds, self._least, self._most = seconds, least, most
        self._fewest, self._target, self._baseline = min(fewest, most), target, baseline
        self._next_look = max(least, self._fewest, FIRST_LOOK)

    def reason(self, rounds: int, elapsed: float, look: Callable[[], Mapping[str, Series]]) -> str:
        """Why to stop after `rounds` rounds and `elapsed` seconds, empty to go on. look() gives what was taken."""
        if callable(self._seconds):
            self._seconds = self._seconds(elapsed / rounds)
        if rounds >= self._next_look:
            self._next_look = max(rounds + 1, int(rounds * _NEXT_LOOK))
            told = self._told(rounds, look())
            if told:
                return told
        if rounds >= self._most:
            return f"sample limit {self._most}"
        if elapsed >= self._seconds and rounds >= self._fewest:
            return f"time limit {self._seconds:.3g} s"
        return ""

    def _told(self, rounds: int, taken: Mapping[str, Series]) -> str:
        """What the intervals tell, where that is enough."""
        widest = 0.0
        for one in taken.values():
            places = counting(rounds, one.suspects)
            if len(places) < self._least:
                return ""
            found = median_interval([one.samples[place] for place in places])
            if found.blocks < LEAST_BLOCKS:
                return ""
            widest = max(widest, found.half_width)
        if taken and widest <= self._target:
            return f"interval within {self._target * 100:g} %"
        rough = COARSER * self._target
        if widest > rough or not self._ratios_decided(rounds, taken):
            return ""
        return f"every ratio to {self._baseline} decided by {MARGIN * 100:g} %, interval within {rough * 100:g} %"

    def _ratios_decided(self, rounds: int, taken: Mapping[str, Series]) -> bool:
        baseline = taken.get(self._baseline or "")
        others = [one for one in taken.values() if one is not baseline]
        if baseline is None or not others:
            return False
        for one in others:
            places = counting(rounds, baseline.suspects | one.suspects)
            pair = [[series.samples[place] for place in places] for series in (baseline, one)]
            if len(places) < self._least:
                return False
            ratio = ratio_interval(*pair)
            if ratio.blocks < LEAST_BLOCKS or not decided(widened(ratio)):
                return False
        return True
