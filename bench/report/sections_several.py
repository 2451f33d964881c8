"""The sections of a report of several runs: what they show together, then what is drawn of each run alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..comparison import Comparison
from ..records import LabelledRun
from .cases import case_label, case_meta, case_title
from .figures_several import change, label_of, shown, side_by_side, trend
from .formats import counted, digits, interval_text, listed, time_text
from .section import Section, Variant
from .sections import sections
from .several import Machine, Several, SharedCase
from .traces import load_traces
from .verdict_several import compared

_CHANGE = ("implementation", "case", "first run", "last run", "last / first", "95 % interval", "verdict", "note")


def several_sections(several: Several) -> list[Section]:
    """Every section, in reading order."""
    found = []
    if any(len(machine.runs) > 1 for machine in several.machines):
        found += [_change(several), _trend(several)]
    if len(several.machines) > 1:
        found.append(_beside(several))
    return [*found, *per_run(several.runs)]


def _change(several: Several) -> Section:
    section = Section(
        "change",
        "From the first run to the last",
        "Time in the machine's last run over that in its first, with the verdict of mohge compare; below 1 is faster.",
        "measured",
        "No machine has two runs that can be compared.",
    )
    for machine in several.machines:
        if len(machine.runs) < 2:
            continue
        first, last = machine.runs[0], machine.runs[-1]
        result = compared(first, last)
        label = f"{machine.name} · {first.label} to {last.label}"
        if isinstance(result, str):
            section.variants.append(Variant(label, None, f"{first.label} against {last.label}: {result}."))
        elif result.rows:
            section.variants.append(_change_variant(label, result))
    return section


def _change_variant(label: str, result: Comparison) -> Variant:
    counts = [f"{count} {verdict}" for verdict, count in result.counts.items() if count]
    reading = (
        f"Of {counted(len(result.rows), 'row')}: {listed(counts)} (threshold {result.options.threshold * 100:g} %)."
    )
    remarks = [f"{result.multiplicity}."] if result.multiplicity else []
    remarks += [
        f"{change.implementation} on {case_title(change.case)}: {change.before} in {result.a}, {change.after} in "
        f"{result.b}."
        for change in result.changes
        if change.before is not change.after
    ]
    rows = tuple(
        (
            row.implementation,
            case_title(row.case),
            time_text(row.a_us),
            time_text(row.b_us),
            digits(row.ratio.value),
            interval_text(row.ratio.low, row.ratio.high),
            str(row.verdict),
            row.note,
        )
        for row in result.rows
    )
    return Variant(label, change(result.rows), reading, _CHANGE, rows, tuple(remarks))


def _trend(several: Several) -> Section:
    section = Section(
        "trend",
        "Time over the runs of one machine",
        "Median of hot samples with its 95 % interval, at the time each run started; a marker per run.",
        "measured",
        "No case was timed in two runs of one machine.",
    )
    many = sum(len(machine.runs) > 1 for machine in several.machines) > 1
    for case in several.cases:
        for machine in several.machines:
            figure = trend(several, machine, case)
            if figure is not None:
                name, meta = f"{machine.name} · " if many else "", case_meta(case.case)
                label = f"{name}{case_label(case.case, case_title(case.case))}"
                section.variants.append(Variant(label, figure, _trend_reading(several, machine, case), meta=meta))
    return section


def _trend_reading(several: Several, machine: Machine, case: SharedCase) -> str:
    """How far the medians of each implementation lie apart over the runs."""
    parts = []
    for name in case.timed_implementations:
        timed = [s.median_us for place in several.places(machine) if (s := case.time(place, name)) is not None]
        if len(timed) > 1:
            parts.append(f"{name} {digits(max(timed) / min(timed))}")
    runs = counted(sum(place in case.timed for place in several.places(machine)), "run")
    return f"Over {runs}, the slowest median over the fastest: {listed(parts)}."


def _beside(several: Several) -> Section:
    section = Section(
        "beside",
        "The machines side by side",
        "Median of hot samples with its 95 % interval in each run; a colour per implementation, a hatching per run.",
        "measured",
        "No case was timed in two of these runs.",
    )
    for case in several.cases:
        figure = side_by_side(several, case)
        if figure is not None:
            label = case_label(case.case, case_title(case.case))
            section.variants.append(
                Variant(
                    label,
                    figure,
                    _beside_reading(several, case),
                    remarks=_hidden(several, case),
                    meta=case_meta(case.case),
                )
            )
    return section


def _beside_reading(several: Several, case: SharedCase) -> str:
    """The fastest in each run."""
    parts = []
    for place in shown(several, case):
        fastest = case.groups[place].fastest[0]
        assert fastest.hot is not None
        parts.append(f"{fastest.implementation} on {label_of(several, place)}, {time_text(fastest.hot.median_us)}")
    return f"Lowest median in each run: {'; '.join(parts)}."


def _hidden(several: Several, case: SharedCase) -> tuple[str, ...]:
    left = [several.labels[place] for place in case.timed if place not in shown(several, case)]
    return (f"Not drawn, for want of room: {listed(left)}; their times are in the tables.",) if left else ()


def per_run(runs: Sequence[LabelledRun]) -> list[Section]:
    """The sections of each run alone, those of one name together, with a choice of run and case."""
    found = [(item.label, sections(item.run, load_traces(item.run, item.folder))) for item in runs]
    by_name = [(label, {section.name: section for section in mine}) for label, mine in found]
    result = []
    for name in _order([list(mine) for _, mine in by_name]):
        result += _together([(label, mine.get(name)) for label, mine in by_name])
    return result


def _order(lists: Sequence[Sequence[str]]) -> list[str]:
    """All names, each behind the one that it follows in its own list."""
    order: list[str] = []
    for names in lists:
        place = 0
        for name in names:
            if name not in order:
                order.insert(place, name)
            place = order.index(name) + 1
    return order


def _together(found: Sequence[tuple[str, Section | None]]) -> list[Section]:
    """One section of all runs; where figures of a run have another provenance, one for each. Who has none is said."""
    drawn: dict[str, Section] = {}
    missing = []
    for label, section in found:
        if section is None or not section.variants:
            reason = f": {_lowered(section.empty)}" if section is not None else "."
            missing.append(f"Nothing of {label}{reason}")
            continue
        if section.provenance not in drawn:
            name = f"{section.name}_{section.provenance}" if drawn else section.name
            title = f"{section.title}, run by run"
            drawn[section.provenance] = replace(section, name=name, title=title, variants=[])
        variants = [replace(variant, label=f"{label} · {variant.label}") for variant in section.variants]
        drawn[section.provenance].variants.extend(variants)
    if not drawn:
        hollow = [section for _, section in found if section is not None]
        alike = len({section.empty for section in hollow}) == 1
        return [hollow[0] if alike else replace(hollow[0], empty=" ".join(missing))]
    return [replace(section, lead=" ".join([section.lead, *missing])) for section in drawn.values()]


def _lowered(sentence: str) -> str:
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]
