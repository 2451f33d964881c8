"""The report's sections of telemetry: what the device did while each implementation was replayed, and its energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..records import Record, Run
from ..telemetry import Trace
from . import readings_telemetry as readings
from .cases import Group, case_label, case_meta, case_title, groups
from .figures_energy import energy_per_token
from .figures_telemetry import timeline
from .formats import is_number
from .section import Section, Variant
from .traces import Span, Traces, begin_of, load_traces, spans_by_record, spans_of, trace_name


def telemetry_sections(run: Run, traces: Traces | None, main: Group | None) -> list[Section]:
    """Telemetry and energy of a token; none for a run without a GPU in which nothing was to be watched."""
    watched = [record for record in run.records if record.telemetry is not None]
    if not run.records or not (watched or run.environment.gpu or _refusals(run)):
        return []
    found = load_traces(run, None) if traces is None else traces
    return [_telemetry(run, watched, found, main), _energy(run, watched, main)]


def _telemetry(run: Run, watched: Sequence[Record], traces: Traces, main: Group | None) -> Section:
    section = Section(
        "telemetry",
        "Telemetry",
        "Each implementation replayed for seconds, apart from its timing, while the device was read: what ran and, "
        "under it, what the device did, on one clock. Drag across a stretch to see it closer.",
        readings.provenance(watched),
        f"No telemetry in this run: {_why_none(run)}.",
    )
    first = 0
    for name in dict.fromkeys(map(trace_name, watched)):
        mine = [record for record in watched if trace_name(record) == name]
        trace = traces.get(name, "the records name no trace")
        spans = spans_of(trace) if isinstance(trace, Trace) else []
        own = {id(record): found for record, found in zip(mine, spans_by_record(spans, mine), strict=True)}
        cases = groups(mine)
        for group in cases:
            if main is not None and group.case.key == main.case.key:
                first = len(section.variants)
            section.variants.extend(_case(group, trace, own))
        if len(cases) > 1 and isinstance(trace, Trace):
            section.variants.append(_everything(trace, spans, mine))
    return section.starting(first)


def _case(group: Group, trace: Trace | str, own: Mapping[int, list[Span]]) -> list[Variant]:
    """A case with all that was watched in it and, where that is several, each alone: close enough to see its phases."""
    label = case_label(group.case, case_title(group.case))
    meta = case_meta(group.case)
    choices = [(label, group.records, meta)]
    if len(group.records) > 1 and isinstance(trace, Trace):
        choices += [
            (f"{label} · only {record.implementation}", (record,), {**meta, "implementation": record.implementation})
            for record in group.records
        ]
    return [replace(_variant(title, trace, records, own), meta=about) for title, records, about in choices]


def _variant(title: str, trace: Trace | str, records: Sequence[Record], own: Mapping[int, list[Span]]) -> Variant:
    """The stretch of a trace in which these records were replayed, and what they say of it."""
    said = readings.seen_sentence(records)
    rows = tuple(row for record in records for row in readings.mean_rows(record, phases=len(records) == 1))
    remarks = readings.remarks(records)
    if isinstance(trace, str):
        return Variant(title, None, f"No timeline: {trace}. {said}", readings.MEANS, rows, remarks)
    spans = sorted((span for record in records for span in own[id(record)]), key=lambda span: span.begin)
    begin, end = _stretch(records, spans)
    figure = timeline(trace, spans, begin, end)
    if figure is None:
        said = f"No timeline: the trace holds no reading of this time. {said}"
    else:
        said = f"{said} {readings.thinned_sentence(trace, begin, end)}".strip()
    return Variant(title, figure, said, readings.MEANS, rows, remarks)


def _stretch(records: Sequence[Record], spans: Sequence[Span]) -> tuple[float, float]:
    """From the first record's rise to the end of the last phase, on the trace's clock; empty where nothing is known."""
    begins, ends = [span.begin for span in spans], [span.end for span in spans]
    for record in records:
        begin, seen = begin_of(record), record.telemetry
        if begin is not None and seen is not None:
            begins.append(begin - (seen.discarded_s if is_number(seen.discarded_s) else 0.0))
            ends.append(seen.end_s if is_number(seen.end_s) else begin)
    return (min(begins), max(ends)) if begins else (0.0, -1.0)


def _everything(trace: Trace, spans: Sequence[Span], records: Sequence[Record]) -> Variant:
    """The whole trace, whichever records it belongs to."""
    begin, end = trace.readings[0].t, trace.readings[-1].t
    said = ("Everything the trace holds.", readings.source_sentence(records))
    reading = " ".join(filter(None, (*said, readings.thinned_sentence(trace, begin, end))))
    return Variant("the whole trace, all cases", timeline(trace, spans, begin, end), reading)


def _energy(run: Run, watched: Sequence[Record], main: Group | None) -> Section:
    other = readings.source_sentence(watched)
    section = Section(
        "energy",
        "Energy of a token",
        "Energy of the whole GPU over the window of sustained replay, over the tokens computed in it; lower is better.",
        readings.provenance(watched),
        f"Nothing is known of the energy of a token. {other}" if watched else f"No energy: {_why_none(run)}.",
    )
    first = 0
    for group in groups(watched):
        figure = energy_per_token(group)
        if figure is not None:
            if main is not None and group.case.key == main.case.key:
                first = len(section.variants)
            label = case_label(group.case, case_title(group.case))
            said = readings.energy_sentence(group)
            rows, remarks = readings.energy_rows(group), readings.remarks(group.records)
            meta = case_meta(group.case)
            section.variants.append(Variant(label, figure, said, readings.ENERGIES, rows, remarks, meta))
    return section.starting(first)


def _refusals(run: Run) -> list[str]:
    """Why records that were to be watched were not."""
    return list(dict.fromkeys(str(record.notes["telemetry"]) for record in run.records if "telemetry" in record.notes))


def _why_none(run: Run) -> str:
    refused = [reason.removeprefix("no telemetry: ") for reason in _refusals(run)]
    asked = "it was switched off, or NVML could not be read; mohge doctor says what this machine gives"
    return "; ".join(refused) or asked
