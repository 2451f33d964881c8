"""The trace files beside a run: which there are, and which stretch of one belongs to which record."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..records import Record, Run
from ..telemetry import Trace, read_trace
from .formats import is_number

WHOLE = "layer"  # how the window of the whole call is marked; other names are phases
# Every trace that a record names: what it holds, or in words why it cannot be drawn.
Traces = Mapping[str, Trace | str]
_SLACK_S = 0.05  # a mark is written just before its window begins


@dataclass(frozen=True)
class Span:
    """Something that was replayed, from begin to end on the trace's clock, in seconds."""

    lane: str
    name: str
    begin: float
    end: float

    @property
    def whole(self) -> bool:
        """Whether it is the whole call and not a phase of it."""
        return self.name == WHOLE


def trace_name(record: Record) -> str:
    """The trace that holds a record's readings; empty where it has no telemetry or names no trace."""
    return record.telemetry.trace if record.telemetry is not None else ""


def load_traces(run: Run, folder: Path | None) -> Traces:
    """The traces that the records of `run` name, out of `folder`, where its run file lies. Never raises.

    Only a plain file in that very folder is opened: a run file comes from anybody, and its report may be shown around.
    """
    names = dict.fromkeys(filter(None, map(trace_name, run.records)))
    return {name: _load(name, folder) for name in names}


def _load(name: str, folder: Path | None) -> Trace | str:
    if folder is None:
        return "the folder of the run is not known, so neither are its traces"
    path = folder / name
    try:
        if Path(name).name != name or path.resolve().parent != folder.resolve():
            return f"{name}: expected the name of a file beside the run file"
        if not path.is_file():
            return f"{name}: not there, beside the run file"
        trace = read_trace(path)
    except Exception as error:  # whatever a damaged file does to its reader, the rest of the report is worth having
        reason = str(error).replace(str(path), name) or type(error).__name__
        return reason if name in reason else f"{name}: {reason}"
    return trace if trace.readings else f"{name}: a trace without readings"


def spans_of(trace: Trace) -> list[Span]:
    """Everything the trace marks, by time."""
    return [Span(mark.lane, mark.name, mark.t, end) for mark, end in trace.windows()]


def spans_by_record(spans: Sequence[Span], records: Sequence[Record]) -> list[list[Span]]:
    """The spans of each record: from its own window until the next record's in the same lane."""
    found: list[list[Span]] = [[] for _ in records]
    starts: dict[str, list[tuple[float, int]]] = {}
    for place, record in enumerate(records):
        begin = begin_of(record)
        if begin is not None:
            starts.setdefault(record.implementation, []).append((begin, place))
    for mine in starts.values():
        mine.sort()
    for span in spans:
        mine = starts.get(span.lane, [])
        before = bisect_right(mine, span.begin + _SLACK_S, key=lambda start: start[0])
        if before:
            found[mine[before - 1][1]].append(span)
    return found


def begin_of(record: Record) -> float | None:
    """When a record's window begins, on its trace's clock."""
    seen = record.telemetry
    return seen.begin_s if seen is not None and is_number(seen.begin_s) else None
