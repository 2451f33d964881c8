"""pytest-benchmark's own saving and comparing, on replayed samples; and machines that cannot be compared."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.plugin.machine import difference

pytest_plugins = ("pytester",)

ONE = "def test_one(scripted):\n    scripted('a')\n"
FAST, SLOW = {"a": [10.0, 10.2, 9.9, 10.1]}, {"a": [11.0, 11.3, 10.9, 11.1]}
COMPARE = ("--benchmark-compare", "--benchmark-compare-fail=median:5%")
SAVED = ".benchmarks/*/0001_*.json"


def edit_saved(folder: Path, change: Any) -> None:
    """Change the machine of the saved file as if it came from elsewhere."""
    (path,) = folder.glob(SAVED)
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content["machine_info"])
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_planted_slowdown_fails_and_the_same_passes(session: Any) -> None:
    session(ONE, "--benchmark-save=before", script=FAST).assert_outcomes(passed=1)
    # No warning of another machine either: what is saved stays the same from run to run.
    good = session(ONE, *COMPARE, "-W", "error::pytest_benchmark.logger.PytestBenchmarkWarning", script=FAST)
    assert good.ret == 0
    good.stdout.fnmatch_lines_random(["*test_one (NOW)*", "*test_one (0001_before)*"])
    bad = session(ONE, *COMPARE, script=SLOW)
    assert bad.ret != 0
    bad.stderr.fnmatch_lines(["*Performance has regressed*", "*test_one*median*"])


def test_its_command_line_compares_the_files(session: Any, pytester: pytest.Pytester) -> None:
    for name, script in (("fast", FAST), ("slow", SLOW)):
        session(ONE, f"--benchmark-json={name}.json", script=script).assert_outcomes(passed=1)
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "fast.json", "slow.json", "--columns=median"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=pytester.path)
    rows = [line.split()[-2] for line in done.stdout.splitlines() if line.startswith("test_one")]
    assert rows == ["10.0500", "11.0500"]


@pytest.mark.skipif(importlib.util.find_spec("pygal") is None, reason="pygal, which draws histograms, is not installed")
def test_histogram_is_drawn(session: Any, pytester: pytest.Pytester) -> None:
    session(ONE, "--benchmark-histogram=drawn", script=FAST).assert_outcomes(passed=1)
    assert list(Path(pytester.path).glob("drawn*.svg"))


def h200(machine_info: dict[str, Any]) -> None:
    machine_info["gpu"] = {"name": "NVIDIA H200", "uuid": "GPU-1", "driver": "580.1", "cuda": "13.0"}


def another_cpu(machine_info: dict[str, Any]) -> None:
    machine_info["cpu_model"] = "Some other CPU"


@pytest.mark.filterwarnings("ignore:Benchmark machine_info is different")  # which is what pytest-benchmark says
@pytest.mark.parametrize(("change", "there"), [(h200, "NVIDIA H200"), (another_cpu, "Some other CPU")])
def test_times_of_another_device_are_refused(
    session: Any, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, change: Any, there: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    session(ONE, "--benchmark-save=before", script=FAST)
    edit_saved(pytester.path, change)
    refused = session(ONE, *COMPARE, script=FAST)
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines([f"ERROR: gpu_benchmark: expected times saved on *, got times saved on {there} (*"])
    assert "Median" not in refused.stdout.str()
    assert session(ONE, *COMPARE, "--gpu-benchmark-compare-anyway", script=FAST).ret == 0
    # Who takes no device times is not stopped by somebody else's.
    assert session("def test_plain():\n    pass\n", "--benchmark-compare").ret == 0
    assert session(ONE, "--benchmark-compare", "--benchmark-disable", script=FAST).ret == 0


def test_files_without_device_times_are_left_alone(session: Any, saved: Any) -> None:
    plain = "def test_plain(benchmark):\n    benchmark(lambda: 1)\n"
    options = ("--benchmark-max-time=0.001", "--benchmark-min-rounds=1")
    session(plain, *options, "--benchmark-save=plain", "--benchmark-json=out.json").assert_outcomes(passed=1)
    assert saved()["machine_info"] == {"node": "here", "cpu": {"brand_raw": "some CPU", "hz_actual": [1, 0]}}
    session(ONE, "--benchmark-compare", script=FAST).assert_outcomes(passed=1)


def machine(gpu: str | None, cpu: str = "EPYC") -> dict[str, Any]:
    return {"gpu": {"name": gpu} if gpu else None, "cpu_model": cpu}


@pytest.mark.parametrize(
    ("current", "saved_on", "alike"),
    [
        (machine("H100"), machine("H100", "Xeon"), True),
        (machine("H100"), machine("H200"), False),
        (machine("H100"), machine(None), False),
        (machine(None), machine("H100"), False),
        (machine(None), machine(None), True),
        (machine(None), machine(None, "Xeon"), False),
    ],
)
def test_the_gpu_decides_and_without_one_the_cpu(current: dict, saved_on: dict, alike: bool) -> None:
    assert (difference(current, saved_on) is None) == alike
