"""From the readings of a window to what a record says of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..records import Telemetry
from .source import METRICS, throttle_names
from .statistics import Energy, Mean, counter_energy, mean_interval, power_energy
from .trace_file import Trace

# Fields of Telemetry that are means, with the metrics they may come from, best first.
MEANS = {
    "sm": ("sm",),
    "occupancy": ("occupancy",),
    "tensor": ("tensor",),
    "dram": ("dram",),
    "utilization": ("utilization_ring", "utilization"),
    "power_w": ("power_w", "power_average_w"),
}
FEWEST_READINGS = 3  # of a metric with more than one source, for the better one to be taken
_DRIFT_SHARE = 0.05


@dataclass(frozen=True)
class Window:
    """What was replayed between begin_s and end_s (the trace's clock).

    calls: whole calls in it;  tokens, flops: of one call, useful FLOPs;  discarded_s: of rise, before it
    """

    begin_s: float
    end_s: float
    calls: int = 0
    tokens: int = 0
    flops: float = 0.0
    discarded_s: float = 0.0
    lane: str = ""
    phases: dict[str, tuple[float, float]] = field(default_factory=dict)


def summarize(trace: Trace, window: Window, name: str = "") -> Telemetry:
    """The record of a window of `trace`, which lies in the file `name` beside the run file.

    Raises ValueError for a window without a reading.
    """
    begin, end = window.begin_s, window.end_s
    inside = len(trace.table.between(begin, end))
    if not inside:
        raise ValueError(f"telemetry: expected readings in a window of {end - begin:.1f} s, got none")
    means = {target: _best(trace, metrics, begin, end) for target, metrics in MEANS.items()}
    found = {target: mean for target, (_, mean) in means.items() if mean is not None}
    energy = window_energy(trace, begin, end)
    interval = {
        target: [mean.low, mean.high]
        for target, mean in found.items()
        if mean.low is not None and mean.high is not None
    }
    if energy is not None and energy.low is not None and energy.high is not None:
        interval["energy_j"] = [energy.low, energy.high]
    # A recording was made of other calls than those counted here.
    ours = trace.header.source == "nvml" and energy is not None and energy.joules > 0
    return Telemetry(
        window_s=end - begin,
        samples=inside,
        source=trace.header.source,
        **{target: mean.value for target, mean in found.items()},
        energy_j=energy.joules if energy else None,
        joule_per_token=_over(energy, window.calls * window.tokens) if ours else None,
        tflop_per_joule=window.calls * window.flops * 1e-12 / energy.joules if ours and energy else None,
        sm_mhz=_of(trace, "sm_mhz", begin, end, np.median),
        temperature_c=_of(trace, "temperature_c", begin, end, max),
        memory_bytes=_whole(_of(trace, "memory_bytes", begin, end, max)),
        calls=window.calls,
        discarded_s=window.discarded_s,
        interval=interval,
        throttle=throttle_shares(trace, begin, end),
        unavailable=dict(trace.header.unavailable),
        trace=name,
        begin_s=begin,
        end_s=end,
        energy_source=energy.source if energy else "",
        effective={target: mean.effective for target, mean in found.items()},
        phases={phase: phase_means(trace, *span) for phase, span in window.phases.items()},
        cost=_cost(trace),
        notes=_notes(trace, means, energy, begin, end),
    )


def window_energy(trace: Trace, begin: float, end: float) -> Energy | None:
    """The energy of [begin, end], from the counter where it can be told from it, else from the power."""
    counted = counter_energy(*trace.series("energy_j", begin, end), begin, end)
    if isinstance(counted, Energy):
        return counted
    why = trace.header.unavailable.get("energy_j", counted)
    for metric in MEANS["power_w"]:
        energy = power_energy(*trace.series(metric, begin, end), begin, end)
        if energy is not None:
            return Energy(energy.joules, energy.low, energy.high, metric, f"energy from {metric}: {why}")
    return None


def metric_mean(trace: Trace, metric: str, begin: float, end: float) -> Mean | None:
    """The mean of a metric over [begin, end]; what speaks of an interval must have begun inside."""
    _, values = trace.series(metric, begin, end)
    if METRICS[metric].kind == "interval" and len(values) > 1:
        # The first reading in the window tells of a time that began before it.
        values = values[1:]
    mean = mean_interval(values)
    if mean is None or mean.low is None or mean.high is None:
        return mean
    most = 1.0 if METRICS[metric].unit == "share" else math.inf
    return replace(mean, low=max(mean.low, 0.0), high=min(mean.high, most))


def throttle_shares(trace: Trace, begin: float, end: float) -> dict[str, float]:
    """The share of readings under each reason that holds the clocks back."""
    _, values = trace.series("throttle", begin, end)
    counts: Counter[str] = Counter()
    for value, count in Counter(values).items():
        counts.update(dict.fromkeys(throttle_names(value), count))
    return {name: count / len(values) for name, count in counts.items()}


def phase_means(trace: Trace, begin: float, end: float) -> dict[str, float]:
    """window_s, the number of readings and the mean of every metric of a stretch in which one phase was replayed."""
    result: dict[str, float] = {"window_s": end - begin, "samples": len(trace.series("sm_mhz", begin, end)[0])}
    for target, metrics in MEANS.items():
        _, mean = _best(trace, metrics, begin, end, fewest=1)
        if mean is not None:
            result[target] = mean.value
    return result


def _best(
    trace: Trace, metrics: tuple[str, ...], begin: float, end: float, fewest: int = FEWEST_READINGS
) -> tuple[str, Mean | None]:
    """The first of these metrics with enough readings, and its mean."""
    best: tuple[str, Mean | None] = ("", None)
    for metric in metrics:
        mean = metric_mean(trace, metric, begin, end)
        if mean is not None and mean.count >= fewest:
            return metric, mean
        if mean is not None and best[1] is None:
            best = (metric, mean)
    return best


def _notes(
    trace: Trace, means: dict[str, tuple[str, Mean | None]], energy: Energy | None, begin: float, end: float
) -> list[str]:
    notes = [energy.note] if energy and energy.note else []
    if means["power_w"][0] == "power_average_w":
        notes.append("power is the driver's average: it lags behind by about a second")
    _, watts = trace.series("power_w", begin, end)
    third = len(watts) // 3
    if third >= 3:
        first, last = float(np.mean(watts[:third])), float(np.mean(watts[-third:]))
        if abs(last - first) > _DRIFT_SHARE * first:
            notes.append(f"not settled: power went from {first:.0f} to {last:.0f} W within the window")
    if trace.header.source != "nvml":
        notes.append(f"{trace.header.source} readings: they are of other calls, so nothing is said per token or FLOP")
    if trace.end.startswith("lost"):
        notes.append(trace.end)
    return notes


def _cost(trace: Trace) -> float | None:
    """The share of a core that sampling took, over all stretches of the trace that were closed."""
    wall = sum(cost.wall_s for cost in trace.costs)
    return sum(cost.cpu_s for cost in trace.costs) / wall if wall > 0 else None


def _over(energy: Energy | None, count: int) -> float | None:
    return energy.joules / count if energy is not None and count else None


def _of(trace: Trace, metric: str, begin: float, end: float, how: Callable[[Any], Any]) -> float | None:
    _, values = trace.series(metric, begin, end)
    return float(how(values)) if values else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
