"""Events and graphs on a pretended GPU (conftest.py): what is hidden, what is flushed, what cannot be captured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mohge.bench.records import Samples
from mohge.bench.timing import by_clocks, measure_interleaved
from mohge.bench.timing.cuda_timer import CudaTimer

L2_BYTES = 50 * 2**20


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize(("launches", "host_us"), [(1, 4.0), (300, 9.0)])
def test_launch_overhead_is_hidden(gpu: Any, cold: bool, launches: int, host_us: float) -> None:
    timer = CudaTimer()
    prepared = timer.prepare(gpu.work(launches, host_us, 2.0))
    assert timer.sample(prepared, cold=cold) == pytest.approx(2.0 * launches)
    assert "launches behind a spin kernel" in timer.method(prepared, cold=cold)


def test_a_cold_sample_flushes_twice_the_l2_once_and_a_hot_one_runs_the_call_before(gpu: Any) -> None:
    timer = CudaTimer()
    prepared = timer.prepare(gpu.work(1, 4.0, 2.0))
    gpu.log.clear()
    timer.sample(prepared, cold=True)
    assert gpu.log == ["spin", "flush", "event", "kernel", "event"]
    gpu.log.clear()
    timer.sample(prepared, cold=False)
    assert gpu.log == ["spin", "kernel", "event", "kernel", "event"]
    assert gpu.flush_sizes == [2 * L2_BYTES // 4]
    assert "writing 100 MiB" in timer.method(prepared, cold=True)


def test_a_call_that_waits_is_told_apart_and_says_so(gpu: Any) -> None:
    timer = CudaTimer(graphs=True)
    prepared = timer.prepare(gpu.work(2, 30.0, 2.0, waits=True))
    assert "launches included" in timer.method(prepared, cold=False)
    assert timer.sample(prepared, cold=False) > 2 * 30.0
    slow = timer.prepare(gpu.work(1, 10.0, 1e5, waits=True))
    assert "launches included" in timer.method(slow, cold=False)


def test_a_long_device_time_alone_is_no_wait(gpu: Any) -> None:
    timer = CudaTimer()
    prepared = timer.prepare(gpu.work(1, 10.0, 1e5))
    assert timer.sample(prepared, cold=False) == pytest.approx(1e5)
    assert "behind a spin kernel" in timer.method(prepared, cold=False)


def test_a_host_that_stumbles_is_measured_again(gpu: Any) -> None:
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


def test_a_host_too_slow_every_time_marks_the_sample(gpu: Any) -> None:
    timer = CudaTimer()
    slow = [5.0]
    prepared = timer.prepare(lambda: (gpu.launch("kernel", 5.0, 2.0), gpu.launch("kernel", slow[0], 2.0)))
    assert timer.sample(prepared, cold=True) == pytest.approx(4.0)
    slow[0] = 1e5  # longer than the longest spin
    assert timer.sample(prepared, cold=True) > 4e4
    assert prepared.hidden == [True, False]
    waiting = timer.prepare(gpu.work(2, 30.0, 2.0, waits=True))
    timer.sample(waiting, cold=True)
    assert waiting.hidden == []  # its method says that launches are in it


@pytest.mark.parametrize(("bad", "fate"), [({2, 4}, "left out"), ({1, 2, 3, 4, 5}, "counted: too few others")])
def test_samples_with_launches_in_them_are_suspect_for_their_call_alone(gpu: Any, bad: set[int], fate: str) -> None:
    done = [0]

    def shaky() -> None:
        gpu.launch("kernel", 5.0, 20.0)
        gpu.launch("kernel", 1e5 if done[0] in bad else 5.0, 20.0)

    found = measure_interleaved(
        {"shaky": shaky, "steady": gpu.work(1, 4.0, 50.0)},
        timer=CudaTimer(),
        cold=True,
        min_samples=9,
        max_samples=9,
        warmup_seconds=0,
        on_progress=lambda rounds, _: done.__setitem__(0, rounds),
    )
    suspect, steady = found["shaky"], found["steady"]
    assert isinstance(suspect, Samples)
    assert isinstance(steady, Samples)
    assert suspect.unhidden == suspect.suspects == sorted(bad)
    assert suspect.method.endswith(f"; {len(bad)} of 9 samples have launches in them, the host was too slow: {fate}")
    assert (suspect.median_us < 50.0) == (fate == "left out")
    assert by_clocks(suspect) == 0
    assert (steady.unhidden, steady.suspects, steady.median_us) == ([], [], pytest.approx(50.0))
    assert suspect.stop == steady.stop  # rounds of one measurement are known by it


def test_graphs_are_replayed_when_asked_for(gpu: Any) -> None:
    timer = CudaTimer(graphs=True)
    prepared = timer.prepare(gpu.work(300, 9.0, 2.0))
    assert timer.sample(prepared, cold=False) == pytest.approx(10.0)
    assert "graph replay" in timer.method(prepared, cold=False)
    assert prepared.way == "graph"


@pytest.mark.parametrize("leaks", [True, False])
def test_what_cannot_be_captured_is_launched_and_the_process_stays_sound(gpu: Any, leaks: bool) -> None:
    timer = CudaTimer(graphs=True)
    gpu.uncapturable, gpu.leaks = True, leaks
    prepared = timer.prepare(gpu.work(2, 4.0, 3.0))
    assert (gpu.stream, gpu.pools) == ("main", set())
    assert prepared.way == "events"
    assert "not captured: RuntimeError: operation failed" in timer.method(prepared, cold=False)
    assert timer.sample(prepared, cold=False) == pytest.approx(6.0)
    gpu.uncapturable = False
    assert timer.prepare(gpu.work(1, 4.0, 3.0)).way == "graph"


def test_the_reason_is_what_went_wrong_first(gpu: Any) -> None:
    def call() -> None:
        gpu.launch("kernel", 4.0, 3.0)
        if gpu.capturing:
            gpu.uncapturable = True
            raise ValueError("an allocation\nwith details")

    timer = CudaTimer(graphs=True)
    prepared = timer.prepare(call)
    assert "not captured: ValueError: an allocation)" in timer.method(prepared, cold=False)
    assert (gpu.stream, gpu.pools) == ("main", set())


def test_a_process_that_a_failed_capture_has_spoiled_is_said(gpu: Any) -> None:
    timer = CudaTimer(graphs=True)
    gpu.uncapturable = True
    gpu.torch._C = SimpleNamespace()
    with pytest.raises(RuntimeError, match="captures_underway"):
        timer.prepare(gpu.work(1, 4.0, 3.0))


def test_a_call_that_waits_is_not_captured_and_says_so(gpu: Any) -> None:
    timer = CudaTimer(graphs=True)
    prepared = timer.prepare(gpu.work(2, 30.0, 2.0, waits=True))
    assert prepared.way == "events"
    assert "waits for the device, so it is not captured" in timer.method(prepared, cold=True)


def test_it_serves_the_interleaved_measurement(gpu: Any) -> None:
    calls = {"one": gpu.work(1, 4.0, 50.0), "two": gpu.work(2, 4.0, 50.0)}
    results = measure_interleaved(calls, timer=CudaTimer(), cold=True, warmup_seconds=0.001)
    for name, expected in (("one", 50.0), ("two", 100.0)):
        result = results[name]
        assert isinstance(result, Samples)
        assert result.median_us == pytest.approx(expected)
        assert result.timer == "events"


def test_no_gpu_is_said(gpu: Any) -> None:
    gpu.cuda.is_available = lambda: False
    with pytest.raises(ValueError, match="expected a GPU that torch can use"):
        CudaTimer()
