"""The trace event format that ui.perfetto.dev and chrome://tracing open, as lines of JSON.

Times are in microseconds. A process is a group of rows, a thread a row of slices; slices of a thread must nest. A
counter belongs to a process; Perfetto calls it by the event's name and the key of its value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..records.codec import dumps


@dataclass(frozen=True)
class Slice:
    """Something that lasts from `begin` to `end`, in seconds. kind: its category, by which a viewer can filter."""

    name: str
    kind: str
    begin: float
    end: float
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Instant:
    """Something that happened at `at`, in seconds."""

    name: str
    kind: str
    at: float
    about: dict[str, Any] = field(default_factory=dict)


@dataclass
class Process:
    """A process of the file: numbered, with a row for each lane it is asked for."""

    number: int
    name: str
    _threads: dict[str, int] = field(default_factory=dict)

    def named(self) -> Iterator[str]:
        """The process's name and place."""
        yield self._metadata("process_name", {"name": self.name})
        yield self._metadata("process_sort_index", {"sort_index": self.number})

    def lane(self, name: str, items: Iterable[Slice | Instant], zero: float = 0.0) -> Iterator[str]:
        """The lane's row, named when it is first met, and what is on it; times count from `zero`, in seconds."""
        if name not in self._threads:
            # Perfetto takes numbers of threads for those of the whole machine, so no two processes share one.
            self._threads[name] = self.number * 1000 + len(self._threads) + 1
            yield self._metadata("thread_name", {"name": name}, self._threads[name])
            yield self._metadata("thread_sort_index", {"sort_index": len(self._threads)}, self._threads[name])
        for item in items:
            place = {"pid": self.number, "tid": self._threads[name], "cat": item.kind, "name": item.name}
            if isinstance(item, Slice):
                when = {"ph": "X", "ts": _us(item.begin - zero), "dur": _us(item.end - item.begin)}
            else:
                when = {"ph": "i", "s": "t", "ts": _us(item.at - zero)}
            yield dumps({**when, **place, "args": item.about})

    def counter(self, name: str, key: str, points: Iterable[tuple[float, float]], zero: float = 0.0) -> Iterator[str]:
        """A counter's values by time, in seconds. There may be very many, so only numbers are put into the text."""
        begin = dumps({"ph": "C", "pid": self.number, "name": name})[:-1]
        middle = f'"args":{{{dumps(key)}:'
        for t, value in points:
            yield f'{begin},"ts":{(t - zero) * 1e6:.3f},{middle}{value!r}}}}}'

    def _metadata(self, name: str, values: Mapping[str, Any], thread: int | None = None) -> str:
        place = {"pid": self.number} if thread is None else {"pid": self.number, "tid": thread}
        return dumps({"ph": "M", **place, "name": name, "args": values})


def document(about: Mapping[str, Any], events: Iterable[str]) -> Iterator[str]:
    """The whole file: what it says of itself, then the events, one a line."""
    # Perfetto knows the format by its first two characters.
    yield f'{{"displayTimeUnit":"ms","otherData":{dumps(about)},"traceEvents":['
    before = "\n"
    for event in events:
        yield before + event
        before = ",\n"
    yield "\n]}\n"


def _us(seconds: float) -> float:
    """Microseconds to a thousandth, never below zero."""
    return max(0.0, round(seconds * 1e6, 3))
