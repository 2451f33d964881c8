"""The live path as a whole: the sampling process, NVML's package and a driver's library, compiled here for one GPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mohge.bench.telemetry import Sampler, UnavailableError, Window, summarize, sustained_replay


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the test's driver")
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).parent / "driver.cpp"
    words = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(source)]
    subprocess.run([*words, "-o", str(folder / "libnvidia-ml.so.1")], check=True)
    return folder


@pytest.fixture
def driver(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes started from here find the test's driver; this one is left alone."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_sustained_replay_is_summarized_from_live_readings(driver: None, tmp_path: Path) -> None:
    sampler = Sampler(tmp_path / "trace.jsonl", gpu="GPU-test-1", period_s=0.05)
    sampler.before()
    replay = sustained_replay(lambda: time.sleep(0.002), 1.0, sampler, lane="triton", rise_s=0.1)
    sampler.after()
    trace = sampler.results()
    window = Window(replay.begin_s, replay.end_s, replay.calls, tokens=10, flops=1e9)
    result = summarize(trace, window)
    assert trace.header.source == result.source == "nvml"
    assert trace.header.device["uuid"] == "GPU-test-1"
    assert set(result.unavailable) == {"utilization_ring"}
    assert (result.tensor, result.sm) == (pytest.approx(0.625), pytest.approx(0.9))
    assert (result.power_w, result.energy_source) == (pytest.approx(500), "counter")
    assert result.energy_j is not None
    assert result.energy_j == pytest.approx(500 * result.window_s, rel=0.2)  # readings may be late
    assert result.joule_per_token == pytest.approx(result.energy_j / (replay.calls * 10))
    assert result.tflop_per_joule == pytest.approx(replay.calls * 1e-3 / result.energy_j)
    assert result.throttle == {"sw_power_cap": 1.0}
    assert result.notes == []


def test_a_gpu_lost_in_the_middle_ends_the_replay(
    driver: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOHGE_TEST_LOST", "4")
    sampler = Sampler(tmp_path / "trace.jsonl", period_s=0.05)
    sampler.before()
    replay = sustained_replay(lambda: time.sleep(0.002), 60.0, sampler, rise_s=0.0)
    sampler.after()
    assert replay.ended == "the sampling process has ended"
    assert replay.seconds < 30
    trace = sampler.results()
    assert trace.end.startswith("lost: GPU of the test, GPU-test-1: ")
    assert len(trace.series("energy_j")[0]) == 4
    with pytest.raises(UnavailableError, match="expected the UUID of one of GPU-test-1, got GPU-else"):
        Sampler(tmp_path / "other.jsonl", gpu="GPU-else").before()
    assert not (tmp_path / "other.jsonl").exists()


def test_the_command_and_the_doctor_see_it(driver: None, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mohge", "trace", "--", sys.executable, "-c", "import time; time.sleep(0.6)"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "GPU of the test" in done.stderr
    assert "from counter" in done.stderr
    assert "synthetic" not in done.stderr
    code = "from mohge.bench.telemetry import probe_nvml; print(probe_nvml())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "works=True" in found
    assert "driver 1.2.3, GPU of the test, 15 metrics" in found
