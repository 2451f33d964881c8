"""A made-up trace in the shape of an H200's, to draw and to test with. Marked synthetic in its first line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .source import Reading
from .trace_file import Header, Mark, TraceWriter

DEVICE = {"name": "synthetic, in the shape of an H200", "uuid": "GPU-00000000-0000-0000-0000-000000000000"}
PERIOD_S = 0.1
_IDLE_W, _MOST_W, _RISE_S = 80.0, 700.0, 0.4
_FULL_MHZ, _IDLE_MHZ, _MEMORY_MHZ = 1980.0, 345.0, 3201.0
_MEMORY_BYTES, _BASE_BYTES = 9 * 2**30, 2**29


@dataclass(frozen=True)
class Stretch:
    """What a lane does for some seconds, as shares: sm busy, tensor pipe and dram in use, power of the most."""

    lane: str
    name: str
    seconds: float
    sm: float
    tensor: float
    dram: float
    power: float


# Invented, not measured: one compute-bound and one padded implementation, whole and in phases.
STRETCHES = (
    Stretch("triton", "layer", 3.0, 0.93, 0.55, 0.38, 0.92),
    Stretch("triton", "gemm1", 0.6, 0.96, 0.64, 0.34, 0.95),
    Stretch("triton", "gemm2", 0.6, 0.95, 0.60, 0.40, 0.94),
    Stretch("triton", "combine", 0.6, 0.55, 0.0, 0.80, 0.55),
    Stretch("padded_bmm", "layer", 3.0, 0.97, 0.70, 0.52, 0.99),
)


def write_synthetic(
    path: str | Path,
    stretches: Sequence[Stretch] = STRETCHES,
    *,
    seed: int = 0,
    start: float = 100.0,
    unavailable: Mapping[str, str] | None = None,
) -> Path:
    """Write a trace of these stretches with a second of idling before each lane; the same for the same seed.

    Power and clock follow the load with a lag, readings of power depend on the one before, and above 95 % of the most
    power the clock gives way under a power cap: what a summary has to cope with.
    """
    random = np.random.default_rng(seed)
    path = Path(path)
    path.unlink(missing_ok=True)
    writer = TraceWriter(path)
    writer.header(Header("synthetic", dict(DEVICE), "2026-01-01T00:00:00+00:00", PERIOD_S, dict(unavailable or {})))
    state = _State(random, start)
    lane = ""
    for stretch in stretches:
        if stretch.lane != lane:
            _play(writer, state, Stretch("", "", 1.0, 0.0, 0.0, 0.0, 0.0))
            _play(writer, state, Stretch("", "", 1.0, stretch.sm, stretch.tensor, stretch.dram, stretch.power))
            lane = stretch.lane
        writer.mark(Mark(state.t, "begin", stretch.lane, stretch.name))
        _play(writer, state, stretch)
        writer.mark(Mark(state.t, "end", stretch.lane, stretch.name))
    writer.close()
    return path


@dataclass
class _State:
    """Where the made-up device is: what lags behind the load."""

    random: np.random.Generator
    t: float
    watts: float = _IDLE_W
    noise: float = 0.0
    joules: float = 5e6
    celsius: float = 34.0


def _play(writer: TraceWriter, state: _State, stretch: Stretch) -> None:
    busy = stretch.sm > 0
    for _ in range(round(stretch.seconds / PERIOD_S)):
        state.t = round(state.t + PERIOD_S, 6)
        target = _IDLE_W + (_MOST_W - _IDLE_W) * stretch.power
        state.watts += (target - state.watts) * (1 - np.exp(-PERIOD_S / _RISE_S))
        state.noise = 0.6 * state.noise + float(state.random.normal(0, 4.0 if busy else 0.5))
        watts = min(state.watts + state.noise, _MOST_W)
        state.joules += watts * PERIOD_S
        state.celsius += (30 + 45 * watts / _MOST_W - state.celsius) * 0.02
        capped = watts > 0.95 * _MOST_W
        clock = _FULL_MHZ - 15 * round(16 * (watts / _MOST_W - 0.95)) * capped if busy else _IDLE_MHZ
        shares = {"sm": stretch.sm, "tensor": stretch.tensor, "hmma": stretch.tensor, "dram": stretch.dram}
        shares = {name: _share(value + float(state.random.normal(0, 0.006)) * busy) for name, value in shares.items()}
        values = {
            "utilization": float(busy),
            **shares,
            "occupancy": _share(0.4 * stretch.sm),
            "power_w": round(watts, 1),
            "energy_j": round(state.joules, 3),
            "sm_mhz": clock,
            "memory_mhz": _MEMORY_MHZ,
            "temperature_c": round(state.celsius),
            "memory_bytes": _MEMORY_BYTES if busy else _BASE_BYTES,
            "throttle": 0x4 if capped else 0x0 if busy else 0x1,
        }
        writer.reading(Reading(state.t, values))


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)
