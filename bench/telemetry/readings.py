"""Readings as columns: what a trace of any length is kept as, looked up in and summed over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from .source import Reading

Floats = NDArray[np.float64]
_BLOCK = 10_000  # readings made at once: a million objects would take more room than their columns


@dataclass(frozen=True, eq=False)
class Readings(Sequence[Reading]):
    """A sequence of readings, each made when it is asked for.

    times: float64[n] s, ascending;  columns: float64[n] by metric, NaN where a reading does not have it
    Of two readings at 1.0 and 1.5 s, both with a power and the second with a clock: times [1.0, 1.5],
    columns {"power_w": [300, 310], "sm_mhz": [nan, 1980]}.
    """

    times: Floats
    columns: Mapping[str, Floats]

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> Self:
        """The columns of readings by time; what a device kept on its own since the last call is not among them."""
        names = dict.fromkeys(name for reading in readings for name in reading.values)
        count = len(readings)
        columns = {
            name: np.fromiter((reading.values.get(name, np.nan) for reading in readings), np.float64, count)
            for name in names
        }
        return cls(np.fromiter((reading.t for reading in readings), np.float64, count), columns)

    def between(self, begin: float, end: float) -> Self:
        """Those in [begin, end], in s: views, no copies."""
        return self[np.searchsorted(self.times, begin, "left") : np.searchsorted(self.times, end, "right")]

    def series(self, metric: str) -> tuple[Floats, Floats]:
        """Times and values, float64[m] each, of the readings that have this metric; empty where none has."""
        values = self.columns.get(metric)
        if values is None:
            return self.times[:0], self.times[:0]
        known = ~np.isnan(values)
        return (self.times, values) if known.all() else (self.times[known], values[known])

    def __len__(self) -> int:
        return len(self.times)

    @overload
    def __getitem__(self, place: int) -> Reading: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return type(self)(self.times[place], {name: values[place] for name, values in self.columns.items()})
        row = {name: float(values[place]) for name, values in self.columns.items()}
        return _reading(float(self.times[place]), row)

    def __iter__(self) -> Iterator[Reading]:
        names = tuple(self.columns)
        for start in range(0, len(self), _BLOCK):
            part = self[start : start + _BLOCK]
            rows = zip(*(values.tolist() for values in part.columns.values()), strict=True) if names else ()
            for t, row in zip(part.times.tolist(), rows or [()] * len(part), strict=True):
                yield _reading(t, dict(zip(names, row, strict=True)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Reading.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]


def _reading(t: float, row: dict[str, float]) -> Reading:
    # What a reading does not have is NaN, which alone differs from itself.
    return Reading(t, {name: value for name, value in row.items() if value == value})
