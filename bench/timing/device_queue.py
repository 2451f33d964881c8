"""The queue of a GPU: work is lined up behind a kernel that spins, so that the device never waits for the host."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .timer import Call

if TYPE_CHECKING:
    import torch

# The spin must last longer than the host needs to queue everything behind it.
_SPIN_MARGIN = 2.0
_SPIN_EXTRA_US = 50.0
_MOST_SPIN_US = 50_000.0
_CALIBRATION_CYCLES = 2_000_000
_PROBE_US = 5_000.0
_FEWEST_FLUSH_BYTES = 32 * 2**20


class DeviceQueue:
    """The current stream of one GPU, as the device timers use it. Raises ValueError where torch can use none."""

    def __init__(self, device: torch.device | str) -> None:
        import torch

        if not torch.cuda.is_available():
            raise ValueError(f"device: expected a GPU that torch can use for {device}, found none")
        self.torch = torch
        self.device = torch.device(device)
        l2_bytes = int(torch.cuda.get_device_properties(self.device).L2_cache_size)
        self.flush_bytes = max(2 * l2_bytes, _FEWEST_FLUSH_BYTES)
        self._buffer = torch.empty(self.flush_bytes // 4, dtype=torch.int32, device=self.device)
        self._cycles_per_us = self._calibrate()

    def current(self) -> Any:
        """A context in which the device is the current one."""
        return self.torch.cuda.device(self.device)

    def spin(self, queue_us: float) -> None:
        """Keep the device busy for longer than the host needs to queue work of `queue_us`."""
        self._spin(min(queue_us * _SPIN_MARGIN + _SPIN_EXTRA_US, _MOST_SPIN_US))

    def before(self, call: Call, *, cold: bool) -> None:
        """What precedes a sample of `call`: all of L2 overwritten, or the same call."""
        if cold:
            self._buffer.zero_()
        else:
            call()

    def before_text(self, *, cold: bool) -> str:
        """The same in words."""
        return f"L2 flushed by writing {self.flush_bytes / 2**20:.0f} MiB" if cold else "right after the same call"

    def host_us(self, call: Call) -> float:
        """How long the host is busy with the call when the device is idle, the longest of three."""
        longest = 0.0
        for _ in range(3):
            self.torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            longest = max(longest, time.perf_counter() - start)
        self.torch.cuda.synchronize()
        return longest * 1e6

    def waits(self, call: Call, host_us: float) -> bool:
        """Whether the host returns from the call only when the device is done, whatever library launches it: seen by
        making the device spin for much longer than the host needs.

        A call that launches more than the driver's queue holds (about a thousand kernels) waits too.
        """
        spin_us = 3 * host_us + _PROBE_US
        self.torch.cuda.synchronize()
        self._spin(spin_us)
        start = time.perf_counter()
        call()
        passed_us = (time.perf_counter() - start) * 1e6
        self.torch.cuda.synchronize()
        return passed_us > spin_us / 2 + host_us

    def _spin(self, microseconds: float) -> None:
        self.torch.cuda._sleep(int(microseconds * self._cycles_per_us))

    def _calibrate(self) -> float:
        """Cycles of the spin kernel in a microsecond; the second of two, the first wakes the clocks."""
        cuda, elapsed_us = self.torch.cuda, 0.0
        with self.current():
            for _ in range(2):
                start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
                start.record()
                cuda._sleep(_CALIBRATION_CYCLES)
                end.record()
                end.synchronize()
                elapsed_us = start.elapsed_time(end) * 1e3
        return _CALIBRATION_CYCLES / elapsed_us
