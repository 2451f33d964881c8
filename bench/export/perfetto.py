"""Runs as one file for ui.perfetto.dev: implementations as rows of slices, telemetry as counters.

A run has a process for each of its telemetry traces, on the trace's clock from its first moment on, and one for the
cases of which nothing was recorded, laid out by their medians; name and metadata of a process say which it is. Every
process begins at 0: runs are side by side, not where they were in time.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from ... import __version__
from ..records import LabelledRun, Record
from ..report.cases import is_measured
from ..report.machine import machine_text
from . import laid_out, recorded
from .counters import counters
from .events import Instant, Process, document
from .laid_out import LAID_OUT
from .recorded import Recording, recordings

_SOURCES = {
    "nvml": "recorded from NVML",
    "recorded": "a recorded trace played again, not of this run",
    "synthetic": "synthetic readings, not measured",
}


def perfetto(runs: Sequence[LabelledRun]) -> Iterator[str]:
    """The file in pieces. A trace that is missing or unreadable is said in the metadata, its cases are laid out."""
    parts = [(item, *recordings(item)) for item in runs]
    about = {
        "written by": f"mohge {__version__}",
        "times": "every process begins at 0; processes of different runs have no common clock",
        "runs": [_about(item, found, missing) for item, found, missing in parts],
    }
    return document(about, _events(parts))


def _about(item: LabelledRun, found: Sequence[Recording], missing: Sequence[str]) -> dict[str, Any]:
    run = item.run
    timelines = {recording.file: _source(recording) for recording in found}
    if _unrecorded(item, found):
        timelines["the other cases" if found else "every case"] = LAID_OUT
    about = {
        "run": item.label,
        "command": shlex.join(run.command),
        "started": run.started,
        "finished": run.finished or "interrupted",
        "machine": machine_text(run),
        "records": len(run.records),
        "not measured, so without slices": sum(not is_measured(record) for record in run.records),
        "timelines": timelines or "nothing was timed in this run",
        "traces that could not be read": list(missing),
    }
    return {name: value for name, value in about.items() if value not in ([], 0) or name == "records"}


def _events(parts: Sequence[tuple[LabelledRun, list[Recording], list[str]]]) -> Iterator[str]:
    number = 0
    for item, found, _ in parts:
        for recording in found:
            number += 1
            yield from _recorded(Process(number, _name(item, recording)), recording)
        others = _unrecorded(item, found)
        if others or not found:
            number += 1
            yield from _laid_out(Process(number, _name(item, None)), item, others)


def _name(item: LabelledRun, recording: Recording | None) -> str:
    if recording is None:
        return f"{item.label} · {machine_text(item.run)} · {LAID_OUT}"
    device = recording.trace.header.device
    uuid = f" {device['uuid']}" if device.get("uuid") else ""
    return f"{item.label} · {device.get('name', 'a device without a name')}{uuid} · {_source(recording)}"


def _source(recording: Recording) -> str:
    # A replayed recording is written as what it was; that it was not of this run, its records say.
    sources = {record.telemetry.source for record in recording.records if record.telemetry}
    source = next(iter(sources)) if len(sources) == 1 else recording.trace.header.source
    return _SOURCES.get(source, source)


def _recorded(process: Process, recording: Recording) -> Iterator[str]:
    yield from process.named()
    for name, slices in recorded.lanes(recording):
        yield from process.lane(name, slices, recording.zero)
    for counter in counters(recording.trace):
        yield from process.counter(counter.name, recording.trace.header.source, counter.points, recording.zero)


def _laid_out(process: Process, item: LabelledRun, records: Sequence[Record]) -> Iterator[str]:
    yield from process.named()
    found = laid_out.lanes(records)
    for name, items in found.items():
        yield from process.lane(name, items)
    if not found:
        what = "no measured records" if item.run.records else "no records"
        yield from process.lane("run", [Instant(f"this run holds {what}", laid_out.FAILED, 0.0)])


def _unrecorded(item: LabelledRun, found: Sequence[Recording]) -> list[Record]:
    """The measured records that no trace shows."""
    shown = {id(record) for recording in found for record in recording.records}
    return [record for record in item.run.records if is_measured(record) and id(record) not in shown]
