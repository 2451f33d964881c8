"""What the device did in one call, from CUPTI's activity records (package cupti-python)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# What occupies the device. The API records are there for their correlation ids alone: CUPTI writes an external
# correlation beside each, and a kernel or copy carries the id of the API call that launched it.
_DEVICE_KINDS = ("CONCURRENT_KERNEL", "MEMCPY", "MEMCPY2", "MEMSET")
_API_KINDS = ("RUNTIME", "DRIVER", "EXTERNAL_CORRELATION")
_FLUSH_FORCED = 1  # CUPTI_ACTIVITY_FLAG_FLUSH_FORCED: buffers that are not full are delivered too
_BUFFER_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Activity:
    """Kernels, copies and fills of one marked call, on CUPTI's clock.

    count:    how many there are
    start_ns: the first one's start;  end_ns: the last one's end;  busy_ns: the time between in which any of them ran
    lost:     records that were dropped, or that came without a time
    """

    count: int = 0
    start_ns: int = 0
    end_ns: int = 0
    busy_ns: int = 0
    lost: int = 0

    @property
    def span_ns(self) -> int:
        """From the first one's start to the last one's end."""
        return self.end_ns - self.start_ns


class ActivityRecorder:
    """Records the device's activities from its making until `close`. `cupti` is the module cupti.cupti.

    CUPTI has one pair of buffer callbacks for a process: the newest recorder gets all records.
    """

    def __init__(self, cupti: Any) -> None:
        self._cupti = cupti
        self._correlation = cupti.ExternalCorrelationKind.CUSTOM0
        self._kinds = [getattr(cupti.ActivityKind, name) for name in (*_DEVICE_KINDS, *_API_KINDS)]
        self._device_kinds = {int(kind) for kind in self._kinds[: len(_DEVICE_KINDS)]}
        self._records: list[Any] = []
        self._marked = 0
        # CUPTI calls these from threads of its own; a list's append is safe there.
        cupti.activity_register_callbacks(lambda: (_BUFFER_BYTES, 0), self._take)
        for kind in self._kinds:
            cupti.activity_enable(kind)

    def now_ns(self) -> int:
        """CUPTI's clock, that of the records."""
        return int(self._cupti.get_timestamp())

    @contextmanager
    def mark(self) -> Iterator[int]:
        """What is launched inside belongs to the number given."""
        self._marked += 1
        self._cupti.activity_push_external_correlation_id(self._correlation, self._marked)
        try:
            yield self._marked
        finally:
            self._cupti.activity_pop_external_correlation_id(self._correlation)

    def collect(self, number: int) -> Activity:
        """What was marked with `number`; everything else so far is forgotten. The device has been waited for."""
        self._cupti.activity_flush_all(_FLUSH_FORCED)
        records, self._records = self._records, []
        correlation = int(self._cupti.ActivityKind.EXTERNAL_CORRELATION)
        ours = {
            record.correlation_id
            for record in records
            if record.kind == correlation and record.external_kind == self._correlation and record.external_id == number
        }
        spans = [
            (int(record.start), int(record.end))
            for record in records
            if record.kind in self._device_kinds and record.correlation_id in ours
        ]
        timed = sorted(span for span in spans if span[1] > 0)
        lost = self._dropped() + len(spans) - len(timed)
        if not timed:
            return Activity(lost=lost)
        return Activity(len(timed), timed[0][0], max(end for _, end in timed), _covered(timed), lost)

    def close(self) -> None:
        """Stop recording."""
        self._cupti.activity_flush_all(_FLUSH_FORCED)
        for kind in self._kinds:
            self._cupti.activity_disable(kind)
        self._records = []

    def _take(self, records: list[Any]) -> None:
        self._records.extend(records)

    def _dropped(self) -> int:
        """Records dropped since the last question."""
        count = ctypes.c_size_t(0)
        self._cupti.activity_get_num_dropped_records(0, 0, ctypes.addressof(count))
        return count.value


def _covered(spans: list[tuple[int, int]]) -> int:
    """The length of the union of spans, sorted by start."""
    total, reach = 0, 0
    for start, end in spans:
        total += max(0, end - max(start, reach))
        reach = max(reach, end)
    return total


def import_cupti() -> Any:
    """The module cupti.cupti. Raises ValueError with the reason why it cannot be used."""
    try:
        from cupti import cupti  # pyright: ignore[reportMissingImports]  (an optional package, for machines with a GPU)
    except ImportError as error:
        raise ValueError(f"timer cupti: expected the package cupti-python, and cannot import it: {error}") from error
    return cupti


def start_recorder(cupti: Any, launch: Callable[[], Any], synchronize: Callable[[], Any]) -> ActivityRecorder:
    """A recorder that was seen to record: `launch` runs one kernel. Raises ValueError with CUPTI's reason."""
    try:
        recorder = ActivityRecorder(cupti)
        with recorder.mark() as number:
            launch()
        synchronize()
        seen = recorder.collect(number)
    except Exception as error:  # the package has exceptions of its own: not permitted, driver too old, taken by another
        raise ValueError(f"timer cupti: CUPTI refuses: {type(error).__name__}: {error}") from error
    if not seen.count:
        recorder.close()
        raise ValueError("timer cupti: expected a record of a kernel that was launched to see, got none")
    return recorder
