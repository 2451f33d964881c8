"""What a run prints: ratios with the doubt they leave, the verdict, and the figures of its second pass."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mohge.bench.cli.progress import show_run
from mohge.bench.records import CaseRecord, Environment, Provenance, Record, Run, Samples, Speedup, Status, Telemetry

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
