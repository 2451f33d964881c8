"""The report's sections in reading order, and those of what was timed, placed and compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..records import CaseRecord, Run
from . import readings
from .cases import (
    Group,
    case_label,
    case_meta,
    case_title,
    main_case,
    measured_groups,
    scale_text,
    series_of,
)
from .clocks import NO_TABLE, Table, clock_table
from .figures_time import phases, rate_against_tokens, samples_in_order, time_against_tokens
from .figures_work import compiled_kernels, useful_and_executed
from .formats import NONE, bytes_text, whole
from .plot import Figure
from .scenarios import is_only_what_if
from .section import Section, Variant
from .sections_heat import heat_section
from .sections_ladder import ladder_section
from .sections_placement import is_only_placing, placement_sections
from .sections_roofline import regimes_section, roofline_section
from .sections_telemetry import telemetry_sections
from .sections_tuning import tuning_sections
from .sections_twins import twins_section
from .sections_what_if import what_if_sections
from .studies import is_only_tuning
from .traces import Traces


def sections(run: Run, traces: Traces | None = None) -> list[Section]:
    """Every section, in reading order. traces: those beside the run file, without which there are no timelines."""
    if is_only_tuning(run):
        return tuning_sections(run) + (placement_sections(run, None) if run.placements else [])
    if is_only_placing(run):
        return placement_sections(run, None) + what_if_sections(run)
    if is_only_what_if(run):
        return what_if_sections(run)
    found = measured_groups(run)
    main = main_case(run)
    return [
        *_against_tokens(run, found, main),
        roofline_section(run, found, main),
        regimes_section(run, found, main),
        *ladder_section(run, main),
        heat_section(found, main),
        _cases(
            "work",
            "Useful against executed FLOPs",
            "What the mathematics needs, and what tiles and padding add to it. Counted, not timed.",
            found,
            main,
            lambda group: (useful_and_executed(group), readings.work_reading(group)),
            "No measured record counts FLOPs.",
        ),
        twins_section(run, main),
        *_inside(found, main),
        *telemetry_sections(run, traces, main),
        *placement_sections(run, main),
        *what_if_sections(run),
        _compiled(run),
        *tuning_sections(run),
    ]


def _against_tokens(run: Run, found: Sequence[Group], main: Group | None) -> list[Section]:
    series = series_of(found)
    return [
        _series(
            "time",
            "Time against tokens",
            "Median of hot samples with its 95 % interval; lower is better.",
            series,
            main,
            lambda rows: (time_against_tokens(rows), readings.time_reading(rows)),
        ),
        _series(
            "rate",
            "Useful TFLOP/s against tokens",
            "FLOPs the mathematics needs over the hot median; the dashed line is the matrix rate measured in this run.",
            series,
            main,
            lambda rows: (
                rate_against_tokens(rows, run.environment),
                readings.rate_reading(rows, run.environment),
            ),
        ),
    ]


def _inside(found: Sequence[Group], main: Group | None) -> list[Section]:
    return [
        _cases(
            "phases",
            "Phases",
            "Where the time goes inside each implementation.",
            found,
            main,
            lambda group: (phases(group), readings.phases_reading(group)),
            "No phase was timed in this run.",
        ),
        _cases(
            "samples",
            "Samples in time order",
            "Every hot sample as it was taken: drift, throttling and disturbance show here.",
            found,
            main,
            lambda group: (samples_in_order(group), readings.samples_reading(group)),
            "Nothing was timed in this run.",
            clock_table,
        ),
    ]


def _series(
    name: str,
    title: str,
    lead: str,
    series: Sequence[tuple[CaseRecord, tuple[Group, ...]]],
    main: Group | None,
    draw: Callable[[tuple[Group, ...]], tuple[Figure | None, str]],
) -> Section:
    section = Section(name, title, lead, "measured", "Nothing was timed in this run.")
    first = 0
    for case, rows in series:
        figure, reading = draw(rows)
        if figure is not None:
            if main in rows:
                first = len(section.variants)
            spec = f"{case.spec} (scaled down)" if scale_text(case) else case.spec
            label = " · ".join(part for part in (spec, case.routing, case.dtype) if part)
            section.variants.append(
                Variant(case_label(case, label), figure, reading, meta=case_meta(case, tokens=False))
            )
    return section.starting(first)


def _cases(
    name: str,
    title: str,
    lead: str,
    found: Sequence[Group],
    main: Group | None,
    draw: Callable[[Group], tuple[Figure | None, str]],
    empty: str,
    table: Callable[[Group], Table] = lambda _: NO_TABLE,
) -> Section:
    section = Section(name, title, lead, "measured" if name != "work" else "counted", empty)
    first = 0
    for group in found:
        figure, reading = draw(group)
        if figure is not None:
            if group == main:
                first = len(section.variants)
            label = case_label(group.case, case_title(group.case))
            section.variants.append(Variant(label, figure, reading, *table(group), meta=case_meta(group.case)))
    return section.starting(first)


_RESOURCES = (
    "implementation",
    "kernel",
    "configuration",
    "registers",
    "spills",
    "shared memory",
    "tensor instructions",
)


def _compiled(run: Run) -> Section:
    section = Section(
        "compiled",
        "Kernels compiled ahead of time",
        "Registers of every kernel and configuration; hollow where registers spill.",
        "compiled",
        "No kernel was compiled ahead of time in this run.",
    )
    figure = compiled_kernels(run)
    if figure is not None:
        rows = tuple(_resource(record.implementation, entry) for record in run.records for entry in record.resources)
        section.variants.append(Variant("all", figure, readings.compiled_reading(run), _RESOURCES, rows))
    return section


def _resource(implementation: str, entry: dict[str, Any]) -> tuple[str, ...]:
    shape = " ".join(str(entry[key]) for key in ("configuration", "dtype", "architecture") if entry.get(key))
    start = (implementation, str(entry.get("name", NONE)), shape)
    if entry.get("error"):
        return (*start, f"failed: {entry['error']}", NONE, NONE, NONE)
    numbers = (whole(entry.get(key)) for key in ("registers", "spills"))
    return (*start, *numbers, bytes_text(entry.get("shared_bytes")), whole(entry.get("tensor_instructions")))
