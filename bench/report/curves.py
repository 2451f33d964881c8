"""Long series made short enough to draw, without losing a peak and without bridging a gap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 1500  # of a curve
Floats = NDArray[np.floating[Any]]


def drawn(times: Floats, values: Floats, gap_s: float, most: int = MOST_POINTS) -> tuple[Floats, Floats]:
    """At most `most` points of a series, gaps among them.

    times: float[n] s, ascending;  values: float[n], finite;  gap_s: between points further apart no line is drawn,
    so a point that is not a number stands there (for at most a sixth of the points: then at the widest)
    The series is cut into stretches of equally many points, and the least and the greatest of each are kept.
    """
    steps = np.diff(times)
    wide = np.flatnonzero(steps > gap_s)
    if len(wide) > most // 6:
        wide = np.sort(wide[np.argsort(steps[wide])[-(most // 6) :]])
    places = kept(values, most - len(wide))
    # Which unbroken part each kept point lies in: between two of different parts stands a gap.
    parts = np.searchsorted(wide, places, side="left")
    breaks = np.flatnonzero(np.diff(parts)) + 1
    middles = (times[places[breaks - 1]] + times[places[breaks]]) / 2
    return np.insert(times[places], breaks, middles), np.insert(values[places], breaks, np.nan)


def kept(values: Floats, most: int) -> NDArray[np.intp]:
    """The places, ascending, of at most `most` values: all, or the least and the greatest of each stretch."""
    count = len(values)
    if count <= most:
        return np.arange(count)
    size = -(-count // max(1, most // 2))
    rows = -(-count // size)
    padded = np.concatenate([values, np.full(rows * size - count, values[-1])]).reshape(rows, size)
    starts = np.arange(rows) * size
    places = np.concatenate([starts + padded.argmin(axis=1), starts + padded.argmax(axis=1)])
    return np.unique(np.minimum(places, count - 1))
