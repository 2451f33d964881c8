"""Several runs in a sentence, and the table behind it with a column per run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..comparison import Comparison, Options, Row, compare_runs
from ..comparison import Verdict as Change
from ..comparison.matching import ways
from ..records import LabelledRun, Record
from .cases import case_meta, case_phrase, case_title, has_interval, interval_or_count, is_timed, scale_text
from .formats import NONE, digits, interval_text, listed, time_text
from .palette import colour
from .several import OVER_TIME, Several, SharedCase, started
from .verdict import Verdict, told_apart

_WORDS = {
    Change.FASTER: ("is faster", "are faster"),
    Change.SLOWER: ("is slower", "are slower"),
    Change.SAME: ("takes the same time", "take the same time"),
    Change.UNDECIDED: ("is undecided", "are undecided"),
}


@dataclass(frozen=True)
class Column:
    """A run in the table: its label, its machine where there are several, and when it started."""

    label: str
    machine: str
    started: str


def verdict_several(several: Several) -> Verdict:
    """What the runs say together about the case that most of them timed."""
    remarks = tuple(several.remarks)
    main = several.main
    if main is None or not main.timed:
        return Verdict("not measured", "Not measured: none of these runs timed anything.", remarks)
    remarks = _scale(main) + remarks
    if len(main.timed) < 2:
        sentence = "Undecided: no case was timed in more than one of these runs, so nothing can be laid side by side."
        return Verdict("undecided", sentence, remarks)
    return _changed(several, main, remarks) if several.kind == OVER_TIME else _machines(several, main, remarks)


def _scale(main: SharedCase) -> tuple[str, ...]:
    text = scale_text(main.case)
    return (f"This layer is {text}; it stands for no layer of full size.",) if text else ()


def compared(first: LabelledRun, last: LabelledRun, case: str = "") -> Comparison | str:
    """What `mohge compare FIRST LAST` says, or why it says nothing."""
    try:
        return compare_runs([first.run], [last.run], Options(case=case), titles=(first.label, last.label))
    except ValueError as error:
        return str(error)


def _changed(several: Several, main: SharedCase, remarks: tuple[str, ...]) -> Verdict:
    """The last run against the first on the one machine."""
    first, last = (several.runs[place] for place in (main.timed[0], main.timed[-1]))
    result = compared(first, last, main.case.id)
    rows = [] if isinstance(result, str) else [row for row in result.rows if row.case.key == main.case.key]
    where = f"on {case_phrase(main.case)}, from {first.label} to {last.label}"
    if not rows:
        reason = result if isinstance(result, str) else "no implementation has times in both"
        return Verdict("undecided", f"Undecided {where}: {reason}.", remarks)
    parts = []
    for verdict, (one, many) in _WORDS.items():
        mine = [row for row in rows if row.verdict == verdict]
        if mine:
            names = listed([f"{row.implementation} ({_ratio(row.ratio)})" for row in mine])
            parts.append(f"{names} {one if len(mine) == 1 else many}")
    told = any(row.verdict != Change.UNDECIDED for row in rows)
    note = (
        f"The verdicts are those of mohge compare {first.label} {last.label}, times of {last.label} over {first.label}"
        + (
            f", freed of what moved {listed(list(dict.fromkeys(n for row in rows for n in row.anchors)))}"
            * _freed(rows)
        )
        + "."
    )
    why = tuple(f"{listed([row.implementation for row in rows if row.note == text])}: {text}." for text in _notes(rows))
    sentence = f"{where[0].upper()}{where[1:]}: {'; '.join(parts)}."
    return Verdict("decided" if told else "undecided", sentence, (note, *why, *remarks))


def _notes(rows: Sequence[Row]) -> list[str]:
    """What compare adds to rows that it leaves undecided."""
    return list(dict.fromkeys(row.note for row in rows if row.note and row.verdict == Change.UNDECIDED))


def _freed(rows: Sequence[Row]) -> bool:
    return any(row.anchors for row in rows)


def _ratio(ratio: Any) -> str:
    interval = interval_text(ratio.low, ratio.high)
    return f"{digits(ratio.value)} times{f', {interval}' if interval else ''}"


def _machines(several: Several, main: SharedCase, remarks: tuple[str, ...]) -> Verdict:
    """The fastest of each machine's last run against each other."""
    best: list[tuple[Record, int]] = []
    for machine in several.machines:
        places = [place for place in several.places(machine) if place in main.timed]
        if places:
            best.append((main.groups[places[-1]].fastest[0], places[-1]))
    ranked = sorted(best, key=lambda entry: entry[0].hot.median_us if entry[0].hot else 0.0)
    where = case_phrase(main.case)
    if len(ranked) < 2:
        return Verdict("undecided", "Undecided: no case was timed on more than one of these machines.", remarks)
    (first, here), (second, there) = ranked[:2]
    assert first.hot is not None
    assert second.hot is not None
    one, other = ways(first.hot, second.hot)
    mine, theirs = _where(several, here), _where(several, there)
    if one != other or not _apart(first, second):
        sure = has_interval(first.hot) and has_interval(second.hot)
        why = "and the intervals overlap" if sure else "with too few samples for an interval"
        why = f"which were timed by {one} and by {other}" if one != other else why
        sentence = (
            f"Undecided between {mine} and {theirs} on {where}: {_time(first)} with {first.implementation} against "
            f"{_time(second)} with {second.implementation}, {why}."
        )
        return Verdict("undecided", sentence, remarks)
    ratio = digits(second.hot.median_us / first.hot.median_us)
    sentence = (
        f"{mine} is fastest on {where}: {_time(first)} with {first.implementation}; the next, {theirs}, takes {ratio} "
        f"times as long, {_time(second)} with {second.implementation}."
    )
    return Verdict("decided", sentence, remarks)


def _where(several: Several, place: int) -> str:
    """A machine, and which of its runs where it has several."""
    machine = next(machine for machine in several.machines if place in several.places(machine))
    return machine.name if len(machine.runs) == 1 else f"{machine.name} in its run {several.labels[place]}"


def _time(record: Record) -> str:
    assert record.hot is not None
    return f"{time_text(record.hot.median_us)} ({interval_or_count(record.hot)})"


def _apart(first: Record, second: Record) -> bool:
    """Whether the medians of two runs are told apart: they share no rounds, so only their intervals say so."""
    assert first.hot is not None
    assert second.hot is not None
    return has_interval(first.hot) and has_interval(second.hot) and first.hot.high_us < second.hot.low_us


def columns(several: Several) -> list[Column]:
    """The heads of the table."""
    several_machines = len(several.machines) > 1
    return [
        Column(item.label, machine.name if several_machines else "", started_text(item))
        for machine in several.machines
        for item in machine.runs
    ]


def started_text(item: LabelledRun) -> str:
    """When a run started, to the minute; as its file has it where that is no time."""
    time = started(item)
    return f"{time:%Y-%m-%d %H:%M} UTC" if time is not None else item.run.started


def case_table(several: Several, case: SharedCase) -> dict[str, Any]:
    """A case as texts: a row per implementation, a cell per run."""
    rows = []
    for name in case.implementations:
        cells = [_cell(case, place, name) for place in range(len(several.runs))]
        rows.append({"implementation": name, "colour": colour(name), "cells": cells})
    return {
        "title": case_title(case.case),
        "device": case.case.device,
        "scale": scale_text(case.case),
        "rows": rows,
        "meta": case_meta(case.case),
        "timed": len(case.timed),
    }


def _cell(case: SharedCase, place: int, name: str) -> dict[str, Any]:
    record = case.record(place, name)
    if record is None:
        return {"text": NONE, "small": "", "bad": False, "best": False}
    samples = case.time(place, name)
    if samples is None:
        text = str(record.status).replace("_", " ")
        return {"text": text, "small": record.reason, "bad": str(record.status) != "passed", "best": False}
    ranked = [entry for entry in case.groups[place].fastest if is_timed(entry)]
    best = len(ranked) > 1 and ranked[0] is record and told_apart(ranked[0], ranked[1])
    return {"text": time_text(samples.median_us), "small": interval_or_count(samples), "bad": False, "best": best}
