"""The section of the paper's question: unequal experts against equal ones."""

from __future__ import annotations

from typing import Any

from ..records import Run
from . import readings_twins as readings
from .cases import Group, case_label, case_meta, scale_text
from .figures_twins import twins_figure
from .section import Section, Variant
from .twins import Pair, pairs


def twins_section(run: Run, main: Group | None) -> Section:
    """Every heterogeneous layer beside its uniform twin, a variant for each routing and dtype."""
    section = Section(
        "uniform",
        "Unequal experts against equal ones",
        "What fewer parameters buy: the heterogeneous layer against the uniform one with the same tokens, routing, "
        "experts and top K. Below 0 the heterogeneous layer costs less.",
        "measured",
        "No heterogeneous layer was timed beside a uniform twin.",
    )
    series: dict[tuple[Any, ...], list[Pair]] = {}
    for pair in pairs(run):
        case = pair.mine.case
        series.setdefault((case.spec, pair.twin.case.spec, case.routing, case.dtype, case.device), []).append(pair)
    first = 0
    for (spec, twin, routing, dtype, _), found in series.items():
        case = found[0].mine.case
        if main and (spec, routing) == (main.case.spec, main.case.routing):
            first = len(section.variants)
        against = f"{spec} against {twin}{' (scaled down)' if scale_text(case) else ''}"
        label = case_label(case, " · ".join(part for part in (against, routing, dtype) if part))
        meta = {**case_meta(case, tokens=False), "spec": [spec, twin]}
        header, rows = readings.table(found)
        said, remarks = readings.twins_reading(found), readings.remarks(found)
        section.variants.append(Variant(label, twins_figure(found), said, header, rows, remarks, meta))
    return section.starting(first)
