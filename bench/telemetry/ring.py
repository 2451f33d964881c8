"""The driver's ring buffer of utilization: finer than asking, with time stamps of the driver's own."""

from __future__ import annotations

import time
from typing import Any

from .source import Reading

METRIC = "utilization_ring"
# The driver keeps some seconds; a stamp further from a clock than this was not made by that clock.
_OLDEST_S = 60.0
_MOST_AHEAD_S = 0.5
# The fields of the union of a sample by NVML_VALUE_TYPE_*.
_FIELDS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class Ring:
    """New entries of the ring buffer at each call, their stamps moved to the monotonic clock."""

    def __init__(self, nvml: Any, device: Any) -> None:
        self._nvml, self._device = nvml, device
        self._last_us = 0
        self._offset_s: float | None = None

    def read(self, now: float) -> tuple[Reading, ...]:
        """Entries since the last call, oldest first; none while the GPU is idle, when the driver has nothing.

        The first call only calibrates. Raises NVMLError, and ValueError when the stamps fit no clock of this machine.
        """
        try:
            kind, samples = self._nvml.nvmlDeviceGetSamples(
                self._device, self._nvml.NVML_GPU_UTILIZATION_SAMPLES, self._last_us
            )
        except self._nvml.NVMLError as error:
            if error.value == self._nvml.NVML_ERROR_NOT_FOUND:
                return ()
            raise
        fresh = sorted(
            (int(sample.timeStamp), union_value(kind, sample.sampleValue))
            for sample in samples
            if sample.timeStamp > self._last_us
        )
        if not fresh:
            return ()
        self._last_us = fresh[-1][0]
        if self._offset_s is None:
            self._offset_s = clock_offset(fresh[-1][0] * 1e-6, now)
            return ()
        return tuple(Reading(stamp * 1e-6 + self._offset_s, {METRIC: value / 100}) for stamp, value in fresh)


def union_value(kind: int, value: Any) -> float:
    """The number in NVML's union `value`, which `kind` (NVML_VALUE_TYPE_*) says how to read."""
    return float(getattr(value, _FIELDS[kind]))


def clock_offset(stamp_s: float, now: float) -> float:
    """What to add to the driver's stamps (seconds) to have times of the monotonic clock, which reads `now`.

    NVML does not say which clock it stamps with: it is the one that the newest stamp lies shortly before. Raises
    ValueError when it is none of wall clock, monotonic clock and time since boot.
    """
    clocks = [time.time(), time.monotonic()]
    if hasattr(time, "CLOCK_BOOTTIME"):
        clocks.append(time.clock_gettime(time.CLOCK_BOOTTIME))
    ages = {clock - stamp_s: clock for clock in clocks if -_MOST_AHEAD_S <= clock - stamp_s <= _OLDEST_S}
    if not ages:
        raise ValueError("the driver's time stamps fit no clock of this machine")
    return now - ages[min(ages, key=abs)]
