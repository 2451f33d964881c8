"""The device timer on a pretended GPU: a host clock and a device clock that queued work moves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from mohge.bench.records import Samples
from mohge.bench.timing import cuda_timer as cuda_timer_module
from mohge.bench.timing import measure_interleaved
from mohge.bench.timing.cuda_timer import CudaTimer

L2_BYTES = 50 * 2**20


class Gpu:
    """Work queued at host time h starts when the device is free, not before h. All times in microseconds."""

    def __init__(self) -> None:
        self.host, self.device, self.log = 0.0, 0.0, list[str]()
        gpu = self

        class Event:
            def __init__(self, *, enable_timing: bool) -> None:
                assert enable_timing
                self.at = 0.0

            def record(self) -> None:
                gpu.launch("event", 0.0, 0.0)
                self.at = gpu.device

            def query(self) -> bool:
                return self.at <= gpu.host

            def synchronize(self) -> None:
                gpu.host = max(gpu.host, self.at)

            def elapsed_time(self, end: Event) -> float:
                return (end.at - self.at) * 1e-3

        @contextmanager
        def nothing(*_: Any) -> Any:
            yield

        stream = SimpleNamespace(wait_stream=lambda _: None)
        self.cuda = SimpleNamespace(
            is_available=lambda: True,
            get_device_properties=lambda _: SimpleNamespace(L2_cache_size=L2_BYTES),
            device=nothing,
            stream=nothing,
            Stream=lambda: stream,
            current_stream=lambda: stream,
            Event=Event,
            synchronize=self.synchronize,
            _sleep=lambda cycles: self.launch("spin", 1.0, cycles / 2000),
            CUDAGraph=lambda: SimpleNamespace(replay=lambda: self.launch("replay", 3.0, 10.0)),
            graph=nothing,
        )

    def launch(self, name: str, host_us: float, device_us: float) -> None:
        self.log.append(name)
        self.host += host_us
        self.device = max(self.device, self.host) + device_us

    def synchronize(self) -> None:
        self.host = max(self.host, self.device)

    def work(self, launches: int, host_us: float, device_us: float, *, waits: bool = False) -> Callable[[], None]:
        def call() -> None:
            for _ in range(launches):
                self.launch("kernel", host_us, device_us)
            if waits:
                self.synchronize()

        return call


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    fake = Gpu()
    flush = SimpleNamespace(zero_=lambda: fake.launch("flush", 5.0, 60.0))
    sizes: list[int] = []

    def empty(size: int, **_: Any) -> Any:
        sizes.append(size)
        return flush

    torch = SimpleNamespace(cuda=fake.cuda, device=lambda name: name, empty=empty, int32="int32")
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(cuda_timer_module.time, "perf_counter", lambda: fake.host * 1e-6)
    fake.cuda.flush_sizes = sizes
    return fake


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize(("launches", "host_us"), [(1, 4.0), (300, 9.0)])
def test_launch_overhead_is_hidden(gpu: Gpu, cold: bool, launches: int, host_us: float) -> None:
    timer = CudaTimer()
    prepared = timer.prepare(gpu.work(launches, host_us, 2.0))
    assert timer.sample(prepared, cold=cold) == pytest.approx(2.0 * launches)
    assert "launches behind a spin kernel" in timer.method(prepared, cold=cold)


def test_a_cold_sample_flushes_twice_the_l2_once_and_a_hot_one_runs_the_call_before(gpu: Gpu) -> None:
    timer = CudaTimer()
    prepared = timer.prepare(gpu.work(1, 4.0, 2.0))
    gpu.log.clear()
    timer.sample(prepared, cold=True)
    assert gpu.log == ["spin", "flush", "event", "kernel", "event"]
    gpu.log.clear()
    timer.sample(prepared, cold=False)
    assert gpu.log == ["spin", "kernel", "event", "kernel", "event"]
    assert gpu.cuda.flush_sizes == [2 * L2_BYTES // 4]
    assert "writing 100 MiB" in timer.method(prepared, cold=True)


def test_a_call_that_waits_is_told_apart_and_says_so(gpu: Gpu) -> None:
    timer = CudaTimer(graphs=True)
    prepared = timer.prepare(gpu.work(2, 30.0, 2.0, waits=True))
    assert "launches included" in timer.method(prepared, cold=False)
    assert timer.sample(prepared, cold=False) > 2 * 30.0
    slow = timer.prepare(gpu.work(1, 10.0, 1e5, waits=True))
    assert "launches included" in timer.method(slow, cold=False)


def test_a_long_device_time_alone_is_no_wait(gpu: Gpu) -> None:
    timer = CudaTimer()
    prepared = timer.prepare(gpu.work(1, 10.0, 1e5))
    assert timer.sample(prepared, cold=False) == pytest.approx(1e5)
    assert "behind a spin kernel" in timer.method(prepared, cold=False)


def test_a_host_that_stumbles_is_measured_again(gpu: Gpu) -> None:
    timer = CudaTimer()
    stumble = [0.0]

    def call() -> None:
        gpu.launch("kernel", 5.0 + stumble.pop() if stumble else 5.0, 2.0)
        gpu.launch("kernel", 5.0, 2.0)

    prepared = timer.prepare(call)
    gpu.log.clear()
    stumble[:] = [5000.0]  # the untimed call of the hot sample outlasts its spin
    assert timer.sample(prepared, cold=False) == pytest.approx(4.0)
    assert gpu.log.count("spin") == 2


def test_graphs_are_replayed_when_asked_for(gpu: Gpu) -> None:
    timer = CudaTimer(graphs=True)
    prepared = timer.prepare(gpu.work(300, 9.0, 2.0))
    assert timer.sample(prepared, cold=False) == pytest.approx(10.0)
    assert "graph replay" in timer.method(prepared, cold=False)


def test_it_serves_the_interleaved_measurement(gpu: Gpu) -> None:
    calls = {"one": gpu.work(1, 4.0, 50.0), "two": gpu.work(2, 4.0, 50.0)}
    results = measure_interleaved(calls, timer=CudaTimer(), cold=True, warmup_seconds=0.001)
    for name, expected in (("one", 50.0), ("two", 100.0)):
        result = results[name]
        assert isinstance(result, Samples)
        assert result.median_us == pytest.approx(expected)


def test_no_gpu_is_said(gpu: Gpu) -> None:
    gpu.cuda.is_available = lambda: False
    with pytest.raises(ValueError, match="expected a GPU that torch can use"):
        CudaTimer()
