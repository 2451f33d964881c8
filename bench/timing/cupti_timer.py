"""Device times from CUPTI's activity records: way "cupti"."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .activities import Activity, import_cupti, start_recorder
from .cuda_timer import STRETCHES
from .device_queue import DeviceQueue
from .timer import Call, Prepared

if TYPE_CHECKING:
    import torch

_PROBE_CYCLES = 10_000
_COUNTED_CALLS = 2


class CuptiTimer:
    """The time from the start of a call's first kernel or copy to the end of its last, by the device's own records.

    Nothing is added to the stream but the spin kernel before, which keeps launches out of the gaps between kernels.
    What events add, and what the device does before the first kernel, is not in the time. Recording costs a little
    between kernels, so a way of timing is part of a record, and times of two ways are not to be compared. `cupti` is
    the module cupti.cupti; tests give a stand-in. Raises ValueError where CUPTI cannot be used, with the reason.
    """

    def __init__(self, device: torch.device | str = "cuda", *, cupti: Any = None) -> None:
        module = import_cupti() if cupti is None else cupti
        self._queue = DeviceQueue(device)
        cuda = self._queue.torch.cuda
        with self._queue.current():
            self._recorder = start_recorder(module, lambda: cuda._sleep(_PROBE_CYCLES), cuda.synchronize)

    def close(self) -> None:
        """Stop recording: until then every launch of this process is recorded."""
        self._recorder.close()

    def seconds(self) -> float:
        """Host time, for limits."""
        return time.perf_counter()

    def prepare(self, call: Call) -> Prepared:
        """Run the call, see whether it waits for the device, and count what it gives the device to do."""
        with self._queue.current():
            call()  # compiles, allocates and selects algorithms
            launches = min(self._launches(call) for _ in range(_COUNTED_CALLS))
            if not launches:
                return Prepared(call, "host clock (the call gives the device nothing to do)", way="cpu")
            queue_us = self._queue.host_us(call)
            if self._queue.waits(call, queue_us):
                how = "launches between them included (the call waits for the device)"
                return Prepared(call, how, way="cupti", launches=launches)
            return Prepared(call, "launches behind a spin kernel", queue_us, "cupti", launches)

    def sample(self, prepared: Prepared, *, cold: bool) -> float:
        """Microseconds of one call; measured again when records were lost or the host was too slow to hide, and marked
        in `prepared.hidden` when it was too slow every time.

        Raises RuntimeError when records were lost every time.
        """
        with self._queue.current():
            if not prepared.launches:
                return self._host_sample(prepared, cold)
            kept, activity, hidden = None, Activity(), False
            for longer in STRETCHES:
                activity, queued_ns = self._attempt(prepared, cold, longer)
                if activity.lost or activity.count < prepared.launches:
                    continue
                kept, hidden = activity, activity.start_ns >= queued_ns
                if hidden or not prepared.queue_us:
                    break
        if kept is None:
            raise RuntimeError(
                f"CUPTI lost records {len(STRETCHES)} times: expected {prepared.launches} of the call, got "
                f"{activity.count}, {activity.lost} lost"
            )
        prepared.busy.append(kept.busy_ns / max(1, kept.span_ns))
        if prepared.queue_us:
            prepared.hidden.append(hidden)
        return kept.span_ns * 1e-3

    def method(self, prepared: Prepared, *, cold: bool) -> str:
        """How `sample` measures, in words."""
        before = self._queue.before_text(cold=cold)
        if not prepared.launches:
            return f"{prepared.how}, {before}"
        return f"CUPTI records, first start to last end, {prepared.how}, {before}"

    def _attempt(self, prepared: Prepared, cold: bool, longer: float) -> tuple[Activity, int]:
        """The call's activities, and when the host had queued all of it: launches are hidden when none began before."""
        self._queue.spin(longer * prepared.queue_us * (1 if cold else 2))
        self._queue.before(prepared.call, cold=cold)
        with self._recorder.mark() as number:
            prepared.call()
        queued_ns = self._recorder.now_ns()
        self._queue.torch.cuda.synchronize()
        return self._recorder.collect(number), queued_ns

    def _launches(self, call: Call) -> int:
        """How much the call gives the device to do, counted with a kernel of our own behind it: so nothing to do and
        nothing recorded can be told apart. Raises RuntimeError when records were lost every time.
        """
        cuda = self._queue.torch.cuda
        for _ in STRETCHES:
            with self._recorder.mark() as number:
                call()
                cuda._sleep(_PROBE_CYCLES)
            cuda.synchronize()
            activity = self._recorder.collect(number)
            if activity.count and not activity.lost:
                return activity.count - 1
        raise RuntimeError(f"CUPTI lost records {len(STRETCHES)} times while a call was prepared")

    def _host_sample(self, prepared: Prepared, cold: bool) -> float:
        self._queue.before(prepared.call, cold=cold)
        self._queue.torch.cuda.synchronize()
        start = time.perf_counter()
        prepared.call()
        return (time.perf_counter() - start) * 1e6
