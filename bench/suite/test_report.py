"""How long `mohge report` takes, as a user waits for it: a process reads a run and its telemetry and writes a page.

A run of the size that `make run` makes, and one of 10 080 records beside a trace of a million readings of 13 metrics.
Both are made up by tests/bench/report/big_run.py, which can also be called by itself. A report is timed when every
record is in it and its size is within `MOST_BYTES`.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUNS = Path(__file__).resolve().parents[2] / "tests" / "bench" / "report" / "big_run.py"
SIZES = {"usual": (24, 2_400), "big": (10_080, 1_000_000)}
MOST_BYTES = 25_000_000


@pytest.mark.parametrize("size", SIZES)
def test_report(benchmark: Any, size: str, tmp_path: Path) -> None:
    """The page of a run of so many records and readings."""
    records, readings = SIZES[size]
    run = runpy.run_path(str(RUNS))["write_big_run"](tmp_path, records, readings)
    page = tmp_path / "report.html"
    command = [sys.executable, "-m", "mohge", "report", str(run), "--output", str(page)]
    rounds = 1 if size == "big" else 3
    benchmark.pedantic(subprocess.run, (command,), {"check": True, "stdout": subprocess.DEVNULL}, rounds=rounds)
    text = page.read_text(encoding="utf-8")
    shown = f"{records:,}".replace(",", "\u202f")
    assert f'<details id="records"><summary>{shown} records</summary>' in text
    assert page.stat().st_size < MOST_BYTES
    benchmark.group = "report"
    benchmark.extra_info["megabytes"] = page.stat().st_size / 1e6
