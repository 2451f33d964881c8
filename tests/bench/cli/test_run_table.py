"""What a run prints: ratios with the doubt they leave, the verdict, and the figures of its second pass."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mohge.bench.cli.progress import show_run
from mohge.bench.records import (
    CaseRecord,
    Clocks,
    Environment,
    Provenance,
    Record,
    Run,
    Samples,
    Speedup,
    Status,
    Telemetry,
)

CASE = CaseRecord(spec="tiny", tokens=4, routing="uniform", dtype="bfloat16", device="cuda")
HOT = Samples([10.0, 11.0], 10.5, 10.0, 11.0, "events", "limit")


def record(name: str, telemetry: Telemetry | None = None, notes: dict[str, str] | None = None) -> Record:
    return Record(
        *(name, Provenance.MEASURED, Status.PASSED, CASE),
        hot=HOT,
        tflops=1.0,
        telemetry=telemetry,
        notes=dict(notes or {}),
    )


def test_telemetry_is_shown_with_its_source_and_gaps(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Telemetry(3.0, 30, "nvml", sm=0.91, tensor=0.5, power_w=645.2, sm_mhz=1980.0, joule_per_token=0.0123)
    lost = {"telemetry": "no telemetry: GPU is lost"}
    records = [record("triton", seen), record("cupy", notes=lost)]
    show_run(Run(["mohge", "run"], "2026-01-01T00:00:00+00:00", "", Environment(), records=records))
    printed = capsys.readouterr().err
    assert "nvml readings" in printed
    row = next(line for line in printed.splitlines() if line.startswith("triton") and "645 W" in line)
    assert row.split() == ["triton", "91%", "50%", "645", "W", "1980", "MHz", "0.0123"]
    assert "cupy: no telemetry: GPU is lost" in printed


@pytest.mark.parametrize(
    ("speedup", "shown"),
    [
        (Speedup("padded_bmm", 1.5, 1.4, 1.6, 9), "1.50 (1.40 to 1.60)"),
        (Speedup("padded_bmm", 1.01, 0.9, 1.1, 9), "1.01 (0.90 to 1.10, undecided)"),
        (Speedup("padded_bmm", 1.5, math.nan, math.nan, 3), "1.50 (undecided: 3 rounds are too few)"),
    ],
)
def test_a_ratio_is_shown_with_the_doubt_it_leaves(
    speedup: Speedup, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [record("padded_bmm"), replace(record("triton"), speedup=speedup)]
    show_run(Run(["mohge", "run"], "2026-01-01T00:00:00+00:00", "", Environment(), records=records))
    printed = capsys.readouterr().err
    assert shown in " ".join(printed.split())
    assert "Undecided between padded_bmm and triton on tiny" in printed
    assert "with only 2 samples, too few for an interval" in printed


@pytest.mark.parametrize(
    ("clocks", "shown"), [(Clocks("nvml", 9, 1000.0), "2%, 30% of CUDA cores"), (None, "2%, CUDA cores: not known")]
)
def test_what_uses_no_tensor_cores_has_the_share_of_its_own_ceiling(
    clocks: Clocks | None, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [replace(record("numba"), tflops=10.1376, share_of_roof=0.02, clocks=clocks), record("triton")]
    environment = Environment(gpu={"name": "a GPU", "sms": 132, "capability": "9.0"})
    show_run(Run(["mohge", "run"], "2026-01-01T00:00:00+00:00", "", environment, records=records))
    printed = capsys.readouterr().err
    (row,) = [line for line in printed.splitlines() if line.startswith("numba")]
    assert shown in row
    assert printed.count("CUDA cores") == 1
