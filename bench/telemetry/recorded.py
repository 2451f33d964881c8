"""A recorded trace in the place of a device: to show, to test and to learn without a GPU. Labelled as what it is."""

from __future__ import annotations

from bisect import bisect_right
from itertools import groupby
from pathlib import Path
from typing import Any

from .source import METRICS, ClockReading, Reading, SourceLostError, UnavailableError, throttle_names
from .trace_file import read_trace


class RecordedSource:
    """Plays a trace file from its beginning when opened, `speed` times as fast as it was recorded.

    With `loop` it begins again at its end, its counters going on; else it is lost then. A synthetic trace stays one.
    """

    def __init__(self, path: str | Path, *, speed: float = 1.0, loop: bool = False) -> None:
        if not speed > 0:
            raise ValueError(f"speed: expected more than 0, got {speed}")
        self._path, self._speed, self._loop = Path(path), speed, loop
        self.kind = "recorded"
        self.unavailable: dict[str, str] = {}
        self._start: float | None = None
        self._played = -1  # entries played so far, over all rounds, minus one

    def open(self) -> None:
        """Read the file. Raises UnavailableError."""
        try:
            trace = read_trace(self._path)
        except ValueError as error:
            raise UnavailableError(str(error)) from error
        if not trace.readings:
            raise UnavailableError(f"{self._path}: a trace without readings")
        if trace.header.source == "synthetic":
            self.kind = "synthetic"
        self._device = trace.header.device
        self.unavailable = dict(trace.header.unavailable)
        self._entries = [_merged(list(group)) for _, group in groupby(trace.readings, key=lambda r: r.t)]
        self._times = [entry.t - self._entries[0].t for entry in self._entries]
        self._round_s = self._times[-1] + trace.header.period_s
        self._gains = {name: _gain(self._entries, name) for name, metric in METRICS.items() if metric.kind == "counter"}

    def describe(self) -> dict[str, Any]:
        """The recorded device."""
        return {**self._device, "recording": self._path.name}

    def read(self, now: float) -> Reading:
        """What the recording has from after the last call up to `now`, each at the time it is played at."""
        target = self._at(now)
        due = [self._entry(place, now) for place in range(self._played + 1, target + 1)]
        self._played = max(self._played, target)
        if not due:
            return Reading(now)
        return Reading(due[-1].t, due[-1].values, tuple(due[:-1]))

    def clocks(self) -> ClockReading | None:
        """The clocks of the entry that is being played, or of the first."""
        values = self._entries[max(self._played, 0) % len(self._entries)].values
        return ClockReading(values.get("sm_mhz"), values.get("memory_mhz"), throttle_names(values.get("throttle", 0)))

    def close(self) -> None:
        """Nothing is held open."""

    def _at(self, now: float) -> int:
        """The last entry due at `now`, counted over all rounds. Raises SourceLostError at the end of the recording."""
        if self._start is None:
            self._start = now
        rounds, into_s = divmod((now - self._start) * self._speed, self._round_s)
        if rounds and not self._loop:
            last = len(self._entries) - 1
            if self._played >= last:
                raise SourceLostError(f"{self._path}: the recording is over")
            return last
        return int(rounds) * len(self._entries) + bisect_right(self._times, into_s) - 1

    def _entry(self, place: int, now: float) -> Reading:
        assert self._start is not None
        rounds, index = divmod(place, len(self._entries))
        entry = self._entries[index]
        values = {name: value + rounds * self._gains.get(name, 0.0) for name, value in entry.values.items()}
        played_at = self._start + (rounds * self._round_s + self._times[index]) / self._speed
        return Reading(min(played_at, now), values)


def _merged(readings: list[Reading]) -> Reading:
    return Reading(readings[0].t, {name: value for reading in readings for name, value in reading.values.items()})


def _gain(entries: list[Reading], name: str) -> float:
    """How much a counter grows from the first entry to the last."""
    values = [entry.values[name] for entry in entries if name in entry.values]
    return values[-1] - values[0] if values else 0.0
