"""Device times from CUDA events, with the host's launch overhead hidden: ways "events" and "graph"."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .device_queue import DeviceQueue
from .graph_capture import capture
from .timer import Call, Prepared

if TYPE_CHECKING:
    import torch

# How much longer the spin gets when the host was too slow to hide.
STRETCHES = (1.0, 4.0, 16.0)


class CudaTimer:
    """Two events around a call on the current stream, queued behind a kernel that spins while the host queues them.

    A call that waits for the device cannot be hidden that way: its time then includes launches, and the method says so.
    With `graphs`, calls that do not wait are captured and replayed; one that cannot be captured is launched as usual,
    and the method gives the reason.
    """

    def __init__(self, device: torch.device | str = "cuda", *, graphs: bool = False) -> None:
        self._queue = DeviceQueue(device)
        self._graphs = graphs

    def seconds(self) -> float:
        """Host time, for limits."""
        return time.perf_counter()

    def prepare(self, call: Call) -> Prepared:
        """Run the call, see whether it waits for the device, capture it if asked, time how long the host queues it."""
        with self._queue.current():
            call()  # compiles, allocates and selects algorithms
            queue_us = self._queue.host_us(call)
            if self._queue.waits(call, queue_us):
                so = ", so it is not captured" if self._graphs else ""
                return Prepared(call, f"launches included (the call waits for the device{so})", way="events")
            if not self._graphs:
                return Prepared(call, "launches behind a spin kernel", queue_us, "events")
            replay, reason = capture(call, self._queue)
            if replay is None:
                return Prepared(call, f"launches behind a spin kernel (not captured: {reason})", queue_us, "events")
            return Prepared(replay, "graph replay behind a spin kernel", self._queue.host_us(replay), "graph")

    def sample(self, prepared: Prepared, *, cold: bool) -> float:
        """Microseconds of one call; measured again behind a longer spin when the host was too slow to hide, and marked
        in `prepared.hidden` when it was too slow every time.
        """
        elapsed_us, hidden = 0.0, False
        with self._queue.current():
            for longer in STRETCHES:
                elapsed_us, hidden = self._attempt(prepared, cold, longer)
                if hidden or not prepared.queue_us:
                    break
        if prepared.queue_us:
            prepared.hidden.append(hidden)
        return elapsed_us

    def _attempt(self, prepared: Prepared, cold: bool, longer: float) -> tuple[float, bool]:
        """Microseconds, and whether everything was queued before the device began, so that no launch is in them."""
        cuda = self._queue.torch.cuda
        start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        self._queue.spin(longer * prepared.queue_us * (1 if cold else 2))
        self._queue.before(prepared.call, cold=cold)
        start.record()
        prepared.call()
        end.record()
        hidden = not start.query()
        end.synchronize()
        return start.elapsed_time(end) * 1e3, hidden

    def method(self, prepared: Prepared, *, cold: bool) -> str:
        """How `sample` measures, in words."""
        return f"CUDA events, {prepared.how}, {self._queue.before_text(cold=cold)}"
