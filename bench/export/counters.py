"""Telemetry as counters: what each metric is called, with its unit, and its values in that unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..telemetry import METRICS, Trace, throttle_names

_TITLES = {
    "utilization": "utilization",
    "utilization_ring": "utilization, driver's ring buffer",
    "memory_utilization": "memory utilization",
    "sm": "SMs busy",
    "occupancy": "warps active",
    "tensor": "tensor pipe",
    "hmma": "tensor pipe, 16 and 8 bit",
    "fp32": "float32 pipe",
    "dram": "memory bandwidth",
    "power_w": "power",
    "power_average_w": "power, driver's average",
    "energy_j": "energy since the trace began",
    "sm_mhz": "SM clock",
    "memory_mhz": "memory clock",
    "temperature_c": "temperature",
    "memory_bytes": "device memory in use",
}
_SHOWN = {"share": ("%", 100.0), "bytes": ("MiB", 2.0**-20)}  # the unit people read, and its factor


@dataclass(frozen=True)
class Counter:
    """name: with its unit;  points: (seconds on the trace's clock, value)."""

    name: str
    points: Iterator[tuple[float, float]]


def counters(trace: Trace) -> Iterator[Counter]:
    """Every metric that the trace has, in the order of METRICS, and one for each reason that held clocks back."""
    for name, metric in METRICS.items():
        times, values = trace.table.series(name)
        if not len(times) or metric.unit == "bits":
            continue
        unit, factor = _SHOWN.get(metric.unit, (metric.unit, 1.0))
        first = values[0] if metric.kind == "counter" else 0.0
        yield Counter(f"{_TITLES.get(name, name)} ({unit})", _points(times, np.round((values - first) * factor, 6)))
    times, held = trace.table.series("throttle")
    reasons = {value: throttle_names(value) for value in np.unique(held).tolist()}
    for reason in dict.fromkeys(reason for names in reasons.values() for reason in names):
        with_it = np.isin(held, [value for value, names in reasons.items() if reason in names])
        yield Counter(f"held back: {reason.replace('_', ' ')} (0 or 1)", _points(times, with_it.astype(np.int64)))


def _points(times: NDArray[Any], values: NDArray[Any]) -> Iterator[tuple[float, float]]:
    return zip(times.tolist(), values.tolist(), strict=True)
