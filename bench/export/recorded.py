"""A telemetry trace as rows of slices: the windows replayed under the sampler, and the case they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..records import LabelledRun, Record, Telemetry
from ..report.cases import case_title
from ..telemetry import Trace, read_trace
from .about import about_record
from .events import Slice

CASE, PHASE = "case", "phase"
_SLACK_S = 1e-3  # a trace rounds its times, and a mark is written before the window begins


@dataclass(frozen=True)
class Recording:
    """A trace file of a run and the records whose telemetry is from it."""

    file: str
    trace: Trace
    records: tuple[Record, ...]

    @property
    def zero(self) -> float:
        """The trace's first moment, in seconds on its clock."""
        times = [items[0].t for items in (self.trace.readings, self.trace.marks) if items]
        return min(times, default=0.0)


def recordings(item: LabelledRun) -> tuple[list[Recording], list[str]]:
    """The traces of a run, and in a line each why one that a record names cannot be shown."""
    by_file: dict[str, list[Record]] = {}
    for record in item.run.records:
        if record.telemetry is not None and record.telemetry.trace:
            by_file.setdefault(Path(record.telemetry.trace).name, []).append(record)
    found, missing = [], []
    for file, records in by_file.items():
        try:
            found.append(Recording(file, read_trace(item.folder / file), tuple(records)))
        except ValueError as error:
            missing.append(str(error))
    return found, missing


def lanes(recording: Recording) -> Iterator[tuple[str, list[Slice]]]:
    """Of every lane in order of appearance: its windows, and around those of one case a slice of the case."""
    names = dict.fromkeys(mark.lane for mark in recording.trace.marks)
    for name in names:
        windows = [
            Slice(mark.name, PHASE, mark.t, end, {"replayed": "again and again for the whole slice"})
            for mark, end in recording.trace.windows(lane=name)
        ]
        records = [record for record in recording.records if record.implementation == name]
        yield name or "the watched program", _nested(_with_cases(windows, records))


def _with_cases(windows: Sequence[Slice], records: Sequence[Record]) -> list[Slice]:
    """The windows with what was measured in them; a case lasts from its first window to its last."""
    result: list[Slice] = []
    current: list[Slice] = []
    of: Record | None = None

    def close() -> None:
        if of is not None and current:
            about = about_record(of)
            result.append(Slice(case_title(of.case), CASE, current[0].begin, max(w.end for w in current), about))
        result.extend(current)

    for window in windows:
        record = next((record for record in records if _holds(window, record.telemetry)), None)
        if record is not None:
            close()
            current, of = [], record
        means = of.telemetry.phases.get(window.name) if of is not None and of.telemetry else None
        current.append(replace(window, about={**window.about, **(means or {})}))
    close()
    return result


def _holds(window: Slice, telemetry: Telemetry | None) -> bool:
    """Whether this is the window that the record's telemetry is of."""
    if telemetry is None or telemetry.begin_s is None or telemetry.end_s is None:
        return False
    return window.begin <= telemetry.begin_s + _SLACK_S and telemetry.end_s <= window.end + _SLACK_S


def _nested(slices: Sequence[Slice]) -> list[Slice]:
    """The slices by begin, the longer first, none going on after the end of one that it began in: viewers need that."""
    result: list[Slice] = []
    around: list[Slice] = []
    for item in sorted(slices, key=lambda item: (item.begin, -item.end)):
        while around and around[-1].end <= item.begin:
            around.pop()
        fitted = replace(item, end=min(item.end, around[-1].end)) if around else item
        around.append(fitted)
        result.append(fitted)
    return result
