"""Times as rows of slices where nothing was recorded: every case after the one before, its phases side by side.

A slice is as long as a median; where it stands says nothing. All implementations of a case begin together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..records import Record, Samples
from ..report.cases import Group, case_title, groups, has_times, is_measured
from .about import about_record
from .events import Instant, Slice
from .recorded import CASE

LAID_OUT = "laid out from medians, not a recording"
FAILED = "no time"
_GAP = 0.05  # between two cases, of the longer one
_WHOLE = "end_to_end"
Items = list[Slice | Instant]


def lanes(records: Sequence[Record]) -> dict[str, Items]:
    """By implementation: the slices of its cases, and an instant for each case in which it has no time."""
    found: dict[str, Items] = {}
    at = 0.0
    for group in groups(record for record in records if is_measured(record)):
        longest = 0.0
        for record in group.records:
            items = _items(record, at)
            found.setdefault(record.implementation, []).extend(items)
            longest = max([longest, *(item.end - at for item in items if isinstance(item, Slice))])
        at += longest * (1 + _GAP) if longest else _shortest(group)
    return found


def _shortest(group: Group) -> float:
    """Room for a case without times, in seconds for each record."""
    return 1e-5 * len(group.records)


def _items(record: Record, at: float) -> Items:
    parts: list[Slice | Instant] = []
    end = at
    for name, samples in _series(record):
        begin, end = end, end + samples.median_us * 1e-6
        parts.append(Slice(name, LAID_OUT, begin, end, _about(samples)))
    if parts:
        return [Slice(case_title(record.case), CASE, at, end, about_record(record)), *parts]
    reason = f": {record.reason}" if record.reason else ""
    return [Instant(f"{record.status}{reason}", FAILED, at, about_record(record))]


def _series(record: Record) -> Iterator[tuple[str, Samples]]:
    """What is laid out of a record: the phases in order, then the whole of them, then the layer hot and cold."""
    parts = {name: part for name, part in record.phases.items() if name != _WHOLE}
    if _WHOLE in record.phases:
        parts[_WHOLE] = record.phases[_WHOLE]
    for name, samples in (*parts.items(), ("layer, hot", record.hot), ("layer, cold", record.cold)):
        if has_times(samples):
            yield name, samples


def _about(samples: Samples) -> dict[str, object]:
    return {
        "median_us": samples.median_us,
        "low_us": samples.low_us,
        "high_us": samples.high_us,
        "samples": len(samples.samples_us),
        "method": samples.method,
        "stop": samples.stop,
        "place": LAID_OUT,
    }
