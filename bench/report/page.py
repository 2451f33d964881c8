"""Puts a run's sections into one self-contained HTML page."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..records import Run
from ..records.codec import plain
from . import readings
from .cases import case_title, main_case, measured_groups, placement_groups, scale_text
from .formats import bytes_text, digits, is_number, rate_text
from .machine import machine_text
from .section import Section
from .sections import sections
from .studies import is_only_tuning, study_rows, tuning_verdict
from .traces import load_traces
from .verdict import other_rows, table_rows, verdict

QUESTION = (
    "Which implementation of the heterogeneous grouped expert FFN is fastest on this machine, "
    "and what would its placement cost?"
)
TUNING_QUESTION = "Is there a launch configuration that is faster than the one in use, and by how much?"
_TEMPLATES = Path(__file__).parent / "templates"


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


def render(run: Run, folder: Path | None = None) -> str:
    """The page as HTML; `folder` as in `write_report`."""
    found = sections(run, load_traces(run, folder))
    main = main_case(run)
    return template("report.html.j2").render(
        run=run,
        question=TUNING_QUESTION if is_only_tuning(run) else QUESTION,
        verdict=tuning_verdict(run) if is_only_tuning(run) else verdict(run),
        studies=study_rows(run),
        only_tuning=is_only_tuning(run),
        placing=_placing(run),
        main=_case_table(main) if main else None,
        others=[_case_table(group) for group in measured_groups(run) if group != main],
        unmeasured=other_rows(run),
        scaled=readings.scaled_reading(run),
        badges=badges(run),
        sections=found,
        figures=embedded(found),
        machine=machine_text(run),
        facts=facts(run),
        command=shlex.join(run.command),
        methods=readings.timing_methods(run),
        style=asset("style.css"),
        script=asset("report.js"),
        plotly=Markup(get_plotlyjs()),
    )


def template(name: str) -> Template:
    """A template of the report: what it is given is text, and what it is not given is an error."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    return environment.get_template(name)


def asset(name: str) -> Markup:
    """A file that goes into the page as it is."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def embedded(found: list[Section]) -> Markup:
    """Every figure as JSON that can stand inside a script element: no "<" is left in it."""
    figures = {section.name: [variant.figure for variant in section.variants] for section in found}
    return Markup(json.dumps(plain(figures), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def _case_table(group: Any) -> dict[str, Any]:
    return {
        "title": case_title(group.case),
        "device": group.case.device,
        "scale": scale_text(group.case),
        "rows": table_rows(group),
        "note": readings.baseline_reading(group),
    }


def _placing(run: Run) -> str:
    """What placing the experts of the main case on the most ranks would cost; empty where that is not known."""
    main = main_case(run)
    found = [(ranks, rows) for case, ranks, rows in placement_groups(run) if main and case.key == main.case.key]
    if not found:
        return ""
    return f"Placed (predicted from the same routing): {readings.placement_sentence(max(found, key=lambda x: x[0])[1])}"


def badges(run: Run) -> list[tuple[str, int]]:
    """How many records, placements and studies there are of every provenance."""
    kinds = [str(one.provenance) for one in (*run.records, *run.placements, *run.tuning)]
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
    return found


def _label(key: str) -> str:
    return key.removesuffix("_bytes").replace("_", " ")


def _fact(key: str, value: Any) -> str:
    if value is None:
        return "not known"
    return bytes_text(value) if key.endswith("_bytes") and is_number(value) else str(value)
