"""Sentences and rows of what was seen while implementations were replayed; of whose calls it was is said first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..records import Record, Telemetry
from ..telemetry import Trace
from .cases import Group
from .curves import MOST_POINTS
from .figures_energy import TokenEnergy, energy_interval, joule_text, token_energies, work_text
from .formats import NONE, digits, interval_text, is_number, listed, percent_text, whole

# What NVML says of this run was measured; other sources tell of other calls, and lend the figures their own name.
_MEASURED = "nvml"
_OTHER = {
    "synthetic": "Synthetic readings: made up, to show what a device could do. They say nothing of these calls.",
    "recorded": "Recorded readings, played back: they are of other calls and say nothing of these.",
}
MEANS = (
    *("implementation", "window", "readings", "kernel running", "SMs busy", "tensor pipe", "DRAM"),
    *("power", "95 % interval", "SM clock", "clock held back by"),
)
ENERGIES = (
    *("implementation", "energy of a token", "95 % interval", "useful work", "window", "readings", "calls"),
    "energy from",
)


def provenance(records: Sequence[Record]) -> str:
    """Where the readings of these records come from, as their label."""
    sources = [record.telemetry.source for record in records if record.telemetry is not None]
    return next((source for source in sources if source != _MEASURED), "measured")


def source_sentence(records: Sequence[Record]) -> str:
    """Whose readings these are, where they are not of the calls they stand beside; else empty."""
    label = provenance(records)
    return "" if label == "measured" else _OTHER.get(label, f"{label.capitalize()} readings: not of these calls.")


def seen_sentence(records: Sequence[Record]) -> str:
    """What the windows of these records say of the implementations, or why they say nothing."""
    if said := source_sentence(records):
        return said
    seen = {record.implementation: record.telemetry for record in records if record.telemetry is not None}
    parts = [
        _highest(seen, "tensor", "the tensor pipe is busy {} of the time with {}", percent_text),
        _highest(seen, "power_w", "power is {} with {}", _watts),
    ]
    clocks = sorted(one.sm_mhz for one in seen.values() if is_number(one.sm_mhz))
    if clocks:
        span = whole(clocks[0]) if clocks[-1] - clocks[0] < 1 else f"{whole(clocks[0])} to {whole(clocks[-1])}"
        parts.append(f"the SM clock is {span} MHz")
    said = "; ".join(filter(None, parts))
    return f"{said[:1].upper()}{said[1:]}." if said else "The device gave none of the metrics that are told here."


def _highest(seen: Mapping[str, Telemetry], field: str, words: str, write: Callable[[float], str]) -> str:
    """Who has the highest mean of a field and whether the next one's can be told from it; empty where none is known."""
    known = [(value, name) for name, one in seen.items() if is_number(value := getattr(one, field))]
    if not known:
        return ""
    (value, name), *others = sorted(known, reverse=True)
    said = words.format(write(value), name)
    if not others:
        return said
    _, after = others[0]
    ends, next_ends = (seen[one].interval.get(field, []) for one in (name, after))
    apart = len(ends) == len(next_ends) == 2 and ends[0] > next_ends[1]
    return f"{said}, the most of all" if apart else f"{said}, not told apart from {after}"


def thinned_sentence(trace: Trace, begin: float, end: float, most: int = MOST_POINTS) -> str:
    """Whether curves of `most` points over this time show fewer than there are readings."""
    count = len(trace.table.between(begin, end))
    if count <= most:
        return ""
    return f"{whole(count)} readings, down-sampled for display: of each stretch the least and the greatest are kept."


def mean_rows(record: Record, *, phases: bool) -> list[tuple[str, ...]]:
    """The means of a record's window, and with `phases` those of each phase below it, as `MEANS` heads them."""
    seen = record.telemetry
    if seen is None:
        return []
    held = ", ".join(f"{name} {percent_text(share)}" for name, share in seen.throttle.items())
    clock = f"{whole(seen.sm_mhz)} MHz" if is_number(seen.sm_mhz) else NONE
    shares = map(percent_text, (seen.utilization, seen.sm, seen.tensor, seen.dram))
    start = (record.implementation, f"{digits(seen.window_s)} s", whole(seen.samples))
    rows = [(*start, *shares, *_power(seen), clock, held or "nothing")]
    for name, means in seen.phases.items() if phases else ():
        shares = (percent_text(means.get(field)) for field in ("utilization", "sm", "tensor", "dram"))
        start = (f"{name} alone", f"{digits(means.get('window_s'))} s", whole(means.get("samples")))
        rows.append((*start, *shares, _watts(means.get("power_w")), NONE, NONE, NONE))
    return rows


def _power(seen: Telemetry) -> tuple[str, str]:
    """The mean power and its interval."""
    ends = seen.interval.get("power_w", [])
    interval = interval_text(ends[0], ends[1]) if len(ends) == 2 else ""
    return _watts(seen.power_w), f"{interval} W" if interval else NONE


def _watts(power: float | None) -> str:
    return f"{digits(power)} W" if is_number(power) else NONE


def remarks(records: Sequence[Record]) -> tuple[str, ...]:
    """What telemetry notes of these windows and does not give, each once with the implementations it is said of."""
    said: dict[str, list[str]] = {}
    for record in records:
        seen = record.telemetry
        if seen is not None:
            # Whose calls the readings are of is said in the sentence already.
            notes = [note for note in seen.notes if not note.startswith(f"{seen.source} readings")]
            for note in (*notes, *(f"{name} is not given: {why}" for name, why in seen.unavailable.items())):
                said.setdefault(note, []).append(record.implementation)
    return tuple(f"{listed(names)}: {note}." for note, names in said.items())


def energy_sentence(group: Group) -> str:
    """Which implementation spends least on a token, if that can be said."""
    found = token_energies(group)
    if not found:
        return ""
    first, *others = found
    name, amount = first.record.implementation, f"{joule_text(first.joule)} {energy_interval(first)}".strip()
    if not others:
        return f"{name} spends {amount} on a token; there is nothing to compare it with."
    last = others[-1]
    most = f"{last.record.implementation} {digits(last.joule / first.joule)} times as much"
    if not _apart(first, others[0]):
        second = others[0].record.implementation
        return f"Undecided between {name} and {second}, whose intervals overlap: {amount} on a token; {most}."
    return f"{name} spends least on a token: {amount}; {most}."


def _apart(less: TokenEnergy, more: TokenEnergy) -> bool:
    return less.high is not None and more.low is not None and less.high < more.low


def energy_rows(group: Group) -> tuple[tuple[str, ...], ...]:
    """A row for each implementation whose energy is known, as `ENERGIES` heads them."""
    rows = []
    for one in token_energies(group):
        seen = one.record.telemetry
        assert seen is not None
        interval = energy_interval(one).strip("()") or NONE
        source = "counter" if seen.energy_source == "counter" else f"integral of {seen.energy_source or 'power'}"
        window = (f"{digits(seen.window_s)} s", whole(seen.samples), whole(seen.calls))
        rows.append(
            (one.record.implementation, joule_text(one.joule), interval, work_text(one.record) or NONE, *window, source)
        )
    return tuple(rows)
