"""A run of any size with its telemetry trace, made of a formula and not of measurements, to try the report with:

python tests/bench/report/big_run.py FOLDER [--records 10080] [--readings 1000000]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mohge.bench.records import (
    CaseRecord,
    Environment,
    ErrorRecord,
    Provenance,
    Record,
    Roof,
    RunWriter,
    Samples,
    Speedup,
    Status,
    Telemetry,
)
from mohge.bench.telemetry import TRACE_NAME, Cost, Header, Mark, Reading, TraceWriter

RECORDS, READINGS = 10_080, 1_000_000
NAMES = ("triton", "cupy", "numba", "numba_mma", "padded_bmm", "torch_loop", "torch_grouped_mm", "liger", "moe_ops")
NAMES += ("torch_grouped_mm_padded", "triton_per_group", "cupy_per_group")
DTYPES = ("bfloat16", "float16", "float32")
TOKENS = tuple(2**power for power in range(1, 15))
LAYER = {"name": "mohge-3b", "hidden": 1024, "widths": [384, 512, 640, 768, 896, 1024, 1152, 1280]}
LAYER |= {"experts_per_group": 8, "top_k": 6, "top_groups": 4, "shared_width": 2048}
PERIOD_S = 0.1
PHASES = ("plan", "permute", "gemm1", "gemm2", "combine")
# Of the readings of a record: before the window, in it, and in each phase after it.
RISE, WINDOW, PHASE = 0.1, 0.3, 0.06


def write_big_run(folder: Path, records: int = RECORDS, readings: int = READINGS) -> Path:
    """Write run.json and the trace beside it into a new folder below `folder`; returns it. Synthetic, and says so."""
    environment = Environment(
        gpu={"name": "synthetic GPU", "uuid": "GPU-0"},
        roof=Roof({"bfloat16": 700.0, "float16": 700.0, "float32": 50.0}, 4.0, "made up"),
    )
    command, notes = ["mohge", "bench"], {"made up": "synthetic: of a formula, to try the report with; not measured"}
    with RunWriter.create(folder, "big", command=command, environment=environment, notes=notes) as writer:
        share = readings / max(records, 1)  # readings of a record; with none there is no trace
        made = list(itertools.islice(_records(share), records))
        for start in range(0, records, 2000):
            writer.add_case(made[start : start + 2000])
        if readings:
            _write_trace(writer.folder / TRACE_NAME, made, share)
        return writer.folder


def _records(share: float) -> Iterator[Record]:
    """Every implementation on every case, without end. share: readings of each, 0 without telemetry."""
    random = np.random.default_rng(0)
    place = 0
    for seed in itertools.count():
        for dtype, step, tokens in itertools.product(DTYPES, range(20), TOKENS):
            routing = f"zipf:{step / 10:.1f}"
            case = CaseRecord(
                "mohge-3b", tokens, routing, dtype, "cuda", f"{tokens}-{routing}-{dtype}-{seed}", seed, layer=LAYER
            )
            useful = 6 * tokens * 6 * 1024 * 832
            speed = dict(zip(NAMES, random.uniform(0.5, 2.0, len(NAMES)), strict=True))
            base = 20 + useful * 4e-8
            for name in NAMES:
                hot, cold = (_samples(random, base * speed[name] * factor, 60) for factor in (1.0, 1.3))
                parts = {phase: _samples(random, hot.median_us / 5, 20) for phase in PHASES}
                ratio = speed["padded_bmm"] / speed[name]
                tflops = useful / hot.median_us * 1e-6
                roof = 50.0 if dtype == "float32" else 700.0
                yield Record(
                    name,
                    Provenance.MEASURED,
                    Status.PASSED,
                    case,
                    error=ErrorRecord(2e-3, 0.2, [0, 1], "all tokens"),
                    hot=hot,
                    cold=cold,
                    phases=parts,
                    useful_flops=useful,
                    executed_flops=int(useful * (1 + speed[name])),
                    bytes=64 * 3 * 1024 * 832 * 2 + tokens * 4096,
                    tflops=tflops,
                    share_of_roof=tflops / roof,
                    speedup=None
                    if name == "padded_bmm"
                    else Speedup("padded_bmm", ratio, 0.98 * ratio, 1.02 * ratio, 60),
                    telemetry=_seen(random, place, share, tokens) if share else None,
                )
                place += 1


def _samples(random: np.random.Generator, median: float, count: int) -> Samples:
    drawn = np.round(median * (1 + 0.02 * random.standard_normal(count)), 4)
    middle = float(np.median(drawn))
    return Samples(drawn.tolist(), middle, 0.99 * middle, 1.01 * middle, "made up", "interval narrow enough")


def _seen(random: np.random.Generator, place: int, share: float, tokens: int) -> Telemetry:
    begin = (place + RISE) * share * PERIOD_S
    window = WINDOW * share * PERIOD_S
    tensor, watts = float(random.uniform(0.2, 0.8)), float(random.uniform(300, 690))
    return Telemetry(
        window_s=window,
        samples=round(WINDOW * share),
        source="synthetic",
        sm=0.95,
        tensor=tensor,
        dram=0.4,
        power_w=watts,
        energy_j=watts * window,
        joule_per_token=watts * window / tokens / 900,
        tflop_per_joule=0.4,
        sm_mhz=1980.0,
        calls=900,
        discarded_s=RISE * share * PERIOD_S,
        interval={"energy_j": [0.98 * watts * window, 1.02 * watts * window], "power_w": [watts - 9, watts + 9]},
        throttle={"sw_power_cap": 0.4},
        trace=TRACE_NAME,
        begin_s=begin,
        end_s=begin + window,
        energy_source="counter",
        phases={phase: {"window_s": PHASE * share * PERIOD_S, "samples": 6, "tensor": tensor} for phase in PHASES},
    )


def _write_trace(path: Path, records: list[Record], share: float) -> None:
    """For each record: the rise, the window, its phases one after another, a rest without a call."""
    random = np.random.default_rng(1)
    writer = TraceWriter(path)
    writer.header(Header("synthetic", {"name": "synthetic GPU", "uuid": "GPU-0"}, "2026-01-01T00:00:00", PERIOD_S))
    joules = 0.0
    for place, record in enumerate(records):
        begin = RISE
        for name, length in (("layer", WINDOW), *((phase, PHASE) for phase in PHASES)):
            for word, at in (("begin", begin), ("end", begin + length)):
                writer.mark(Mark((place + at) * share * PERIOD_S, word, record.implementation, name))
            begin += length
        count = int((place + 1) * share) - int(place * share)
        times = (int(place * share) + np.arange(1, count + 1)) * PERIOD_S
        assert record.telemetry is not None
        columns = _columns(random, times / PERIOD_S / share - place < begin, record.telemetry)
        columns["energy_j"] = np.round(joules + np.cumsum(columns["power_w"]) * PERIOD_S, 3)
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        readings = [
            Reading(t, dict(zip(columns, row, strict=True))) for t, row in zip(times.tolist(), rows, strict=True)
        ]
        if readings:
            joules = readings[-1].values["energy_j"]
            writer.reading(Reading(readings[-1].t, readings[-1].values, tuple(readings[:-1])))
    writer.end(len(records) * share * PERIOD_S, "stopped", Cost(0.0, 1.0, round(len(records) * share)), {})
    writer.close()


def _columns(random: np.random.Generator, busy: np.ndarray, seen: Telemetry) -> dict[str, np.ndarray]:
    """Every metric that a Hopper GPU gives, bool[n] to float[n] each."""
    noise = random.normal(0, 0.006, (3, len(busy)))
    shares = {"sm": 0.95, "tensor": seen.tensor or 0.0, "dram": 0.4}
    known = {
        name: np.round(np.clip((level + one) * busy, 0, 1), 4)
        for (name, level), one in zip(shares.items(), noise, strict=True)
    }
    watts = np.where(busy, seen.power_w or 0.0, 80.0) + random.normal(0, 4, len(busy))
    return {
        "utilization": busy.astype(float),
        **known,
        "hmma": known["tensor"],
        "occupancy": np.round(0.4 * known["sm"], 4),
        "power_w": np.round(watts, 1),
        "sm_mhz": np.where(busy, 1980.0 - 15 * random.integers(0, 4, len(busy)), 345.0),
        "memory_mhz": np.full(len(busy), 3201.0),
        "temperature_c": np.round(60 + watts / 100),
        "memory_bytes": np.where(busy, 9 * 2**30, 2**29),
        "throttle": np.where(busy, 4, 1),
    }


def main() -> None:
    """Write the run that the arguments ask for, and say where it is."""
    parser = argparse.ArgumentParser(description="Write a made-up run of any size with its telemetry trace.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--readings", type=int, default=READINGS)
    asked = parser.parse_args()
    print(write_big_run(asked.folder, asked.records, asked.readings))


if __name__ == "__main__":
    main()
