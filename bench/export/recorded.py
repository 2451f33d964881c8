"""A telemetry trace as rows of slices: the windows replayed under the sampler, and the case they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..records import LabelledRun, Record
from ..report.cases import case_title
from ..report.traces import Span, load_traces, spans_by_record, spans_of, trace_name
from ..telemetry import Trace
from .about import about_record
from .events import Slice

CASE, PHASE = "case", "phase"


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
    found, missing = [], []
    for file, trace in load_traces(item.run, item.folder).items():
        if isinstance(trace, str):
            missing.append(trace)
        else:
            records = tuple(record for record in item.run.records if trace_name(record) == file)
            found.append(Recording(file, trace, records))
    return found, missing


def lanes(recording: Recording) -> Iterator[tuple[str, list[Slice]]]:
    """Of every lane in order of appearance: its windows, and around those of one case a slice of the case."""
    spans = spans_of(recording.trace)
    by_record = spans_by_record(spans, recording.records)
    owned = {id(span) for mine in by_record for span in mine}
    for name in dict.fromkeys(mark.lane for mark in recording.trace.marks):
        slices = [_window(span) for span in spans if span.lane == name and id(span) not in owned]
        for record, mine in zip(recording.records, by_record, strict=True):
            if record.implementation == name and mine:
                slices += _case(record, mine)
        yield name or "the watched program", _nested(slices)


def _case(record: Record, spans: Sequence[Span]) -> Iterator[Slice]:
    """A case from its first window to its last, then the windows with the means of their stretch."""
    begin, end = min(span.begin for span in spans), max(span.end for span in spans)
    yield Slice(case_title(record.case), CASE, begin, end, about_record(record))
    phases = record.telemetry.phases if record.telemetry is not None else {}
    for span in spans:
        yield _window(span, phases.get(span.name))


def _window(span: Span, means: dict[str, float] | None = None) -> Slice:
    about = {"replayed": "again and again for the whole slice", **(means or {})}
    return Slice(span.name, PHASE, span.begin, span.end, about)


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
