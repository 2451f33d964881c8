"""Telemetry as counters: what each metric is called, with its unit, and its values in that unit."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ..telemetry import METRICS, Reading, Trace, throttle_names

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
    present = {name for reading in trace.readings for name in reading.values}
    for name, metric in METRICS.items():
        if name not in present or metric.unit == "bits":
            continue
        unit, factor = _SHOWN.get(metric.unit, (metric.unit, 1.0))
        first = _first(trace, name) if metric.kind == "counter" else 0.0
        yield Counter(f"{_TITLES.get(name, name)} ({unit})", _points(trace.readings, name, factor, first))
    values = {int(reading.values["throttle"]) for reading in trace.readings if "throttle" in reading.values}
    reasons = {value: throttle_names(value) for value in sorted(values)}
    for reason in dict.fromkeys(reason for names in reasons.values() for reason in names):
        with_it = {value for value, names in reasons.items() if reason in names}
        yield Counter(f"held back: {reason.replace('_', ' ')} (0 or 1)", _held(trace.readings, with_it))


def _first(trace: Trace, name: str) -> float:
    return next((reading.values[name] for reading in trace.readings if name in reading.values), 0.0)


def _points(readings: tuple[Reading, ...], name: str, factor: float, first: float) -> Iterator[tuple[float, float]]:
    for reading in readings:
        if name in reading.values:
            yield reading.t, round((reading.values[name] - first) * factor, 6)


def _held(readings: tuple[Reading, ...], values: Collection[int]) -> Iterator[tuple[float, float]]:
    for reading in readings:
        if "throttle" in reading.values:
            yield reading.t, int(reading.values["throttle"] in values)
