"""The report's sections of a what-if study: who is best where, whether moving pays, the front, the axes, the groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..records import Provenance, Run, WhatIfRecord
from ..whatif.settings import GIVEN, Setting, main_setting, seconds_of, settings, solved, together
from . import figures_what_if as figures
from .formats import NONE, bytes_text, digits, is_number, percent_text, time_text, whole
from .readings_what_if import (
    along_reading,
    baseline_of,
    best_sentence,
    cost_source,
    front_reading,
    horizon_of,
    impossible_sentence,
    link_sources,
    worth_sentence,
)
from .scenarios import SKEW, axis_values, choice_name, follows, meta, numeric_axes, title, value_of, varying
from .section import Section, Variant
from .sections_steps import step_sections
from .sections_transfer import transfer_section

MOST = 40  # variants of a section: a large study is read from its run file
Rows = tuple[tuple[str, ...], ...]
_WORKLOAD = ("spec", "tokens", "routing", "group_loss", "seed")
_CHOICES = (
    "choice",
    "step",
    "times as fast",
    "work / bound",
    "rows, max / mean",
    "memory",
    "traffic",
    "has to move",
    "paid after, steps",
    "net gain",
)
_FRONT = ("choice", "ranks", "cluster", "step", "memory of the fullest", "bytes on all links", "work / bound")


def what_if_sections(run: Run) -> list[Section]:
    """The sections of a run with a what-if study; none of another one."""
    if not (run.what_if or run.transfers):
        return []
    found, rows = settings(run.what_if), solved(run.what_if)
    parts = [
        _best(run, found, rows),
        _worth(run, found, rows),
        _front(found, rows),
        _along(found, rows),
        _groups(found, rows),
    ]
    asked = [part for part in parts if part.variants or part.name in ("what_if_best", "what_if_worth")]
    return [*(asked if run.what_if else []), *transfer_section(run), *step_sections(run)]


def _section(name: str, heading: str, lead: str, empty: str) -> Section:
    return Section(name, heading, lead, str(Provenance.SIMULATED), empty)


def _filled(section: Section, variants: Sequence[tuple[bool, Variant]]) -> Section:
    """The section with the variants, of which the first that is marked is shown first; at most MOST, that one among
    them.
    """
    first = next((index for index, (marked, _) in enumerate(variants) if marked), 0)
    kept = list(range(len(variants)))
    if len(kept) > MOST:
        start = min(max(0, first - MOST // 2), len(kept) - MOST)
        kept = kept[start : start + MOST]
    left = len(variants) - len(kept)
    for index in kept:
        section.variants.append(_with_left(variants[index][1], left))
    return section.starting(kept.index(first) if kept else 0)


def _with_left(variant: Variant, left: int) -> Variant:
    said = f"{whole(left)} more are in the run file and not drawn here."
    return replace(variant, remarks=(*variant.remarks, said)) if left else variant


def _best(run: Run, found: Sequence[Setting], rows: Sequence[WhatIfRecord]) -> Section:
    section = _section(
        "what_if_best",
        "Which placement is best where",
        "The quickest choice of every setting and how many times as fast a step is as under "
        f"{baseline_of(run)}, planned on one step and scored on the next; darker gains more.",
        "No scenario of this study is possible.",
    )
    if not found:
        return section
    x, y = _map_axes(rows)
    rest = [axis for axis in GIVEN if axis not in (x, y) and not (axis == "cluster" and follows(rows, axis, (x, y)))]
    by_rest: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in found:
        by_rest.setdefault(tuple(setting.given[axis] for axis in rest), []).append(setting)
    main, sources = main_setting(found), (*impossible_sentence(run), *cost_source(run), *link_sources(run))
    variants = []
    for values, own in by_rest.items():
        figure = figures.best_map(own, x, y)
        label = title(dict(zip(rest, values, strict=True)), rows)
        chosen = main_setting(own)
        reading = f"{title(chosen.given, rows).replace(' · ', ', ')}: {best_sentence(chosen, baseline_of(run))}."
        variants.append((main in own, Variant(label, figure, reading, remarks=sources)))
    return _filled(section, variants)


def _map_axes(rows: Sequence[WhatIfRecord]) -> tuple[str, str]:
    """Across and down: ranks across where they vary; else the two axes with most values, the longer names down."""
    ways = [axis for axis in varying(rows) if axis not in ("ranks", "cluster")]
    ways.sort(key=lambda axis: -len(axis_values(rows, axis)))
    across = "ranks" in varying(rows) or len(ways) < 2
    return ("ranks" if across else ways[1]), (ways[0] if ways else "routing")


def _worth(run: Run, found: Sequence[Setting], rows: Sequence[WhatIfRecord]) -> Section:
    baseline, horizon = baseline_of(run), horizon_of(run)
    section = _section(
        "what_if_worth",
        "Is balancing worth it here?",
        f"Time gained since the change from {baseline}: it begins with what moving the experts costs, and has paid "
        "where the line crosses zero.",
        "No scenario of this study is possible.",
    )
    main = main_setting(found) if found else None
    variants = []
    for setting in found:
        figure = figures.net_benefit(setting, horizon)
        table = tuple(_choice(row) for row in sorted(setting.choices, key=seconds_of))
        notes = tuple(dict.fromkeys(f"{choice_name(row)}: {row.note}." for row in setting.choices if row.note))
        reading = worth_sentence(setting, baseline, horizon)
        label = title(setting.given, rows)
        variants.append(
            (setting is main, Variant(label, figure, reading, _CHOICES, table, notes[:4], meta(setting.given)))
        )
    return _filled(section, variants)


def _choice(row: WhatIfRecord) -> tuple[str, ...]:
    gain = figures.times_as_fast(row)
    return (
        choice_name(row) + (" (does not fit)" if row.fits is False else ""),
        time_text(seconds_of(row) * 1e6),
        digits(gain),
        digits(row.work_over_bound),
        digits(row.rows_max_over_mean),
        bytes_text(row.memory),
        bytes_text(row.traffic),
        bytes_text(row.migration_bytes),
        whole(-(-row.pays_after // 1)) if is_number(row.pays_after) else ("never" if gain is not None else NONE),
        _signed_time(row.net_s),
    )


def _signed_time(seconds: float | None) -> str:
    if not is_number(seconds):
        return NONE
    return f"{'−' if seconds < 0 else ''}{time_text(abs(seconds) * 1e6)}" if seconds else "0"


def _front(found: Sequence[Setting], rows: Sequence[WhatIfRecord]) -> Section:
    section = _section(
        "what_if_front",
        "Time, memory and traffic",
        "Every choice for one workload, ranks among them; solid what no other beats in all three.",
        "Memory and traffic are not known.",
    )
    main = main_setting(found).given if found else {}
    variants = []
    for given, own in together(rows, _WORKLOAD):
        figure = figures.pareto(own)
        if figure is not None:
            marked = all(main.get(axis) == value for axis, value in given.items())
            table = tuple(_front_row(row) for row in figures.front_of(own))
            label = title(given, rows)
            variants.append((marked, Variant(label, figure, front_reading(own), _FRONT, table, meta=meta(given))))
    return _filled(section, variants)


def _front_row(row: WhatIfRecord) -> tuple[str, ...]:
    time, work = time_text(seconds_of(row) * 1e6), digits(row.work_over_bound)
    return (choice_name(row), str(row.ranks), row.cluster, time, bytes_text(row.memory), bytes_text(row.traffic), work)


def _along(found: Sequence[Setting], rows: Sequence[WhatIfRecord]) -> Section:
    section = _section(
        "what_if_along",
        "A step along an axis of the study",
        "Simulated time of a step and work of the busiest rank over a proven bound, for every choice; lower is better.",
        "Nothing that is a number varies in this study.",
    )
    main = main_setting(found).given if found else {}
    variants = []
    for axis in numeric_axes(rows):
        fixed = [name for name in GIVEN if name != ("routing" if axis == SKEW else axis)]
        if axis == "ranks" and follows(rows, "cluster", ("ranks",)):
            fixed.remove("cluster")
        for given, own in together(rows, fixed):
            figure = figures.along(own, axis)
            if figure is not None:
                marked = all(main.get(name) == value for name, value in given.items())
                label = f"{_AXIS_WORDS[axis]}: {title(given, rows)}"
                variants.append((marked, Variant(label, figure, along_reading(axis, _ends(own, axis)))))
    return _filled(section, variants)


_AXIS_WORDS = {"ranks": "ranks", "tokens": "tokens", "group_loss": "group loss", SKEW: "skew"}


def _ends(rows: Sequence[WhatIfRecord], axis: str) -> tuple[tuple[Any, WhatIfRecord], tuple[Any, WhatIfRecord]]:
    """The quickest at the least and at the greatest value of an axis, with that value."""
    values = axis_values(rows, axis)
    low, high = (
        (value, min((row for row in rows if value_of(row, axis) == value), key=seconds_of))
        for value in (values[0], values[-1])
    )
    return low, high


def _groups(found: Sequence[Setting], rows: Sequence[WhatIfRecord]) -> Section:
    section = _section(
        "what_if_groups",
        "What the group loss shifts",
        "Share of the rows in each group as the group loss steers them from wide groups to narrow ones: 0 is the "
        "routing as it is, 1 where the loss rests. A model of the router, not a trained one.",
        "The group loss does not vary in this study.",
    )
    main = main_setting(found).given if found else {}
    variants = []
    for given, own in together(rows, [axis for axis in GIVEN if axis != "group_loss"]):
        figure = figures.group_shares(own)
        if figure is not None:
            marked = all(main.get(axis) == value for axis, value in given.items())
            variants.append((marked, Variant(title(given, rows), figure, *_shift(own))))
    return _filled(section, variants)


def _shift(rows: Sequence[WhatIfRecord]) -> tuple[str, tuple[str, ...], Rows]:
    """The sentence and the table of what the group loss saves: the quickest choice at every strength."""
    table, best = [], []
    for given, own in together(rows, ("group_loss",)):
        quick = min(own, key=seconds_of)
        best.append((given["group_loss"], quick))
        cells = (percent_text(quick.flops_saved), time_text(seconds_of(quick) * 1e6), choice_name(quick))
        table.append((f"{given['group_loss']:g}", *cells, digits(quick.work_over_bound)))
    best.sort(key=lambda pair: pair[0])
    strength, most = best[-1]
    said = f"At strength {strength:g} the group loss saves {percent_text(most.flops_saved)} of the FLOPs"
    ratio = seconds_of(most) / seconds_of(best[0][1])
    said += f", and the quickest step takes {digits(ratio)} times that at {best[0][0]:g}."
    return said, ("strength", "FLOPs saved", "quickest step", "choice", "work / bound"), tuple(table)
