"""Puts a run's sections into one self-contained HTML page."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..peers import family_of
from ..records import Record, Run, uncollected
from . import readings
from .bars import bars
from .cases import (
    Group,
    case_meta,
    case_title,
    is_measured,
    main_case,
    measured_groups,
    placement_groups,
    scale_text,
    versions_of,
)
from .choices import Choices, choices
from .embedding import Blocks, blocks_of, data_element
from .formats import bytes_text, digits, is_number, rate_text, whole
from .machine import machine_text
from .readings_placement import placement_sentence
from .record_rows import record_header, record_rows
from .section import Section
from .sections import sections
from .studies import study_rows
from .subjects import subject
from .traces import load_traces
from .verdict import other_rows, table_rows

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("filter.js", "figures.js", "rows.js", "report.js")
# Variants, their rows and cases beyond these many are written by the page when they are asked for: its text would be
# too long.
MOST_PANELS, MOST_ROWS, MOST_TABLES = 30, 400, 20


def write_report(run: Run, path: Path, folder: Path | None = None) -> None:
    """Write the report of `run` to `path`. Raises ValueError when it cannot be written.

    folder: where the run file lies, and beside it the traces of telemetry; without it there are no timelines
    """
    write_page(render(run, folder), path)


def write_page(page: str, path: Path) -> None:
    """Write a page. Raises ValueError when it cannot be written."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: expected a file that can be written, got {error.strerror or error}") from error


@uncollected()
def render(run: Run, folder: Path | None = None) -> str:
    """The page as HTML; `folder` as in `write_report`."""
    found = sections(run, load_traces(run, folder))
    main, about = main_case(run), subject(run)
    others = [group for group in measured_groups(run) if group != main]
    folded = [record for record in versions_of(run) if is_measured(record)]
    return template("report.html.j2").render(
        run=run,
        question=about.question,
        verdict=about.verdict,
        compares=about.compares,
        studies=study_rows(run),
        placing=_placing(run),
        main=_case_table(main, run, folded) if main else None,
        bars=bars(main) if main and about.compares else [],
        others=[_case_table(group, run, folded) for group in others[:MOST_TABLES]],
        untold=max(0, len(others) - MOST_TABLES),
        unmeasured=other_rows(run),
        scaled=readings.scaled_reading(run),
        badges=badges(run),
        machine=machine_text(run),
        facts=facts(run),
        command=shlex.join(run.command),
        methods=readings.timing_methods(run),
        **machinery(run.name, found, choices([run], found)),
        records=data_element("record-rows", {"header": record_header(), "rows": record_rows(run)}),
        record_count=len(run.records),
        ladder="ladder" if any(section.name == "ladder" for section in found) else "records",
    )


def machinery(name: str, found: Sequence[Section], offered: Choices) -> dict[str, Any]:
    """What a page needs to be drawn and filtered: sections, data, scripts and style, by their names in the template."""
    drawn = [section for section in found if section.variants]
    about = {
        "name": name,
        "implementations": [chip.name for chip in offered.chips],
        "spec": offered.specs,
        "routing": offered.routings,
        "sections": {section.name: [variant.meta for variant in section.variants] for section in drawn},
        "first": {section.name: section.first for section in drawn},
        "provenance": {section.name: section.provenance for section in drawn},
    }
    late = {section.name: late_variants(section) for section in drawn}
    data = {section.name: embedded(section, late[section.name]) for section in drawn if section.drawn}
    about["blocks"] = {name: blocks.firsts for name, blocks in data.items()}
    elements = [element for blocks in data.values() for element in blocks.elements]
    return {
        "sections": found,
        "choices": offered,
        "late": late,
        "data": Markup("\n").join([data_element("about", about, packed=False), *elements]),
        "style": asset("style.css"),
        "script": Markup('(function () {{\n"use strict";\n{}}})();').format(Markup().join(map(asset, _SCRIPTS))),
        "plotly": Markup(get_plotlyjs()),
    }


def late_variants(section: Section) -> set[int]:
    """The places of the variants that the page's text leaves out; never that of the first one shown."""
    rows, late = 0, set()
    for place, variant in enumerate(section.variants):
        if (place >= MOST_PANELS or rows > MOST_ROWS) and place != section.first and section.drawn:
            late.add(place)
        rows += len(variant.rows)
    return late


def embedded(section: Section, late: Collection[int]) -> Blocks:
    """A section's figures, one for each variant, and the words of those variants that the page's text leaves out."""
    items = []
    for place, variant in enumerate(section.variants):
        words = {"reading": variant.reading, "header": variant.header, "rows": variant.rows, "remarks": variant.remarks}
        items.append((variant.figure, words if place in late else None))
    return blocks_of(f"figures-{section.name}", items)


def template(name: str) -> Template:
    """A template of the report: what it is given is text, and what it is not given is an error."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters["whole"] = whole
    return environment.get_template(name)


def asset(name: str) -> Markup:
    """A file that goes into the page as it is."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _case_table(group: Group, run: Run, folded: Sequence[Record]) -> dict[str, Any]:
    """folded: records of versions that are in no table, of any case"""
    names = [record.implementation for record in folded if record.case.key == group.case.key]
    return {
        "title": case_title(group.case),
        "device": group.case.device,
        "scale": scale_text(group.case),
        "rows": table_rows(group, run.environment),
        "meta": case_meta(group.case),
        "note": readings.baseline_reading(group),
        "folded": names,
        "families": list(dict.fromkeys(filter(None, map(family_of, names)))),
    }


def _placing(run: Run) -> str:
    """What placing the experts of the main case on the most ranks would cost; empty where that is not known."""
    main = main_case(run)
    found = [(ranks, rows) for case, ranks, rows in placement_groups(run) if main and case.key == main.case.key]
    if not found:
        return ""
    return f"Placed (predicted from the same routing): {placement_sentence(max(found, key=lambda x: x[0])[1])}"


def badges(run: Run) -> list[tuple[str, int]]:
    """How many records, placements, studies and scenarios there are of every provenance."""
    kinds = [str(one.provenance) for one in (*run.records, *run.placements, *run.tuning, *run.what_if, *run.transfers)]
    return [(kind, kinds.count(kind)) for kind in dict.fromkeys(kinds)]


def facts(run: Run) -> list[tuple[str, str]]:
    """The machine, the versions and the revision, by name."""
    environment = run.environment
    found = [
        ("GPU" if key == "name" else f"GPU {_label(key)}", _fact(key, value))
        for key, value in (environment.gpu or {"name": "none"}).items()
    ]
    found += [(f"CPU {_label(key)}", _fact(key, value)) for key, value in environment.cpu.items()]
    roof = environment.roof
    if roof is not None:
        found += [(f"measured matrix rate, {dtype}", rate_text(rate)) for dtype, rate in roof.matmul_tflops.items()]
        copied = roof.copy_tbps
        found.append(
            ("measured copy bandwidth", f"{digits(copied * 1000)} GB/s" if is_number(copied) else "not measured")
        )
        found.append(("roofs measured by", roof.method or "not said"))
    else:
        found.append(("measured roofs", "none in this run"))
    found += [("Python", environment.python or "not said"), ("platform", environment.platform or "not said")]
    found += list(environment.libraries.items())
    dirty = " with changes not committed" if run.git and run.git.dirty else ""
    found.append(("revision", f"{run.git.revision}{dirty}" if run.git else "not a repository"))
    found.append(("kernel sources, SHA-256", run.source_hash))
    found += [
        ("started", run.started),
        ("finished", run.finished or "interrupted"),
        ("run file schema", str(run.schema)),
    ]
    return found + _circumstances(run.notes)


def _circumstances(notes: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run says in words of how it was made: a device that was not its own, and when it was taken up again."""
    found = [(name, words) for name, words in notes.items() if isinstance(words, str) and words]
    again = notes.get("resumed")
    for one in again if isinstance(again, list) else []:
        if isinstance(one, Mapping):
            different = one.get("differences") or []
            words = "; ".join(map(str, different)) if isinstance(different, list) else str(different)
            found.append(
                (f"resumed {one.get('at', '')}".strip(), f"with differences: {words}" if words else "as it was started")
            )
    return found


def _label(key: str) -> str:
    return key.removesuffix("_bytes").replace("_", " ")


def _fact(key: str, value: Any) -> str:
    if value is None:
        return "not known"
    return bytes_text(value) if key.endswith("_bytes") and is_number(value) else str(value)
