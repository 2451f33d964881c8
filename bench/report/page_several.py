"""Puts several runs into one page: together where they can be compared, each alone where not."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..records import LabelledRun, uncollected
from . import readings
from .cases import versions_of
from .choices import choices
from .embedding import data_element
from .page import MOST_TABLES, badges, facts, machinery, template, write_page
from .palette import ordered
from .record_rows import record_header, record_rows
from .sections_several import several_sections
from .several import BOTH, OVER_TIME, SIDE_BY_SIDE, Several
from .verdict_several import case_table, columns, verdict_several

_QUESTIONS = {
    OVER_TIME: "How have the implementations of the heterogeneous grouped expert FFN changed on this machine?",
    SIDE_BY_SIDE: "How do these machines compare on the heterogeneous grouped expert FFN?",
    BOTH: "How do these machines compare on the heterogeneous grouped expert FFN, and what has changed on each?",
}


def write_several(runs: Sequence[LabelledRun], path: Path) -> None:
    """Write the report of two runs or more to `path`. Raises ValueError when it cannot be written."""
    write_page(render_several(runs), path)


@uncollected()
def render_several(runs: Sequence[LabelledRun]) -> str:
    """The page as HTML; traces are looked for beside each run."""
    several = Several(runs)
    found = several_sections(several)
    tables = [case_table(several, case) for case in several.cases]
    rows = [row for item in several.runs for row in record_rows(item.run, item.label)]
    counts: Counter[str] = Counter()
    for item in several.runs:
        counts.update(dict(badges(item.run)))
    return template("several.html.j2").render(
        kind=several.kind,
        question=_QUESTIONS[several.kind],
        machines=[machine.name for machine in several.machines],
        verdict=verdict_several(several),
        badges=counts.items(),
        columns=columns(several),
        main=tables[0] if tables else None,
        others=tables[1 : MOST_TABLES + 1],
        versions=ordered(record.implementation for item in several.runs for record in versions_of(item.run)),
        untold=max(0, len(tables) - MOST_TABLES - 1),
        differences=several.differences,
        details=[_details(item) for item in several.runs],
        **machinery("runs", found, choices([item.run for item in several.runs], found)),
        records=data_element("record-rows", {"header": record_header(several.labels), "rows": rows}),
        record_count=len(rows),
    )


def _details(item: LabelledRun) -> dict[str, object]:
    run = item.run
    known = {"facts": facts(run), "methods": readings.timing_methods(run)}
    return {"label": item.label, "command": shlex.join(run.command), **known}
