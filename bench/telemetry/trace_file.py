"""The trace file: JSON lines, appended one by one, readable after its writer was killed at any moment.

A header line opens a stretch: {"trace": 1, "source", "device", "started", "period_s", "boot", "unavailable"}. Then
come readings {"t": seconds, metric: number, ...} and marks {"t": seconds, "mark": "begin" | "end", "lane", "name"}, and
at the end, when there was time for it, {"t": seconds, "end": why, "cost": {...}, "unavailable": {...}}. t is
CLOCK_MONOTONIC, which all processes of a Linux machine share until it is booted again: the sampler and the program it
watches write the same file. Several stretches of one device may follow each other.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..records import uncollected
from .readings import Readings
from .source import METRICS, Reading
from .trace_lines import Block, sorted_lines

TRACE = 1  # raised when a line changes its meaning
FILE_NAME = "trace.jsonl"
SOURCES = ("nvml", "recorded", "synthetic")


@dataclass(frozen=True)
class Mark:
    """A phase of the watched program begins or ends. lane: whose (an implementation); name: which."""

    t: float
    mark: str
    lane: str
    name: str


@dataclass(frozen=True)
class Cost:
    """What sampling took. cpu_s: CPU time of the sampling process between its first reading and its last, wall_s apart.

    read_us: mean time one reading takes;  late_s: the longest that a reading came after its time
    """

    cpu_s: float
    wall_s: float
    readings: int
    read_us: float = 0.0
    late_s: float = 0.0

    @property
    def core_share(self) -> float:
        """The share of one core that sampling took; 0 when there was no time to take any."""
        return self.cpu_s / self.wall_s if self.wall_s > 0 else 0.0


@dataclass(frozen=True)
class Header:
    """source: one of SOURCES;  device: name, uuid, ...;  period_s: time between readings;  boot: which boot's clock."""

    source: str
    device: dict[str, Any]
    started: str
    period_s: float
    unavailable: dict[str, str] = field(default_factory=dict)
    boot: str = ""

    def line(self) -> dict[str, Any]:
        """As the file has it."""
        return {"trace": TRACE, **asdict(self)}


@dataclass(frozen=True)
class Trace:
    """A trace file: readings and marks by time; costs are empty and end too where the writer was killed."""

    header: Header
    readings: Sequence[Reading]
    marks: tuple[Mark, ...]
    costs: tuple[Cost, ...] = ()
    end: str = ""

    @cached_property
    def table(self) -> Readings:
        """The readings as columns."""
        return self.readings if isinstance(self.readings, Readings) else Readings.of(self.readings)

    def series(self, metric: str, begin: float = -math.inf, end: float = math.inf) -> tuple[list[float], list[float]]:
        """Times and values of a metric in the window [begin, end]."""
        times, values = self.table.between(begin, end).series(metric)
        return times.tolist(), values.tolist()

    def windows(self, lane: str | None = None, name: str | None = None) -> list[tuple[Mark, float]]:
        """Every begin mark, of this lane and name where given, with the time of its end (the last reading without)."""
        found: list[tuple[Mark, float]] = []
        open_marks: dict[tuple[str, str], Mark] = {}
        for mark in self.marks:
            key = (mark.lane, mark.name)
            if mark.mark == "begin":
                open_marks[key] = mark
            elif key in open_marks:
                found.append((open_marks.pop(key), mark.t))
        last = float(self.table.times.max(initial=-math.inf))
        found += [(mark, max(last, mark.t)) for mark in open_marks.values()]
        chosen = [w for w in found if lane in (None, w[0].lane) and name in (None, w[0].name)]
        return sorted(chosen, key=lambda window: window[0].t)


class TraceWriter:
    """Appends lines to a trace file, each by one write, so that two processes may write and either may be killed."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError when the file cannot be written."""
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ValueError(f"{path}: cannot be written: {error.strerror}") from error
        self._path = path

    def header(self, header: Header) -> None:
        """Open a stretch; on a line of its own also after one that was torn."""
        with self._path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            torn = file.read(1) not in (b"", b"\n")
        self._write(("\n" if torn else "") + _dumps(header.line()))

    def reading(self, reading: Reading) -> None:
        """A line for every reading the device kept on its own, and one for the reading itself."""
        lines = [_dumps({"t": round(r.t, 6), **r.values}) for r in (*reading.earlier, reading) if r.values]
        if lines:
            self._write("".join(lines))

    def mark(self, mark: Mark) -> None:
        """A phase begins or ends."""
        self._write(_dumps({**asdict(mark), "t": round(mark.t, 6)}))

    def end(self, t: float, why: str, cost: Cost, unavailable: Mapping[str, str]) -> None:
        """Close the stretch: why it ended, what sampling took, and what became unavailable since the header."""
        shares = {**asdict(cost), "core_share": cost.core_share}
        self._write(_dumps({"t": round(t, 6), "end": why, "cost": shares, "unavailable": dict(unavailable)}))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _write(self, text: str) -> None:
        try:
            os.write(self._file, text.encode())
        except OSError as error:
            raise ValueError(f"{self._path}: cannot be written: {error.strerror}") from error


@uncollected()
def read_trace(path: str | Path, start: int = 0) -> Trace:
    """The trace in a file. A last line that is torn, also that of an earlier stretch, is left out.

    start: the byte from which on it is read: where a stretch was begun, for that one and those after it
    Raises ValueError in one line for what is no trace, with the line where it stops being one.
    """
    try:
        blocks, others = sorted_lines(Path(path), start)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    tables, torn = _parsed(others)
    headers = {number for number, table in tables if "trace" in table}
    whole = {number for number, _ in tables}.union(*(block.numbers.tolist() for block in blocks if torn))
    for number in torn:
        if number + 1 in whole - headers:
            raise ValueError(f"{path}: not a trace: line {number} is not a JSON object")
    first = min((int(block.numbers[0]) for block in blocks), default=math.inf)
    if not tables or tables[0][0] not in headers or first < tables[0][0]:
        raise ValueError(f"{path}: not a trace: expected a header line with the field trace")
    return _assemble(path, tables, blocks)


def _parsed(lines: Iterable[tuple[int, bytes]]) -> tuple[list[tuple[int, dict[str, Any]]], list[int]]:
    """The objects of lines with their numbers, and the numbers of those that are none."""
    tables: list[tuple[int, dict[str, Any]]] = []
    torn: list[int] = []
    for number, line in lines:
        try:
            table = json.loads(line)
            if not isinstance(table, dict):
                raise ValueError("expected an object")
        except ValueError:
            torn.append(number)
        else:
            tables.append((number, table))
    return tables, torn


def _assemble(path: str | Path, tables: list[tuple[int, dict[str, Any]]], blocks: list[Block]) -> Trace:
    headers: list[Header] = []
    readings: list[tuple[int, Reading]] = []
    marks: list[Mark] = []
    costs: list[Cost] = []
    unavailable: dict[str, str] = {}
    end = ""
    for number, table in tables:
        try:
            if "trace" in table:
                headers.append(_header(table))
                end = ""
            elif "mark" in table:
                marks.append(_mark(table))
            elif "end" in table:
                end = str(table["end"])
                unavailable |= table.get("unavailable", {})
                costs.append(_cost(table["cost"]))
            else:
                readings.append((number, _reading(table)))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a trace: line {number}: {_why(error)}") from error
    for header in headers:
        if (header.device.get("uuid"), header.source, header.boot) != _identity(headers[0]):
            raise ValueError(f"{path}: expected one device and one boot of the machine, got several")
        unavailable = {**header.unavailable, **unavailable}
    merged = Header(**{**asdict(headers[0]), "unavailable": unavailable})
    marks.sort(key=lambda mark: mark.t)
    return Trace(merged, _together(blocks, readings), tuple(marks), tuple(costs), end)


def _together(blocks: Sequence[Block], readings: Sequence[tuple[int, Reading]]) -> Readings:
    """All readings by time, those of one time as the file has them. readings: with the numbers of their lines."""
    apart = Readings.of([reading for _, reading in readings])
    parts = [
        Readings(block.values[:, block.names.index("t")], dict(zip(block.names, block.values.T, strict=True)))
        for block in blocks
    ]
    parts.append(apart)
    numbers = np.concatenate([*(block.numbers for block in blocks), [number for number, _ in readings]])
    times = np.concatenate([part.times for part in parts])
    order = np.lexsort((numbers, times))
    columns = {}
    for name in METRICS:
        if any(name in part.columns for part in parts):
            column = [part.columns.get(name, np.full(len(part), np.nan)) for part in parts]
            columns[name] = np.concatenate(column)[order]
    return Readings(times[order], columns)


def _identity(header: Header) -> tuple[Any, str, str]:
    return header.device.get("uuid"), header.source, header.boot


def _header(table: dict[str, Any]) -> Header:
    if table["trace"] != TRACE:
        raise ValueError(f"expected a trace of version {TRACE}, got {table['trace']!r}")
    _number(table, "period_s")
    header = _picked(Header, table)
    if header.source not in SOURCES:
        raise ValueError(f"source: expected one of {', '.join(SOURCES)}, got {header.source!r}")
    if not isinstance(header.device, dict) or not isinstance(header.unavailable, dict):
        raise ValueError("expected device and unavailable to be objects")
    return header


def _cost(table: dict[str, Any]) -> Cost:
    for name in {item.name for item in fields(Cost)} & table.keys():
        _number(table, name)
    return _picked(Cost, table)


def _mark(table: dict[str, Any]) -> Mark:
    if table["mark"] not in ("begin", "end"):
        raise ValueError(f"mark: expected begin or end, got {table['mark']!r}")
    return Mark(_number(table, "t"), table["mark"], str(table["lane"]), str(table["name"]))


def _reading(table: dict[str, Any]) -> Reading:
    # A metric that this version does not know may be of a newer one.
    values = {name: value for name, value in table.items() if name in METRICS}
    if not (set(map(type, values.values())) <= {int, float} and all(map(_finite, values.values()))):
        values = {name: _number(table, name) for name in values}  # says which one is no number
    return Reading(_number(table, "t"), values)


def _number(table: dict[str, Any], name: str) -> float:
    value = table[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise ValueError(f"{name}: expected a number, got {value!r}")
    return value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer above what a float can hold
        return False


def _picked(kind: Any, table: dict[str, Any]) -> Any:
    return kind(**{item.name: table[item.name] for item in fields(kind) if item.name in table})


def _why(error: Exception) -> str:
    return f"expected a field {error}" if isinstance(error, KeyError) else str(error)


def _dumps(table: Mapping[str, Any]) -> str:
    return json.dumps(table, allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"


def boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """What tells this boot of the machine from others; empty where the system does not say."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
