"""Runs to draw: a believable one of every kind of record, made of a formula and not of measurements."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mohge.bench.records import (
    CaseRecord,
    Environment,
    ErrorRecord,
    GitRecord,
    PlacementRecord,
    Provenance,
    Record,
    Roof,
    Run,
    Samples,
    Speedup,
    Status,
    Telemetry,
    TuningRecord,
)

WIDTHS = (384, 512, 640, 768, 896, 1024, 1152, 1280)
SLOWNESS = {"padded_bmm": 3.4, "torch_loop": 1.0, "torch_grouped_mm": 1.25}
KERNEL = {"architecture": "sm_90", "dtype": "bfloat16", "shared_bytes": 73728, "error": None}


def case(spec: str = "mohge-3b", tokens: int = 256, routing: str = "router", **more: Any) -> CaseRecord:
    """A case; the uniform twin by its name, a scaled-down layer likewise."""
    widths = [1024] * 8 if spec.endswith("-uniform") else list(WIDTHS)
    layer = {"name": spec, "hidden": 1024, "widths": widths, "experts_per_group": 8, "top_k": 6, "top_groups": 4}
    layer["shared_width"] = 2048
    layer |= more.pop("layer", {})
    facts = {"dtype": "float32", "device": "cpu", "id": f"{spec}-{tokens}-{routing}", "layer": layer, **more}
    return CaseRecord(spec=spec, tokens=tokens, routing=routing, **facts)


def samples(median: float, spread: float = 0.02, count: int = 15) -> Samples:
    """Samples in microseconds around a median."""
    drawn = median * (1 + spread * np.random.default_rng(int(median)).standard_normal(count))
    low, high = (median * (1 - spread), median * (1 + spread)) if count > 1 else (median, median)
    return Samples(drawn.tolist(), median, low, high, "monotonic clock", "interval narrow enough")


def passed(implementation: str, where: CaseRecord, milliseconds: float, **more: Any) -> Record:
    """A measured record that passed and was timed."""
    useful = int(where.tokens or 1) * 6 * 6 * 1024 * sum(where.layer.get("widths", WIDTHS)) // 8
    hot = more.pop("hot", None) or samples(milliseconds * 1000, more.pop("spread", 0.02))
    facts: dict[str, Any] = {
        "error": ErrorRecord(4.1e-7, 0.02, [3, 17], "all tokens"),
        "hot": hot,
        "cold": samples(milliseconds * 1200),
        "phases": {"gemm1": samples(milliseconds * 600), "gemm2": samples(milliseconds * 300)},
        "useful_flops": useful,
        "executed_flops": useful * (3 if implementation == "padded_bmm" else 1),
        "bytes": 4 * (3 * 1024 * 8 * 6656 // 2 + int(where.tokens or 1) * 8192),
        "tflops": useful / hot.median_us * 1e-6,
        "share_of_roof": useful / hot.median_us * 1e-6 / 0.12,
        **more,
    }
    return Record(implementation, Provenance.MEASURED, Status.PASSED, where, **facts)


def watched(record: Record, begin: float | None = 102.0, source: str = "nvml", **more: Any) -> Record:
    """The record with three seconds of telemetry from `begin` on the clock of trace.jsonl."""
    own = source == "nvml"
    facts: dict[str, Any] = {
        "window_s": 3.0,
        "samples": 30,
        "source": source,
        "tensor": 0.55,
        "power_w": 650.0,
        "sm_mhz": 1980.0,
        "energy_j": 1950.0,
        "joule_per_token": 2e-3 if own else None,
        "tflop_per_joule": 0.4 if own else None,
        "calls": 900,
        "discarded_s": 1.0,
        "interval": {"energy_j": [1900.0, 2000.0], "power_w": [640.0, 660.0]},
        "throttle": {"sw_power_cap": 0.4},
        "trace": "trace.jsonl",
        "begin_s": begin,
        "end_s": None if begin is None else begin + 3,
        "energy_source": "counter",
        "phases": {"gemm1": {"window_s": 0.6, "samples": 6, "tensor": 0.64}},
        **more,
    }
    return replace(record, telemetry=Telemetry(**facts))


CURRENT = {"block_m": 64, "warps": 4}
# Outcome and ratio of each trial, in order; the first one is the current configuration.
TRIALS = (
    ("complete", 1.0),
    ("invalid", None),
    ("complete", 1.4),
    ("crashed", None),
    ("complete", 0.8),
    ("complete", 0.9),
)


def trial(number: int, outcome: str, ratio: float | None, **more: Any) -> dict[str, Any]:
    """A trial as a run file has it."""
    values = CURRENT if number == 0 else {"block_m": 16 * number, "warps": 8}
    reason = "" if outcome == "complete" else f"it was {outcome}"
    time = None if ratio is None else 100 * ratio
    cases = [
        {"routing": routing, "ratio": ratio * share, "time_us": time * share, "current_us": 100.0}
        for routing, share in (("uniform", 0.95), ("zipf:1.2", 1.0))
        if ratio is not None and time is not None
    ]
    facts = {"state": "COMPLETE", "origin": "sampler", "reason": reason, "energy_j": None, "cases": cases, **more}
    return {"number": number, "outcome": outcome, "values": values, "ratio": ratio, "time_us": time, **facts}


def study(implementation: str = "triton", provenance: Provenance = Provenance.MEASURED, **more: Any) -> TuningRecord:
    """A study of six trials; trial 4 wins with 0.8 times the time."""
    trials = [trial(number, outcome, ratio) for number, (outcome, ratio) in enumerate(TRIALS)]
    sure = provenance == Provenance.MEASURED
    finalists = [
        {**trials[number], "ratio_low": low if sure else None, "ratio_high": high if sure else None}
        for number, low, high in ((4, 0.78, 0.83), (5, 0.88, 0.92), (0, 1.0, 1.0))
    ]
    notes = {
        "verdict": "trial 4 takes 0.800 times the time of the current one",
        "ended": "4 configurations were tried",
        "current": CURRENT,
        "routings": ["uniform", "zipf:1.2"],
        "choices": {"block_m": [16, 32, 64], "warps": [4, 8]},
        "importance_method": "PED-ANOVA of the best quarter against all",
    }
    if provenance == Provenance.PREDICTED:
        notes["machine"] = {"name": "Some GPU"}
    facts: dict[str, Any] = {
        "gpu": "Some GPU" if sure else None,
        "tokens": 1024,
        "trials": trials,
        "importance": {"warps": 0.3, "block_m": 0.7},
        "finalists": finalists,
        "winner": finalists[0],
        "notes": {**notes, **more.pop("notes", {})},
        **more,
    }
    where = case(tokens=1024, routing="uniform", dtype="bfloat16")
    return TuningRecord(
        implementation, provenance, spec_class="h1024", routing_class="any", case=where, objective="hot time", **facts
    )


def placement(where: CaseRecord, policy: str, work: list[float]) -> PlacementRecord:
    """A placement with this work per rank; the bound is the mean."""
    mean = sum(work) / len(work)
    bound = mean
    return PlacementRecord(
        case=where,
        policy=policy,
        ranks=len(work),
        rank_of=[expert % len(work) for expert in range(64)],
        rows=[value / 1e6 for value in work],
        work=work,
        provenance=Provenance.PREDICTED,
        memory=[5e7] * len(work),
        bound=bound,
        straggler=work.index(max(work)),
        rows_max_over_mean=1.2,
        work_max_over_mean=max(work) / mean,
        work_over_bound=max(work) / bound,
        memory_max_over_mean=1.0,
    )


def make_run(records: list[Record], placements: list[PlacementRecord] | None = None, **more: Any) -> Run:
    """A run on a CPU without a GPU."""
    environment = Environment(
        roof=Roof({"float32": 0.12}, 0.02, "square matmuls"),
        libraries={"torch": "2.13.0", "numpy": "2.3.5"},
        cpu={"model": "Some CPU", "cores": 2, "memory_bytes": 8 * 2**30},
        python="3.11.7",
        platform="Linux",
    )
    facts: dict[str, Any] = {
        "command": ["mohge", "run", "--minutes", "2"],
        "started": "2026-01-01T12:00:00+00:00",
        "finished": "2026-01-01T12:03:00+00:00",
        "source_hash": "0123abcd",
        "environment": environment,
        "git": GitRecord("cafe0123", dirty=True),
        **more,
    }
    return Run(records=records, placements=placements or [], **facts)


def full_run() -> Run:
    """Measured mohge-3b, its twin and a scaled-down layer; interpreted, simulated and compiled records; placements."""
    records, placements = [], []
    for spec in ("mohge-3b", "mohge-3b-uniform", "gpt-oss-20b-hetero/4"):
        for routing in ("router",) if "/" in spec else ("router", "olmoe-1b-7b/arxiv/7"):
            for tokens in (16, 64, 256):
                where = case(spec, tokens, routing)
                for name, slowness in SLOWNESS.items():
                    time = slowness * (4 + tokens * 0.4) * (1.2 if spec.endswith("uniform") else 1)
                    ratio = SLOWNESS["padded_bmm"] / slowness
                    speedup = None if name == "padded_bmm" else Speedup("padded_bmm", ratio, ratio * 0.95, ratio * 1.06)
                    records.append(passed(name, where, time, speedup=speedup))
                for ranks in (4, 8):
                    work = [1e9 * (1 + rank / ranks) for rank in range(ranks)]
                    level = [1.5e9 + 5e6 * (rank % 3) for rank in range(ranks)]
                    placements += [placement(where, "contiguous", work), placement(where, "aga", work[::-1])]
                    placements += [placement(where, "round_robin", work), placement(where, "lpt", level)]
    records.append(
        replace(records[0], implementation="cupy", status=Status.UNSUPPORTED, reason="needs a GPU", **NO_TIME)
    )
    small = case("mohge-3b/32, N=2", 24, device="cpu")
    for name, provenance in (("triton", Provenance.INTERPRETED), ("numba", Provenance.SIMULATED)):
        error = ErrorRecord(2e-7, 0.01, [0, 1], "all tokens")
        records.append(Record(name, provenance, Status.PASSED, small, error=error, useful_flops=5, executed_flops=9))
    records.append(compiled("triton", spills=0))
    records.append(compiled("cupy", spills=24))
    return make_run(records, placements)


_TIMES = ("error", "hot", "cold", "tflops", "share_of_roof", "speedup", "executed_flops")
NO_TIME: dict[str, Any] = dict.fromkeys(_TIMES) | {"phases": {}}


def compiled(name: str, spills: int) -> Record:
    """What ahead-of-time compilation leaves of an implementation."""
    kernels = [
        {"name": kernel, "configuration": shape, "registers": registers, "spills": spills, "tensor_instructions": 32}
        for kernel in ("gate_up", "down")
        for shape, registers in (("small", 96), ("large", 168))
    ]
    failed = {"name": "down", "configuration": "wide", "registers": None, "spills": None, "tensor_instructions": None}
    resources = [KERNEL | kernel for kernel in kernels] + [KERNEL | failed | {"error": "out of shared memory"}]
    where = CaseRecord(spec="every configuration", tokens=0, routing="", dtype="", device="sm_90")
    return Record(name, Provenance.COMPILED, Status.NOT_RUN, where, reason="4 kernels compiled", resources=resources)


def data(page: str, identifier: str) -> Any:
    """What the script element `identifier` of a page holds."""
    found = re.search(
        rf'<script type="application/json" id="{identifier}"( data-packed)?>(.*?)</script>', page, re.DOTALL
    )
    assert found is not None, identifier
    text = zlib.decompress(base64.b64decode(found[2])) if found[1] else found[2]
    return json.loads(text)


class Builder:
    """The functions above, for tests."""

    case = staticmethod(case)
    samples = staticmethod(samples)
    passed = staticmethod(passed)
    watched = staticmethod(watched)
    trial = staticmethod(trial)
    study = staticmethod(study)
    placement = staticmethod(placement)
    compiled = staticmethod(compiled)
    run = staticmethod(make_run)
    data = staticmethod(data)
    full: Callable[[], Run] = staticmethod(full_run)


@pytest.fixture(scope="session")
def build() -> Builder:
    """Makes records and runs."""
    return Builder()


@pytest.fixture(scope="session")
def believable() -> Run:
    """A run with every kind of record."""
    return full_run()
