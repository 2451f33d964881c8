"""The CPU timer's cold and hot samples, the measured roofs, and on a GPU the device timer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mohge.bench.records import Samples
from mohge.bench.timing import (
    ClockReading,
    CpuTimer,
    Prepared,
    check_way,
    flush_bytes,
    make_timer,
    measure_interleaved,
    measure_roofs,
    open_timer,
)


class Clock:
    """Nanoseconds that move only when told."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[str] = []

    def __call__(self) -> int:
        return self.now

    def spend(self, name: str, nanoseconds: int) -> Callable[[], None]:
        def run() -> None:
            self.log.append(name)
            self.now += nanoseconds

        return run


def test_a_cold_sample_flushes_once_outside_the_timed_region() -> None:
    clock = Clock()
    timer = CpuTimer(clock_ns=clock, flush=clock.spend("flush", 10**9))
    prepared = timer.prepare(clock.spend("call", 2500))
    assert [timer.sample(prepared, cold=True) for _ in range(3)] == [2.5] * 3
    assert clock.log == ["flush", "call"] * 3


def test_a_hot_sample_runs_the_call_untimed_first_and_never_flushes() -> None:
    clock = Clock()
    timer = CpuTimer(clock_ns=clock, flush=clock.spend("flush", 10**9))
    assert timer.sample(timer.prepare(clock.spend("call", 4000)), cold=False) == 4.0
    assert clock.log == ["call", "call"]


def test_seconds_and_methods() -> None:
    clock = Clock()
    clock.now = 3 * 10**9
    timer = CpuTimer(clock_ns=clock)
    assert timer.seconds() == 3.0
    prepared = timer.prepare(lambda: None)
    assert "MiB" in timer.method(prepared, cold=True)
    assert timer.method(prepared, cold=False) == "monotonic clock, right after the same call"


@pytest.mark.parametrize(("cache", "expected"), [(2**20, 2**21), (2**30, 64 * 2**20)])
def test_the_flush_is_twice_the_last_level_cache_up_to_a_limit(cache: int, expected: int) -> None:
    assert flush_bytes(cache) == expected
    assert 0 < flush_bytes() <= 64 * 2**20


def test_the_real_cpu_timer_measures_something() -> None:
    timer = make_timer("cpu")
    prepared = timer.prepare(lambda: sum(range(100)))
    assert timer.sample(prepared, cold=True) > 0
    assert timer.sample(prepared, cold=False) > 0


class FixedTimer:
    """Says that every call takes the same time, and runs it once so that what it returns is real."""

    def __init__(self, microseconds: float) -> None:
        self.microseconds, self.now, self.results = microseconds, 0.0, list[Any]()

    def seconds(self) -> float:
        return self.now

    def prepare(self, call: Callable[[], Any]) -> Prepared:
        self.results.append(call())
        return Prepared(call)

    def sample(self, prepared: Prepared, *, cold: bool) -> float:
        self.now += self.microseconds * 1e-6
        return self.microseconds

    def method(self, prepared: Prepared, *, cold: bool) -> str:
        return "fixed"


def test_roofs_count_flops_and_bytes_on_random_data() -> None:
    timer = FixedTimer(1e6)  # a second a call: the smallest size, three samples
    roof = measure_roofs("cpu", ["float32", "bfloat16"], timer=timer, seconds=1.0)
    assert roof.matmul_tflops == pytest.approx({"float32": 2 * 256**3 * 1e-12, "bfloat16": 2 * 256**3 * 1e-12})
    assert roof.copy_tbps == pytest.approx(2 * 128 * 2**20 * 1e-12)
    for product in timer.results:
        assert product.float().std() > 0.5
    assert roof.method == (
        "the fastest sample of square matmuls (float32 256, bfloat16 256) and of a copy of 128 MiB, random data; fixed"
    )


class Watch:
    """Gives these readings, one after the other."""

    source = "scripted"

    def __init__(self, *readings: ClockReading) -> None:
        self.readings = iter(readings)

    def read(self) -> ClockReading | None:
        return next(self.readings, None)


def test_roofs_say_what_the_clocks_did() -> None:
    watch = Watch(ClockReading(1500.0, 2600.0, ("sw_power_cap",)), ClockReading(1700.0, 2600.0))
    roof = measure_roofs("cpu", ["float32", "bfloat16"], timer=FixedTimer(1e6), seconds=1.0, watch=watch)
    assert roof.method.endswith("; fixed; SM clock 1600 MHz (1500 to 1700), throttled by sw_power_cap")


def test_roofs_grow_while_there_is_time() -> None:
    timer = FixedTimer(10.0)
    roof = measure_roofs("cpu", ["float32"], timer=timer, seconds=0.004)
    assert timer.results[-2].shape[0] > 256
    assert roof.matmul_tflops["float32"] == pytest.approx(2 * timer.results[-2].shape[0] ** 3 / 10.0 * 1e-6)


def test_a_dtype_that_cannot_be_multiplied_is_left_out() -> None:
    roof = measure_roofs("cpu", ["uint16", "float32"], timer=FixedTimer(1e6), seconds=0.1)
    assert list(roof.matmul_tflops) == ["float32"]


def test_a_gpu_that_is_not_there_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match="device: expected a GPU that torch can use for cuda, found none"):
        make_timer("cuda")


@pytest.mark.parametrize(
    ("device", "way", "expected"),
    [
        ("cpu", "auto", "cpu"),
        ("cpu", "cpu", "cpu"),
        ("cuda", "auto", "events"),
        ("cuda:1", "events", "events"),
        ("cuda", "graph", "graph"),
    ],
)
def test_a_way_is_chosen_by_the_device(device: str, way: str, expected: str) -> None:
    assert check_way(device, way) == expected


@pytest.mark.parametrize(
    ("device", "way", "message"),
    [
        ("cpu", "stopwatch", "timer: expected one of auto, cpu, events, graph, cupti, got 'stopwatch'"),
        ("cpu", "graph", "timer graph: expected a GPU, got the device cpu"),
        ("cpu", "cupti", "timer cupti: expected a GPU, got the device cpu"),
        ("cuda", "cpu", "the host returns before the GPU is done"),
    ],
)
def test_an_impossible_way_says_why(device: str, way: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_timer(device, way)


def test_cupti_without_its_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupti", None)
    with pytest.raises(ValueError, match="timer cupti: expected the package cupti-python, and cannot import it"):
        check_way("cuda", "cupti")


def test_the_record_names_the_way() -> None:
    with open_timer("cpu") as timer:
        (result,) = measure_interleaved({"a": lambda: None}, timer=timer, cold=False, seconds=0.01).values()
    assert isinstance(result, Samples)
    assert result.timer == "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", [False, True])
def test_the_device_timer_sees_work_and_hides_launches(graphs: bool) -> None:
    from mohge.bench.timing.cuda_timer import CudaTimer

    a = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
    out = torch.empty_like(a)
    small = torch.randn(64, device="cuda")
    timer = CudaTimer("cuda", graphs=graphs)
    calls = {
        "once": lambda: torch.mm(a, a, out=out),
        "twice": lambda: (torch.mm(a, a, out=out), torch.mm(a, a, out=out)),
        "tiny": lambda: small.add_(1),
        "waits": lambda: (small.add_(1), small.sum().item()),
    }
    results = measure_interleaved(calls, timer=timer, cold=False, seconds=2.0)
    medians = {}
    for name, result in results.items():
        assert isinstance(result, Samples)
        medians[name] = result.median_us
        assert ("launches included" in result.method) == (name == "waits")
        assert ("graph replay" in result.method) == (graphs and name != "waits")
        assert result.timer == ("graph" if graphs and name != "waits" else "events")
    assert 1.7 < medians["twice"] / medians["once"] < 2.3
    assert medians["tiny"] < 10
    cold = measure_interleaved({"once": calls["once"]}, timer=timer, cold=True, seconds=1.0)["once"]
    assert isinstance(cold, Samples)
    assert "L2 flushed" in cold.method


@pytest.mark.gpu
def test_a_call_that_cannot_be_captured_leaves_the_process_sound() -> None:
    a = torch.randn(1024, device="cuda")

    def refuses() -> None:
        if torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()  # not allowed while a stream is captured
        a.add_(1)

    with open_timer("cuda", "graph") as timer:
        results = measure_interleaved(
            {"refuses": refuses, "sound": lambda: a.mul(2)}, timer=timer, cold=False, seconds=1.0
        )
    ways = {name: result.timer for name, result in results.items() if isinstance(result, Samples)}
    assert ways == {"refuses": "events", "sound": "graph"}
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.cuda.empty_cache()


@pytest.mark.gpu
def test_cupti_agrees_with_events() -> None:
    pytest.importorskip("cupti")
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    out = torch.empty_like(a)
    medians = {}
    for way in ("events", "cupti"):
        with open_timer("cuda", way) as timer:
            calls = {"twice": lambda: (torch.mm(a, a, out=out), torch.mm(a, a, out=out)), "nothing": lambda: None}
            results = measure_interleaved(calls, timer=timer, cold=False, seconds=2.0)
        result = results["twice"]
        assert isinstance(result, Samples)
        assert result.timer == way
        medians[way] = result.median_us
    assert 0.9 < medians["cupti"] / medians["events"] < 1.1


@pytest.mark.gpu
def test_device_roofs_are_of_the_order_of_a_data_centre_gpu() -> None:
    roof = measure_roofs("cuda", ["bfloat16", "float32"], seconds=2.0)
    assert roof.matmul_tflops["bfloat16"] > roof.matmul_tflops["float32"] > 1
    assert roof.copy_tbps is not None
    assert roof.copy_tbps > 0.1
