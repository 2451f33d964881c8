"""`gpu_benchmark` inside small pytest sessions: whose times enter the statistics, and when there are none."""

from __future__ import annotations

from typing import Any

import pytest

from mohge.bench.plugin import fixture
from mohge.bench.timing import ClockReading

pytest_plugins = ("pytester",)

ONE = """
def test_one(scripted, gpu_benchmark):
    assert scripted("a") == "a"
    gpu_benchmark.extra_info["raw"] = gpu_benchmark.samples.samples_us if gpu_benchmark.samples else None
"""
PAIR = """
import pytest

from mohge.bench.plugin import fixture
from mohge.bench.timing import ClockReading
from conftest import TIMER

CALLS = {"a": lambda: "a", "b": lambda: "b"}
OPTIONS = dict(timer=TIMER, min_samples=4, max_samples=4, warmup=0.0, target=1e-9, case="pair")

@pytest.mark.parametrize("name", CALLS)
def test_pair(gpu_benchmark, name):
    gpu_benchmark.interleaved(CALLS, name, **OPTIONS)
    gpu_benchmark.extra_info["taken"] = len(TIMER.taken)
"""
CPU = ("--gpu-benchmark-device=cpu",)
TIMES = [3.1, 4.7, 3.3, 1e3 / 7, 2.9]


def test_statistics_are_those_of_the_samples(session: Any, saved: Any) -> None:
    session(ONE, "--benchmark-json=out.json", script={"a": TIMES}).assert_outcomes(passed=1)
    (benchmark,) = saved()["benchmarks"]
    raw = benchmark["extra_info"]["raw"]
    assert len(raw) == 6
    assert set(raw) == set(TIMES)
    assert benchmark["stats"]["data"] == [time / 1e6 for time in raw]
    assert benchmark["stats"]["median"] == pytest.approx(benchmark["extra_info"]["median_us"] / 1e6, rel=1e-12)
    assert (benchmark["stats"]["min"], benchmark["stats"]["max"]) == (2.9 / 1e6, 1e3 / 7 / 1e6)
    assert benchmark["stats"]["rounds"] == 6


def test_what_is_said_beside_the_statistics(session: Any, saved: Any) -> None:
    source = """
from mohge.bench.plugin.fixture import Work

def test_one(scripted):
    scripted("a", cold=True, work=Work(flops=6_000_000, info={"implementation": "mine"}))
"""
    session(source, "--benchmark-json=out.json", script={"a": [3.0]}).assert_outcomes(passed=1)
    content = saved()
    info = content["benchmarks"][0]["extra_info"]
    assert info["method"] == "scripted, cold"
    assert (info["device"], info["caches"], info["suspects"]) == ("cpu", "cold", 0)
    assert info["stop"] == "sample limit 6"
    assert info["low_us"] == info["high_us"] == info["median_us"] == 3.0
    assert info["tflops"] == pytest.approx(2.0)
    assert info["implementation"] == "mine"
    assert info["torch"] == content["machine_info"]["libraries"]["torch"]
    assert content["machine_info"]["cpu_model"] == info["cpu"]
    assert "hz_actual" not in content["machine_info"]["cpu"]
    assert content["benchmarks"][0]["options"]["timer"] == "replayed_samples"


def test_interleaved_calls_are_measured_once_together(session: Any, saved: Any) -> None:
    script = {"a": [1.0, 2.0, 3.0, 4.0], "b": [50.0]}
    session(PAIR, "--benchmark-json=out.json", script=script).assert_outcomes(passed=2)
    a, b = saved()["benchmarks"]
    assert sorted(a["stats"]["data"]) == [time / 1e6 for time in script["a"]]
    assert b["stats"]["data"] == [50.0 / 1e6] * 4
    assert a["extra_info"]["taken"] == b["extra_info"]["taken"], "the second test measured again"
    assert b["extra_info"]["interleaved_with"] == ["a"]
    # Four samples have no interval, and JSON no word for what is none.
    assert (b["extra_info"]["low_us"], b["extra_info"]["median_us"]) == (None, 50.0)


def test_an_unknown_name_is_said_with_the_known_ones(session: Any) -> None:
    result = session(PAIR.replace("CALLS, name,", "CALLS, 'c',"), script={"a": [1.0], "b": [1.0]})
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*expected a name out of a, b, got 'c'*"])


@pytest.mark.parametrize("source", [ONE, PAIR])
def test_disabled_runs_the_call_once_and_takes_no_time(session: Any, source: str) -> None:
    again = source + "\ndef test_count():\n    from conftest import TIMER\n    assert not TIMER.taken\n"
    result = session(again, "--benchmark-disable", script={"a": [1.0], "b": [1.0]})
    assert result.ret == 0
    assert "Median" not in result.stdout.str()


def test_skip_and_only_know_it_for_a_benchmark(session: Any) -> None:
    source = ONE + "\ndef test_other():\n    pass\n"
    session(source, "--benchmark-skip", script={"a": [1.0]}).assert_outcomes(passed=1, skipped=1)
    session(source, "--benchmark-only", script={"a": [1.0]}).assert_outcomes(passed=1, skipped=1)


def test_an_error_is_the_tests_own_and_leaves_no_statistics(session: Any, saved: Any) -> None:
    source = """
def test_raises(scripted, gpu_benchmark):
    gpu_benchmark(lambda: 1 / 0)

def test_raises_later(scripted):
    scripted("unknown to the timer")

def test_refused(gpu_benchmark):
    gpu_benchmark.fail("wrong result")

def test_good(scripted):
    scripted("a")
"""
    result = session(
        source,
        "--benchmark-json=out.json",
        "-W",
        "error::pytest_benchmark.logger.PytestBenchmarkWarning",
        script={"a": [1.0]},
    )
    result.assert_outcomes(failed=3, passed=1)
    result.stdout.fnmatch_lines(["*ZeroDivisionError*", "*crashed while it was timed: KeyError*", "*wrong result*"])
    assert [benchmark["name"] for benchmark in saved()["benchmarks"]] == ["test_good"]


def test_markers_merge_and_the_nearest_wins(session: Any, saved: Any) -> None:
    source = """
import pytest

from mohge.bench.plugin import fixture
from mohge.bench.timing import ClockReading
from conftest import TIMER

@pytest.mark.benchmark(group="outer", min_rounds=7)
@pytest.mark.gpu_benchmark(cold=True, max_samples=9, min_samples=3, warmup=0.0, timer=TIMER)
class TestIt:
    @pytest.mark.benchmark(group="inner")
    @pytest.mark.gpu_benchmark(max_samples=4)
    def test_one(self, gpu_benchmark):
        gpu_benchmark(lambda: "a")
"""
    options = ("--benchmark-json=out.json", "--gpu-benchmark-max-samples=20", "--gpu-benchmark-target=1e-9")
    session(source, *options, script={"a": [1.0, 2.0]}).assert_outcomes(passed=1)
    (benchmark,) = saved()["benchmarks"]
    assert (benchmark["group"], benchmark["options"]["min_rounds"]) == ("inner", 7)
    assert (benchmark["stats"]["rounds"], benchmark["extra_info"]["caches"]) == (4, "cold")


BAD = {
    "gpu_benchmark(second=1)": "*test_one: gpu_benchmark marker: expected settings out of device, *got 'second'*",
    "gpu_benchmark(1)": "*test_one: gpu_benchmark marker: expected keywords only, got 1*",
    "benchmark(timer=print)": "*test_one: expected no timer in the benchmark marker*",
}


@pytest.mark.parametrize("marker", BAD)
def test_wrong_markers_are_usage_errors(session: Any, marker: str) -> None:
    result = session(f"import pytest\npytestmark = pytest.mark.{marker}\n{ONE}", script={"a": [1.0]})
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([BAD[marker]])


@pytest.mark.parametrize("option", ["--gpu-benchmark-seconds=0", "--gpu-benchmark-max-samples=few"])
def test_wrong_options_are_usage_errors(session: Any, option: str) -> None:
    result = session(ONE, option, script={"a": [1.0]})
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*argument {option.partition('=')[0]}: expected *"])


def test_asked_for_too_late_is_said(session: Any) -> None:
    source = "def test_late(request):\n    request.getfixturevalue('gpu_benchmark')\n"
    result = session(source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*gpu_benchmark: expected to be an argument of the test*"])


def test_a_way_of_timing_that_is_impossible_here_fails_with_the_reason(session: Any) -> None:
    result = session("def test_one(gpu_benchmark):\n    gpu_benchmark(int)\n", *CPU, "--gpu-benchmark-timer=graph")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*timer graph: expected a GPU, got the device cpu*"])


def test_a_real_cpu_time_is_plausible(session: Any, saved: Any) -> None:
    """Between nothing and the whole session: the one test here with the real timer."""
    source = (
        "def test_one(gpu_benchmark):\n    assert gpu_benchmark(sum, range(100), seconds=0.05, device='cpu') == 4950\n"
    )
    session(source, "--benchmark-json=out.json").assert_outcomes(passed=1)
    (benchmark,) = saved()["benchmarks"]
    assert 0 < benchmark["stats"]["median"] < 10
    assert "monotonic clock" in benchmark["extra_info"]["method"]
    assert benchmark["extra_info"]["timer"] == "cpu"


class Watch:
    """Too hot at the fourth question, else fine."""

    source = "scripted"

    def __init__(self, device: str) -> None:
        self.device, self.asked = device, 0

    def read(self) -> ClockReading:
        self.asked += 1
        return ClockReading(1800.0, 2600.0, ("hw_thermal_slowdown",) if self.asked == 4 else ("sw_power_cap",))


TICKING = """
from conftest import ScriptedTimer

class Ticking(ScriptedTimer):
    now = 0.0
    def seconds(self):
        self.now += 0.1
        return self.now

def test_one(gpu_benchmark):
    gpu_benchmark(lambda: "a", timer=Ticking(), min_samples=12, max_samples=12, seconds=99, warmup=0.0, target=1e-9)
"""


def test_clocks_held_back_are_marked_kept_and_said(session: Any, saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixture, "clock_watch", Watch)
    times = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    result = session(TICKING, "--benchmark-json=out.json", script={"a": times})
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["gpu_benchmark: test_it.py::test_one: clocks held back (hw_thermal_slowdown): 2 suspect samples"]
    )
    (benchmark,) = saved()["benchmarks"]
    info = benchmark["extra_info"]
    assert info["suspects"] == info["clocks"]["suspects"] == 2
    assert info["clocks"]["throttle"] == {"hw_thermal_slowdown": 1, "sw_power_cap": info["clocks"]["samples"] - 1}
    assert info["clocks"]["source"] == "scripted"
    assert "suspect" in info["clocks"]["rule"]
    assert benchmark["stats"]["rounds"] == 10  # of twelve samples


def test_nobody_watching_a_cpu_leaves_no_clocks(session: Any, saved: Any) -> None:
    session(ONE, "--benchmark-json=out.json", script={"a": TIMES}).assert_outcomes(passed=1)
    (benchmark,) = saved()["benchmarks"]
    assert "clocks" not in benchmark["extra_info"]
