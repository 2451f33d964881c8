"""The trace files beside a run: which there are, and which stretch of one belongs to which record."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..records import Record, Run
from ..telemetry import Trace, begin_reading
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


class _Begun(Mapping[str, Trace | str]):
    """Traces by name, each waited for when it is first asked for."""

    def __init__(self, waits: Mapping[str, Callable[[], Trace | str]]) -> None:
        self._waits = waits
        self._found: dict[str, Trace | str] = {}

    def __getitem__(self, name: str) -> Trace | str:
        if name not in self._found:
            self._found[name] = self._waits[name]()
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._waits)

    def __len__(self) -> int:
        return len(self._waits)


def load_traces(run: Run, folder: Path | None) -> Traces:
    """The traces that the records of `run` name, out of `folder`, where its run file lies. Never raises.

    Only a plain file in that very folder is opened: a run file comes from anybody, and its report may be shown around.
    Large ones are read by processes of their own until they are asked for.
    """
    names = dict.fromkeys(filter(None, map(trace_name, run.records)))
    return _Begun({name: _begin(name, folder) for name in names})


def _begin(name: str, folder: Path | None) -> Callable[[], Trace | str]:
    if folder is None:
        return lambda: "the folder of the run is not known, so neither are its traces"
    path = folder / name
    try:
        if Path(name).name != name or path.resolve().parent != folder.resolve():
            return lambda: f"{name}: expected the name of a file beside the run file"
        if not path.is_file():
            return lambda: f"{name}: not there, beside the run file"
        return partial(_wait, name, path, begin_reading(path))
    except (OSError, ValueError) as error:  # a name that no path can have
        return partial(_reason, name, path, error)


def _wait(name: str, path: Path, wait: Callable[[], Trace]) -> Trace | str:
    try:
        trace = wait()
    except Exception as error:  # whatever a damaged file does to its reader, the rest of the report is worth having
        return _reason(name, path, error)
    return trace if trace.readings else f"{name}: a trace without readings"


def _reason(name: str, path: Path, error: Exception) -> str:
    reason = str(error).replace(str(path), name) or type(error).__name__
    return reason if name in reason else f"{name}: {reason}"


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
