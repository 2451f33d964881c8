"""Implementations that did not change, timed in the same rounds: what moves them is the machine."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..records import BASELINE, Samples
from .effects import control_variance
from .matching import Key, together
from .result import AUTO, NO_ANCHOR, PHASES, Options, Row
from .sides import Side, all_keys

# Library calls in a fixed arrangement: the ones least likely to be what is being worked on.
BASELINES = (BASELINE, "torch_loop", "torch_grouped_mm")


class Anchors:
    """Finds the anchors of a row, and what they say of the variance from run to run."""

    def __init__(self, a: Side, b: Side, options: Options) -> None:
        self._sides, self._options = (a, b), options
        self._names = {AUTO: BASELINES, NO_ANCHOR: ()}.get(options.anchor, (options.anchor,))
        self._variances: dict[tuple[str, str], float | None] = {}

    def check(self) -> None:
        """Raise ValueError for an anchor by name that both sides do not have."""
        if self._options.anchor in (AUTO, NO_ANCHOR):
            return
        for side in self._sides:
            known = dict.fromkeys(key[1] for key in all_keys(side))
            if self._options.anchor not in known:
                raise ValueError(
                    f"anchor: expected {AUTO}, {NO_ANCHOR} or an implementation that both sides have, "
                    f"got {self._options.anchor!r}; {side.name} has {', '.join(known)}"
                )

    def of(self, key: Key, which: str) -> tuple[str, ...]:
        """The anchors timed in the same rounds as `key` in every run; none for phases, which are timed one by one."""
        if which.startswith(PHASES):
            return ()
        return tuple(name for name in self._names if name != key[1] and self._beside(key, name, which))

    def _beside(self, key: Key, name: str, which: str) -> bool:
        for side in self._sides:
            for number, samples in side.samples(key, which):
                anchor = side.anchor(key, name, which, number)
                if anchor is None or not together(samples, anchor):
                    return False
        return True

    def series(self, side: Side, key: Key, which: str, names: Sequence[str]) -> list[list[Samples]]:
        """Of every run, the samples of `key` and of its anchors."""
        found = []
        for number, samples in side.samples(key, which):
            beside = [side.anchor(key, name, which, number) for name in names]
            found.append([samples, *(anchor for anchor in beside if anchor is not None)])
        return found

    def variance(self, key: Key, which: str) -> float | None:
        """The variance from one run to another of one implementation against its anchors, from how these disagree.

        Pooled over all cases; None where they are too few to tell.
        """
        place = (key[1], which)
        if place not in self._variances:
            keys = [other for other in all_keys(*self._sides) if other[1] == key[1]]
            self._variances[place] = control_variance([self._shifts(other, which) for other in keys])
        return self._variances[place]

    def _shifts(self, key: Key, which: str) -> list[float]:
        """log(b / a) of every anchor of a case timed on both sides."""
        if not all(side.samples(key, which) for side in self._sides):
            return []
        names = self.of(key, which)
        return [self._shift(key, name, which) for name in names]

    def _shift(self, key: Key, name: str, which: str) -> float:
        """log(b / a) of an anchor's medians, over all runs that have `key`."""
        means = []
        for side in self._sides:
            found = [side.anchor(key, name, which, number) for number, _ in side.samples(key, which)]
            means.append(np.mean([math.log(float(np.median(anchor.samples_us))) for anchor in found if anchor]))
        return float(means[1] - means[0])

    def used(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """The anchors of any row."""
        return tuple(name for name in self._names if any(name in row.anchors for row in rows))

    def moved(self, keys: Sequence[Key]) -> list[str]:
        """A warning when the anchors of `keys` took another time in B: the machine's doing, unless they did change."""
        shifts = [
            (name, self._shift(key, name, which))
            for key in keys
            for which in self._options.which
            if all(side.samples(key, which) for side in self._sides)
            for name in self.of(key, which)
        ]
        middle = float(np.median([shift for _, shift in shifts])) if shifts else 0.0
        if abs(middle) < math.log1p(self._options.threshold):
            return []
        names = ", ".join(dict.fromkeys(name for name, _ in shifts))
        change = math.expm1(middle) * 100
        moved = f"the anchors ({names}) took {abs(change):.1f} % {'more' if change > 0 else 'less'} time in B"
        return [f"{moved}, read as the machine's doing; if they changed themselves, name another --anchor, or none"]
