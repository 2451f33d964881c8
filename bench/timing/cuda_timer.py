"""Device times from CUDA events, with the host's launch overhead hidden."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .timer import Call, Prepared

if TYPE_CHECKING:
    import torch

# The spin must last longer than the host needs to queue everything behind it.
_SPIN_MARGIN = 2.0
_SPIN_EXTRA_US = 50.0
_MOST_SPIN_US = 50_000.0
_CALIBRATION_CYCLES = 2_000_000
_PROBE_US = 5_000.0
_FEWEST_FLUSH_BYTES = 32 * 2**20


class CudaTimer:
    """Two events around a call on the current stream, queued behind a kernel that spins while the host queues them.

    A call that waits for the device cannot be hidden that way: its time then includes launches, and the method says so.
    With `graphs`, calls that do not wait are captured and replayed. That is for callers who know that the call can be
    captured: up to torch 2.11 a failed capture leaves torch's allocator believing that one is under way (pytorch pull
    request 180395), which spoils the process.
    """

    def __init__(self, device: torch.device | str = "cuda", *, graphs: bool = False) -> None:
        import torch

        if not torch.cuda.is_available():
            raise ValueError(f"device: expected a GPU that torch can use for {device}, found none")
        self._torch = torch
        self._device = torch.device(device)
        self._graphs = graphs
        l2_bytes = int(torch.cuda.get_device_properties(self._device).L2_cache_size)
        self._flush_bytes = max(2 * l2_bytes, _FEWEST_FLUSH_BYTES)
        self._flush = torch.empty(self._flush_bytes // 4, dtype=torch.int32, device=self._device)
        self._cycles_per_us = self._calibrate()

    def seconds(self) -> float:
        """Host time, for limits."""
        return time.perf_counter()

    def prepare(self, call: Call) -> Prepared:
        """Run the call, see whether it waits for the device, capture it if asked, and time how long the host queues it.

        A call that launches more than the driver's queue holds (about a thousand kernels) waits too.
        """
        with self._torch.cuda.device(self._device):
            call()  # compiles, allocates and selects algorithms
            queue_us = self._host_us(call)
            if self._waits(call, queue_us):
                return Prepared(call, "launches included (the call waits for the device)")
            if not self._graphs:
                return Prepared(call, "launches behind a spin kernel", queue_us)
            replay = self._captured(call).replay
            return Prepared(replay, "graph replay behind a spin kernel", self._host_us(replay))

    def sample(self, prepared: Prepared, *, cold: bool) -> float:
        """Microseconds of one call; measured again behind a longer spin when the host was too slow to hide."""
        with self._torch.cuda.device(self._device):
            for longer in (1.0, 4.0, 16.0):
                elapsed_us, hidden = self._attempt(prepared, cold, longer)
                if hidden or not prepared.queue_us:
                    break
        return elapsed_us

    def _attempt(self, prepared: Prepared, cold: bool, longer: float) -> tuple[float, bool]:
        """Microseconds, and whether everything was queued before the device began, so that no launch is in them."""
        start, end = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._spin(longer * prepared.queue_us * (1 if cold else 2))
        if cold:
            self._flush.zero_()
        else:
            prepared.call()
        start.record()
        prepared.call()
        end.record()
        hidden = not start.query()
        end.synchronize()
        return start.elapsed_time(end) * 1e3, hidden

    def method(self, prepared: Prepared, *, cold: bool) -> str:
        """How `sample` measures, in words."""
        before = f"L2 flushed by writing {self._flush_bytes / 2**20:.0f} MiB" if cold else "right after the same call"
        return f"CUDA events, {prepared.how}, {before}"

    def _calibrate(self) -> float:
        """Cycles of the spin kernel in a microsecond; the second of two, the first wakes the clocks."""
        torch = self._torch
        elapsed_us = 0.0
        with torch.cuda.device(self._device):
            for _ in range(2):
                start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                start.record()
                torch.cuda._sleep(_CALIBRATION_CYCLES)
                end.record()
                end.synchronize()
                elapsed_us = start.elapsed_time(end) * 1e3
        return _CALIBRATION_CYCLES / elapsed_us

    def _spin(self, queue_us: float) -> None:
        wanted_us = queue_us * _SPIN_MARGIN + _SPIN_EXTRA_US
        self._torch.cuda._sleep(int(min(wanted_us, _MOST_SPIN_US) * self._cycles_per_us))

    def _host_us(self, call: Call) -> float:
        """How long the host is busy with the call when the device is idle, the longest of three."""
        longest = 0.0
        for _ in range(3):
            self._torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            longest = max(longest, time.perf_counter() - start)
        self._torch.cuda.synchronize()
        return longest * 1e6

    def _waits(self, call: Call, host_us: float) -> bool:
        """Whether the host returns from the call only when the device is done, whatever library launches it: seen by
        making the device spin for much longer than the host needs.
        """
        spin_us = 3 * host_us + _PROBE_US
        self._torch.cuda.synchronize()
        self._torch.cuda._sleep(int(spin_us * self._cycles_per_us))
        start = time.perf_counter()
        call()
        passed_us = (time.perf_counter() - start) * 1e6
        self._torch.cuda.synchronize()
        return passed_us > spin_us / 2 + host_us

    def _captured(self, call: Call) -> Any:
        """The call as a CUDA graph, after the warm-up on a side stream that capturing asks for."""
        torch = self._torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                call()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        return graph
