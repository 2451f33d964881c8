"""`mohge trace`: the program's own exit code, its Ctrl-C, the table, the file, and the price of it all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mohge.bench.cli import main
from mohge.bench.telemetry import probe_nvml, read_trace
from mohge.bench.telemetry.synthetic import write_synthetic


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_synthetic(tmp_path / "recorded.jsonl")
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["trace", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


PYTHON = ("--", sys.executable, "-c")


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("pass", 0),
        ("import time; time.sleep(0.3); raise SystemExit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", 137),
    ],
)
def test_the_exit_code_is_the_programs(program: str, code: int, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--source", "recorded.jsonl", "--period", "0.05", *PYTHON, program) == code
    trace = read_trace(here / "trace.jsonl")
    assert trace.end == "stopped"
    ((mark, end),) = trace.windows("program")
    assert mark.t < end
    printed = capfd.readouterr().err
    assert "synthetic readings" in printed  # never passes for a measurement
    assert "cost of sampling" in printed
    assert "trace: trace.jsonl" in printed


def test_json_holds_the_table(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys, time; time.sleep(0.5); print('its own output', file=sys.stderr)"
    assert run("--source", "recorded.jsonl", "--out", "t.jsonl", "--json", "r.json", *PYTHON, program) == 0
    assert "its own output" in capfd.readouterr().err
    result = json.loads((here / "r.json").read_text(encoding="utf-8"))
    assert (result["exit_code"], result["source"], result["end"]) == (0, "synthetic", "stopped")
    assert result["metrics"]["sm_mhz"]["unit"] == "MHz"
    assert result["metrics"]["power_w"]["mean"] <= result["metrics"]["power_w"]["max"]
    assert [phase["lane"] for phase in result["phases"]] == ["program"]
    assert 0 <= result["cost"][0]["core_share"] < 1


def test_a_trace_file_is_shown_without_a_program(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--source", "recorded.jsonl", "--json", "-") == 0
    result = json.loads(capfd.readouterr().out)
    assert result["exit_code"] is None
    assert {phase["name"] for phase in result["phases"]} == {"layer", "gemm1", "gemm2", "combine"}
    assert result["throttle"]["sw_power_cap"] > 0
    by_name = {(phase["lane"], phase["name"]): phase for phase in result["phases"]}
    # As it was made: combine lives on memory, GEMMs on the tensor pipe.
    assert by_name["triton", "combine"]["dram"] == pytest.approx(0.80, abs=0.02)
    assert by_name["triton", "gemm1"]["tensor"] == pytest.approx(0.64, abs=0.02)
    assert sorted(here.iterdir()) == [here / "recorded.jsonl"]


def test_ctrl_c_is_the_programs_and_the_trace_is_kept(here: Path) -> None:
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: (print('caught', flush=True), sys.exit(5)))\n"
        "print('running', flush=True)\n"
        "time.sleep(60)"
    )
    words = [sys.executable, "-m", "mohge", "trace", "--source", "recorded.jsonl", *PYTHON, program]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == "running\n"
        time.sleep(0.1)
        os.killpg(p.pid, signal.SIGINT)  # what a terminal does
        output, errors = p.communicate(timeout=60)
    assert output == "caught\n"
    assert p.returncode == 5
    assert "cost of sampling" in errors
    assert read_trace(here / "trace.jsonl").end == "stopped"


@pytest.mark.skipif(probe_nvml().works, reason="this machine has NVML")
def test_without_a_driver_it_says_so_and_writes_nothing(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--", "true") == 2
    errors = capfd.readouterr().err
    assert errors.startswith("mohge: NVML")
    assert errors.count("\n") == 1
    assert sorted(here.iterdir()) == [here / "recorded.jsonl"]


def test_the_cost_is_measured_and_labelled(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mohge.bench.telemetry import cost

    monkeypatch.setattr(cost, "_work", lambda: ("cpu, nothing", cost.CpuDevice(), lambda: time.sleep(0.001)))
    found = cost.measure_cost("recorded.jsonl", pairs=5, seconds=0.1, period_s=0.05)
    assert (found.source, found.pairs) == ("synthetic", 5)
    assert 0 < found.core_share < 1
    assert found.slowdown_low <= found.slowdown <= found.slowdown_high
    assert found.slowdown > -1
    with pytest.raises(ValueError, match="pairs: expected at least 5, got 4"):
        cost.measure_cost("recorded.jsonl", pairs=4)
