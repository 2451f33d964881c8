"""The report's sections of telemetry: what the device did while each implementation was replayed, and its energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..records import Record, Run
from ..telemetry import Trace
from . import readings_telemetry as readings
from .cases import Group, case_label, case_meta, case_title, groups
from .curves import MOST_POINTS
from .figures_energy import energy_per_token
from .figures_telemetry import MOST_SPANS, PANELS, timeline
from .formats import is_number, whole
from .section import Section, Variant
from .traces import Span, Traces, begin_of, load_traces, spans_by_record, spans_of, trace_name

# Points of all curves of the section, and the fewest of one. Above it no implementation is drawn alone (its stretch of
# the case can be dragged closer), and then curves get fewer points: of 10 080 records and a million readings, 198 each.
MOST_IN_ALL, LEAST_POINTS = 1_000_000, 100


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
    parts = [
        _part(name, traces, [record for record in watched if trace_name(record) == name])
        for name in dict.fromkeys(map(trace_name, watched))
    ]
    most, alone = _points_of_each(parts)
    first = 0
    for part in parts:
        for group in part.cases:
            if main is not None and group.case.key == main.case.key:
                first = len(section.variants)
            section.variants.extend(_case(group, part, most, alone=alone))
        if len(part.cases) > 1 and isinstance(part.trace, Trace):
            section.variants.append(_everything(part))
    return section.starting(first)


@dataclass(frozen=True)
class _Part:
    """A trace, or why there is none, with what it marks and the records it is of.

    own: the spans of each record, by its id
    """

    trace: Trace | str
    spans: Sequence[Span]
    records: Sequence[Record]
    own: Mapping[int, list[Span]]
    cases: Sequence[Group]

    def stretch(self, records: Sequence[Record]) -> tuple[list[Span], float, float]:
        """What was replayed for these records, and from when to when on the trace's clock."""
        spans = sorted((span for record in records for span in self.own[id(record)]), key=lambda span: span.begin)
        return spans, *_stretch(records, spans)

    def readings(self, records: Sequence[Record]) -> int:
        """How many readings there are in that time."""
        _, begin, end = self.stretch(records)
        return len(self.trace.table.between(begin, end)) if isinstance(self.trace, Trace) else 0


def _part(name: str, traces: Traces, records: Sequence[Record]) -> _Part:
    trace = traces.get(name, "the records name no trace")
    spans = spans_of(trace) if isinstance(trace, Trace) else []
    own = {id(record): found for record, found in zip(records, spans_by_record(spans, records), strict=True)}
    return _Part(trace, spans, records, own, groups(records))


def _points_of_each(parts: Sequence[_Part]) -> tuple[int, bool]:
    """How many points a curve may have, and whether each implementation is drawn alone, so that a page stays small."""
    cases = [part.readings(group.records) for part in parts for group in part.cases]
    single = [part.readings([record]) for part in parts for record in part.records]
    needed, of_cases = (
        len(PANELS) * sum(min(count, MOST_POINTS) for count in counts) for counts in (cases + single, cases)
    )
    if of_cases <= MOST_IN_ALL:
        return MOST_POINTS, needed <= MOST_IN_ALL
    return max(LEAST_POINTS, MOST_IN_ALL // (len(PANELS) * len(cases))), False


def _case(group: Group, part: _Part, most: int, *, alone: bool) -> list[Variant]:
    """A case with all that was watched in it and, where that is several, each alone: close enough to see its phases."""
    label = case_label(group.case, case_title(group.case))
    meta = case_meta(group.case)
    choices = [(label, group.records, meta)]
    if alone and len(group.records) > 1 and isinstance(part.trace, Trace):
        choices += [
            (f"{label} · only {record.implementation}", (record,), {**meta, "implementation": record.implementation})
            for record in group.records
        ]
    return [replace(_variant(title, part, records, most), meta=about) for title, records, about in choices]


def _variant(title: str, part: _Part, records: Sequence[Record], most: int) -> Variant:
    """The stretch of a trace in which these records were replayed, and what they say of it."""
    said, trace = readings.seen_sentence(records), part.trace
    rows = tuple(row for record in records for row in readings.mean_rows(record, phases=len(records) == 1))
    remarks = readings.remarks(records)
    if isinstance(trace, str):
        return Variant(title, None, f"No timeline: {trace}. {said}", readings.MEANS, rows, remarks)
    spans, begin, end = part.stretch(records)
    figure = timeline(trace, spans, begin, end, most)
    if figure is None:
        said = f"No timeline: the trace holds no reading of this time. {said}"
    else:
        said = f"{said} {readings.thinned_sentence(trace, begin, end, most)}".strip()
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


def _everything(part: _Part) -> Variant:
    """The whole trace, whichever records it belongs to."""
    trace = part.trace
    assert isinstance(trace, Trace)
    begin, end = trace.readings[0].t, trace.readings[-1].t
    said = ("Everything the trace holds.", readings.source_sentence(part.records))
    merged = f"Stretches closer than can be seen are drawn as one: there are {whole(len(part.spans))}."
    thinned = (readings.thinned_sentence(trace, begin, end), merged if len(part.spans) > MOST_SPANS else "")
    figure = timeline(trace, part.spans, begin, end)
    return Variant("the whole trace, all cases", figure, " ".join(filter(None, (*said, *thinned))))


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
