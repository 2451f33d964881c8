"""A run's records sorted into cases, and which case is the one the report is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from ..peers import family_of
from ..records import CaseRecord, PlacementRecord, Provenance, Record, Run, Samples, Status
from ..timing import FEWEST
from .formats import counted, is_number, time_interval_text

_SCALED = re.compile(r"/(\d+)(?:, N=(\d+))?$")


@dataclass(frozen=True)
class Group:
    """The records of one case, in the order they were made."""

    case: CaseRecord
    records: tuple[Record, ...]

    @property
    def timed(self) -> tuple[Record, ...]:
        """Those that passed and were timed."""
        return tuple(record for record in self.records if is_timed(record))

    @property
    def fastest(self) -> tuple[Record, ...]:
        """The timed ones, fastest first."""
        return tuple(sorted(self.timed, key=lambda record: hot_median(record)))


def is_measured(record: Record) -> bool:
    """Whether the record is of a real execution of the implementation."""
    return record.provenance == Provenance.MEASURED


def has_times(samples: Samples | None) -> TypeGuard[Samples]:
    """Whether there is a usable median."""
    return samples is not None and is_number(samples.median_us) and samples.median_us > 0


def is_timed(record: Record) -> bool:
    """Whether the record carries a measured time."""
    return is_measured(record) and record.status == Status.PASSED and has_times(record.hot)


def hot_median(record: Record) -> float:
    """Microseconds of a record that `is_timed`."""
    assert record.hot is not None
    return record.hot.median_us


def has_interval(samples: Samples) -> bool:
    """Whether there is one, with the samples behind it that an interval takes."""
    return len(samples.samples_us) >= FEWEST and is_number(samples.low_us) and is_number(samples.high_us)


def interval_or_count(samples: Samples) -> str:
    """The interval of a median, or how many samples were too few for one."""
    text = time_interval_text(samples.low_us, samples.high_us) if has_interval(samples) else ""
    return text or counted(len(samples.samples_us), "sample")


def groups(records: Iterable[Record]) -> list[Group]:
    """The records by case, in order of first appearance."""
    found: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        found.setdefault(record.case.key, []).append(record)
    return [Group(members[0].case, tuple(members)) for members in found.values()]


def measured_groups(run: Run) -> list[Group]:
    """The measured records by case, versions folded under what they are versions of: see `without_versions`."""
    return groups(without_versions([record for record in run.records if is_measured(record)]))


def every_group(run: Run) -> list[Group]:
    """The measured records by case, with those of every version."""
    return groups(record for record in run.records if is_measured(record))


def without_versions(records: Sequence[Record]) -> list[Record]:
    """The records without those of versions for which the implementation itself stands: they are no rivals of it, and
    what they reach is in the section of the ladder. A version with a time stays where the implementation has none.
    """
    timed: dict[tuple[object, ...], bool] = {}
    for record in records:
        key = (record.implementation, *record.case.key)
        timed[key] = timed.get(key, False) or is_timed(record)
    return [record for record in records if not _stood_for(record, timed)]


def versions_of(run: Run) -> list[Record]:
    """The records that `without_versions` leaves out."""
    kept = {id(record) for record in without_versions(run.records)}
    return [record for record in run.records if id(record) not in kept]


def _stood_for(record: Record, timed: dict[tuple[object, ...], bool]) -> bool:
    key = (family_of(record.implementation), *record.case.key)
    return key in timed and (timed[key] or not is_timed(record))


def placement_groups(run: Run) -> list[tuple[CaseRecord, int, tuple[PlacementRecord, ...]]]:
    """The placements by case and number of ranks, in order of first appearance."""
    found: dict[tuple[object, ...], list[PlacementRecord]] = {}
    for placement in run.placements:
        found.setdefault((*placement.case.key, placement.ranks), []).append(placement)
    return [(rows[0].case, rows[0].ranks, tuple(rows)) for rows in found.values()]


def widths(case: CaseRecord) -> tuple[int, ...]:
    """The width of every group; empty where the run file does not say."""
    known = case.layer.get("widths")
    return tuple(known) if isinstance(known, list | tuple) and all(is_number(width) for width in known) else ()


def is_heterogeneous(case: CaseRecord) -> bool:
    """Whether the experts are known to differ in width."""
    return len(set(widths(case))) > 1


def scale_text(case: CaseRecord) -> str:
    """How a scaled-down layer differs from the one it is named after; empty for a layer of full size."""
    match = _SCALED.search(case.spec)
    if match is None:
        return ""
    factor, per_group = match.groups()
    text = f"scaled down: {case.spec[: match.start()]} with its hidden size and widths divided by {factor}"
    return f"{text}, {per_group} experts a group" if per_group else text


def case_title(case: CaseRecord) -> str:
    """One line that names the case; scaled-down layers are called that."""
    parts = [f"{case.spec} (scaled down)" if scale_text(case) else case.spec]
    if case.tokens:
        parts.append(f"{case.tokens:,} tokens".replace(",", "\u202f"))
    parts += [part for part in (case.routing, case.dtype) if part]
    return " · ".join(parts)


def case_label(case: CaseRecord, title: str) -> str:
    """A title with the device, as a choice of a section."""
    return f"{title} · on {case.device}" if case.device else title


def case_phrase(case: CaseRecord) -> str:
    """The same as part of a sentence: the layer, and the rest in parentheses."""
    layer, *rest = case_title(case).split(" · ")
    return f"{layer} ({', '.join(rest)})" if rest else layer


def case_meta(case: CaseRecord, *, tokens: bool = True) -> dict[str, Any]:
    """What a variant of a section is about, for the page's filter. tokens: False for one that spans several numbers."""
    facts: dict[str, Any] = {"spec": case.spec, "routing": case.routing, "tokens": case.tokens if tokens else None}
    kind, _, exponent = str(case.routing or "").partition(":")
    if kind == "zipf" and exponent.replace(".", "", 1).isdigit():
        facts["skew"] = float(exponent)
    return {key: value for key, value in facts.items() if value}


def main_case(run: Run) -> Group | None:
    """The measured case the verdict is about: with times if any has, unequal experts, full size, the most tokens, and
    of those the last (real routings come after made ones). None without a measured record.
    """
    found = measured_groups(run)
    if not found:
        return None
    best = max(range(len(found)), key=lambda index: (*weight(found[index]), index))
    return found[best]


def weight(group: Group) -> tuple[bool, bool, bool, int]:
    """What makes a case the one that a report is about: the greater the more."""
    case = group.case
    return bool(group.timed), is_heterogeneous(case), not scale_text(case), case.tokens or 0


def series_of(found: Sequence[Group]) -> list[tuple[CaseRecord, tuple[Group, ...]]]:
    """Cases that differ in tokens alone, together and by rising tokens."""
    series: dict[tuple[object, ...], list[Group]] = {}
    for group in found:
        case = group.case
        series.setdefault((case.spec, widths(case), case.routing, case.dtype, case.device), []).append(group)
    return [(rows[0].case, tuple(sorted(rows, key=lambda group: group.case.tokens or 0))) for rows in series.values()]


def implementations(records: Iterable[Record]) -> list[str]:
    """The names met, in order of first appearance."""
    return list(dict.fromkeys(record.implementation for record in records))
