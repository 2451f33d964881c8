"""Runs to compare: made of formulas with a seed, or of the recorded samples in data/."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mohge.bench.records import CaseRecord, Environment, GitRecord, Provenance, Record, Run, Samples, Status

CPU = Environment(
    libraries={"torch": "2.13.0"},
    cpu={"model": "Some CPU", "cores": 2, "threads": 2},
    python="3.11.7",
    platform="Linux",
)
GPU = replace(CPU, gpu={"name": "Some GPU", "uuid": "GPU-1", "driver": "580.1", "cuda": "13.0"})


def case(tokens: int = 64, **more: Any) -> CaseRecord:
    """A case whose id says its tokens and dtype."""
    facts: dict[str, Any] = {"dtype": "float32", "device": "cpu", "layer": {"name": "small", "hidden": 64}, **more}
    return CaseRecord(spec="small", tokens=tokens, routing="router", id=f"small-t{tokens}-{facts['dtype']}", **facts)


def samples(values: Sequence[float], **more: Any) -> Samples:
    """Samples in microseconds in the order given."""
    facts = {"method": "monotonic clock, right after the same call", "stop": f"sample limit {len(values)}", **more}
    times = [float(value) for value in values]
    return Samples(times, float(np.median(times)), min(times), max(times), **facts)


def noisy(median: float, seed: int, count: int = 100, spread: float = 0.01) -> list[float]:
    """Independent lognormal times."""
    return (median * np.exp(spread * np.random.default_rng(seed).standard_normal(count))).tolist()


def passed(name: str, values: Sequence[float] | Samples, where: CaseRecord | None = None, **more: Any) -> Record:
    """A measured record with these hot times."""
    hot = values if isinstance(values, Samples) else samples(values)
    return Record(name, Provenance.MEASURED, Status.PASSED, where or case(), hot=hot, **more)


def failed(name: str, status: Status, reason: str = "why", where: CaseRecord | None = None) -> Record:
    """A record without times."""
    return Record(name, Provenance.MEASURED, status, where or case(), reason=reason)


def make_run(records: Sequence[Record], **more: Any) -> Run:
    """A finished run."""
    facts: dict[str, Any] = {
        "command": ["mohge", "bench"],
        "started": "2026-01-01T12:00:00+00:00",
        "finished": "2026-01-01T12:03:00+00:00",
        "source_hash": "0123abcd",
        "environment": CPU,
        "git": GitRecord("cafe0123", dirty=False),
        **more,
    }
    return Run(records=list(records), **facts)


def run_of(series: Mapping[str, Sequence[float]], scale: Mapping[str, float] | None = None, **more: Any) -> Run:
    """One case of these implementations, the times of some multiplied."""
    scaled = {name: np.asarray(values) * (scale or {}).get(name, 1.0) for name, values in series.items()}
    return make_run([passed(name, values.tolist()) for name, values in scaled.items()], **more)


class Builder:
    """The functions above, for tests."""

    cpu, gpu = CPU, GPU
    case = staticmethod(case)
    samples = staticmethod(samples)
    noisy = staticmethod(noisy)
    passed = staticmethod(passed)
    failed = staticmethod(failed)
    run = staticmethod(make_run)
    run_of = staticmethod(run_of)


@pytest.fixture(scope="session")
def build() -> Builder:
    """Makes records and runs."""
    return Builder()


@pytest.fixture(scope="session")
def recorded() -> dict[str, Any]:
    """torch_loop against itself, recorded by record_samples.py."""
    return _recording("a_against_a.json")


@pytest.fixture(scope="session")
def held_out() -> dict[str, Any]:
    """The same recorded again, which no allowance was fitted on."""
    return _recording("held_out.json")


def _recording(name: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "data" / name).read_text(encoding="utf-8"))
