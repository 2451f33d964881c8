"""A pretended GPU for the device timers: a host clock, and a device clock that queued work moves."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

L2_BYTES = 50 * 2**20


class Gpu:
    """Work queued at host time h starts when the device is free, not before h. All times in microseconds.

    A call that is captured is logged and takes no time; `uncapturable` makes ending a capture fail the way torch's
    does: the capturing stream stays current and, with `leaks`, the allocator goes on serving the graph's pool.
    """

    def __init__(self) -> None:
        self.host, self.device, self.log = 0.0, 0.0, list[str]()
        self.stream, self.pools = "main", set[int]()
        self.uncapturable, self.leaks, self.capturing = False, True, False
        self.launched: Callable[[str, float, float], None] = lambda name, start, end: None
        self.flush_sizes: list[int] = []
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

        self.cuda = SimpleNamespace(
            is_available=lambda: True,
            get_device_properties=lambda _: SimpleNamespace(L2_cache_size=L2_BYTES),
            current_device=lambda: 0,
            device=lambda _: nullcontext(),
            stream=self.on_stream,
            Stream=lambda: SimpleNamespace(name="side", wait_stream=lambda _: None),
            current_stream=lambda: SimpleNamespace(name=self.stream, wait_stream=lambda _: None),
            Event=Event,
            synchronize=self.synchronize,
            _sleep=lambda cycles: self.launch("spin", 1.0, cycles / 2000),
            empty_cache=self.empty_cache,
            graph_pool_handle=lambda: 7,
            CUDAGraph=lambda: SimpleNamespace(replay=lambda: self.launch("replay", 3.0, 10.0)),
            graph=self.capture,
        )
        self.torch = SimpleNamespace(
            cuda=self.cuda,
            device=lambda name: SimpleNamespace(type="cuda", index=None),
            empty=self.empty,
            int32="int32",
            _C=SimpleNamespace(_cuda_endAllocateToPool=self.end_pool),
        )

    def launch(self, name: str, host_us: float, device_us: float) -> None:
        self.log.append(name)
        if self.capturing:
            return
        self.host += host_us
        start = max(self.device, self.host)
        self.device = start + device_us
        if device_us:
            self.launched(name, start, self.device)

    def synchronize(self) -> None:
        if self.capturing:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.host = max(self.host, self.device)

    def work(self, launches: int, host_us: float, device_us: float, *, waits: bool = False) -> Callable[[], None]:
        def call() -> None:
            for _ in range(launches):
                self.launch("kernel", host_us, device_us)
            if waits:
                self.synchronize()

        return call

    @contextmanager
    def on_stream(self, stream: Any) -> Iterator[None]:
        before = self.stream
        self.stream = getattr(stream, "name", before)
        try:
            yield
        finally:
            self.stream = before

    @contextmanager
    def capture(self, graph: Any, *, pool: int) -> Iterator[None]:
        before, self.stream, self.capturing = self.stream, "capture", True
        self.pools.add(pool)
        try:
            yield
        finally:
            self.capturing = False
            if self.uncapturable:
                if not self.leaks:
                    self.pools.discard(pool)
                raise RuntimeError("operation failed due to a previous error during capture")
            self.pools.discard(pool)
            self.stream = before

    def end_pool(self, device: int, pool: int) -> None:
        if pool not in self.pools:
            raise RuntimeError("not currently recording to mempool_id")
        self.pools.discard(pool)

    def empty_cache(self) -> None:
        if self.pools:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    def empty(self, size: int, **_: Any) -> Any:
        self.flush_sizes.append(size)
        return SimpleNamespace(zero_=lambda: self.launch("flush", 5.0, 60.0))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A pretended GPU instead of torch's, and its host clock instead of the real one."""
    fake = Gpu()
    monkeypatch.setitem(sys.modules, "torch", fake.torch)
    monkeypatch.setattr(time, "perf_counter", lambda: fake.host * 1e-6)
    return fake
