"""The device's clocks around timing samples, and which samples they make suspect."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..records import ClockReading, Clocks

# Trouble of the machine, not of the work. The power cap is not among them: long matrix work at full power runs under
# it as a rule, and where it costs more than usual the clock shows it.
MARKING = ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
SLOW_SHARE = 0.10
# A query of NVML keeps the host busy for tens of microseconds: one a round, and not more than a hundred a second.
READING_SECONDS = 0.01
RULE = (
    f"a sample is suspect when a reading before or after its round shows {', '.join(MARKING[:-1])} or {MARKING[-1]}, "
    f"or an SM clock more than {SLOW_SHARE * 100:g} % below the median of the readings of the same measurement; other "
    "reasons are counted and mark nothing"
)


class ClockWatch(Protocol):
    """Someone who can be asked for the clocks, cheaply."""

    @property
    def source(self) -> str:
        """Who that is: nvml, recorded, ..."""
        ...

    def read(self) -> ClockReading | None:
        """The clocks now; None where there is no reading at this moment. May raise when the device is gone."""
        ...


@dataclass
class ClockLog:
    """All readings around the samples of one record or several; `around` adds those of one measurement.

    Without a watch nothing is read and nothing is suspect. A watch that raises is not asked again; the reason is kept.
    """

    watch: ClockWatch | None = None
    readings: list[ClockReading] = field(default_factory=list)
    trouble: str = ""

    def around(self, seconds: Callable[[], float]) -> RoundClocks:
        """The readings of one measurement; seconds() is the time that passes between them."""
        return RoundClocks(self, seconds)

    def branch(self) -> ClockLog:
        """A log that starts with the readings so far and goes its own way."""
        return ClockLog(self.watch, list(self.readings), self.trouble)

    def read(self) -> ClockReading | None:
        """A reading, kept; None where there is none."""
        if self.watch is None or self.trouble:
            return None
        try:
            reading = self.watch.read()
        except Exception as error:  # the times are worth more than the clocks beside them
            self.trouble = f"{type(error).__name__}: {error}"
            return None
        if reading is not None:
            self.readings.append(reading)
        return reading

    def summary(self, suspects: int) -> Clocks | None:
        """What goes into the record; None when nobody was asked."""
        if self.watch is None:
            return None
        clocks = _known(reading.sm_mhz for reading in self.readings)
        memory = _known(reading.memory_mhz for reading in self.readings)
        throttle: dict[str, int] = {}
        for reading in self.readings:
            for name in reading.throttle:
                throttle[name] = throttle.get(name, 0) + 1
        lost = f", lost after {len(self.readings)} readings: {self.trouble}" if self.trouble else ""
        return Clocks(
            source=self.watch.source + lost,
            samples=len(self.readings),
            sm_mhz=float(np.median(clocks)) if clocks else None,
            low_mhz=min(clocks, default=None),
            high_mhz=max(clocks, default=None),
            memory_mhz=float(np.median(memory)) if memory else None,
            throttle=throttle,
            suspects=suspects,
            rule=RULE,
        )


class RoundClocks:
    """Readings between the rounds of one measurement: outside every timed region."""

    def __init__(self, log: ClockLog, seconds: Callable[[], float]) -> None:
        self._log, self._seconds = log, seconds
        self._last: float | None = None
        self._places: list[int] = []  # rounds done at each reading
        self._readings: list[ClockReading] = []

    def between(self, rounds: int, *, always: bool = False) -> None:
        """Take a reading after `rounds` rounds, unless the last one is too fresh; `always` for the first and last."""
        now = self._seconds()
        if not always and self._last is not None and now - self._last < READING_SECONDS:
            return
        if self._places and self._places[-1] == rounds:
            return
        reading = self._log.read()
        self._last = now
        if reading is not None:
            self._places.append(rounds)
            self._readings.append(reading)

    def suspects(self, rounds: int) -> list[int]:
        """The rounds out of `rounds` that the last reading before or the first one after makes suspect."""
        clocks = _known(reading.sm_mhz for reading in self._readings)
        floor = (1 - SLOW_SHARE) * float(np.median(clocks)) if clocks else 0.0
        bad = [index for index, reading in enumerate(self._readings) if _marks(reading, floor)]
        found: set[int] = set()
        for index in bad:
            first = self._places[index - 1] if index else 0
            last = self._places[index + 1] if index + 1 < len(self._places) else rounds
            found.update(range(first, min(last, rounds)))
        return sorted(found)


def held_back(clocks: Clocks | None) -> str:
    """What a reader must know of the clocks beside samples or a replay, in words; empty where nothing was amiss."""
    if clocks is None:
        return ""
    reasons = ", ".join(name for name in clocks.throttle if name in MARKING)
    if not (reasons or clocks.suspects):
        return ""
    why = reasons or f"SM clock down to {clocks.low_mhz:g} MHz, median {clocks.sm_mhz:g}"
    suspects = f": {clocks.suspects} suspect samples" if clocks.suspects else ""
    return f"clocks held back ({why}){suspects}"


def _marks(reading: ClockReading, floor_mhz: float) -> bool:
    slow = reading.sm_mhz is not None and reading.sm_mhz < floor_mhz
    return slow or any(name in MARKING for name in reading.throttle)


def _known(values: Iterable[float | None]) -> list[float]:
    return [float(value) for value in values if value is not None]
