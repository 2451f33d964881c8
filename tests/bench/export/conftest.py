"""Runs to export: measured and failed records, one seen by a synthetic trace, names that other formats trip over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.records import (
    CaseRecord,
    Environment,
    ErrorRecord,
    GitRecord,
    LabelledRun,
    Provenance,
    Record,
    Roof,
    Run,
    Samples,
    Speedup,
    Status,
)
from mohge.bench.telemetry import TRACE_NAME, Window, read_trace, summarize
from mohge.bench.telemetry.synthetic import write_synthetic

EVIL = 'a|b "q" <img src=x onerror=alert(1)>\n`c`, *d* =1+1'
LAYER = {"hidden": 1024, "widths": [384, 640], "experts_per_group": 8, "top_k": 6, "top_groups": 2, "shared_width": 0}


def case(tokens: int = 64, spec: str = "mohge-3b", routing: str = "zipf:1.2") -> CaseRecord:
    return CaseRecord(spec, tokens, routing, "float32", "cpu", f"{spec}-t{tokens}-{routing}", layer=LAYER)


def samples(median: float, **more: Any) -> Samples:
    taken = [median * factor for factor in (0.98, 0.99, 1.0, 1.01, 1.02)]
    facts = {"samples_us": taken, "low_us": taken[0], "high_us": taken[-1]}
    return Samples(**{**facts, "median_us": median, "method": "clock", "stop": "enough", "timer": "cpu", **more})


def passed(implementation: str, where: CaseRecord, median: float, **more: Any) -> Record:
    phases = {name: samples(median * share) for name, share in (("plan", 0.01), ("gemm1", 0.6), ("gemm2", 0.3))}
    facts: dict[str, Any] = {
        "error": ErrorRecord(4e-7, 0.02, [3, 17], "all 64 tokens"),
        "hot": samples(median),
        "cold": samples(median * 1.2),
        "phases": phases,
        "useful_flops": 3_000_000_000,
        "executed_flops": 9_000_000_000,
        "bytes": 500_000_000,
        "tflops": 3e9 / median * 1e-6,
        "share_of_roof": 0.25,
        "speedup": None if implementation == "padded_bmm" else Speedup("padded_bmm", 2.0, 1.9, 2.1),
        **more,
    }
    return Record(implementation, Provenance.MEASURED, Status.PASSED, where, **facts)


def failed(implementation: str, where: CaseRecord, reason: str = "signal 11") -> Record:
    return Record(implementation, Provenance.MEASURED, Status.CRASHED, where, reason=reason)


def make_run(records: list[Record], **more: Any) -> Run:
    environment = Environment(
        roof=Roof({"float32": 0.2}, 0.03, "square matmuls"),
        libraries={"torch": "2.13.0", "cupy-cuda13x": "14.2.0"},
        cpu={"model": "Some CPU", "cores": 2, "threads": 2},
        python="3.11.7",
        platform="Linux",
    )
    facts: dict[str, Any] = {
        "command": ["mohge", "run", "--spec", "my layer.toml"],
        "started": "2026-01-01T12:00:00+00:00",
        "finished": "2026-01-01T12:03:00+00:00",
        "source_hash": "0123456789abcdef",
        "environment": environment,
        "git": GitRecord("cafe0123cafe0123", dirty=True),
        **more,
    }
    return Run(records=records, **facts)


class Builder:
    """The functions above, for tests."""

    evil = EVIL
    case = staticmethod(case)
    samples = staticmethod(samples)
    passed = staticmethod(passed)
    failed = staticmethod(failed)
    run = staticmethod(make_run)

    @staticmethod
    def labelled(run: Run, label: str = "first", folder: Path = Path("nowhere")) -> LabelledRun:
        return LabelledRun(label, run, folder)


@pytest.fixture(scope="session")
def build() -> Builder:
    """Makes records and runs."""
    return Builder()


@pytest.fixture
def seen(tmp_path: Path) -> LabelledRun:
    """Two implementations whose telemetry is from the synthetic trace, and a case that nobody watched."""
    trace = read_trace(write_synthetic(tmp_path / TRACE_NAME))
    records = [passed(name, case(64), time) for name, time in (("triton", 100.0), ("padded_bmm", 300.0))]
    for place, record in enumerate(records):
        ((mark, end),) = trace.windows(record.implementation, "layer")
        phases = {m.name: (m.t, e) for m, e in trace.windows(record.implementation) if m.name != "layer"}
        window = Window(mark.t + 1e-4, end - 1e-4, 100, 64, 3e9, 1.0, record.implementation, phases)
        records[place] = replace(record, telemetry=summarize(trace, window, TRACE_NAME))
    return LabelledRun("seen", make_run([*records, passed("triton", case(16), 50.0)]), tmp_path)
