"""The section of the ladder: the versions of an implementation that has several, side by side."""

from __future__ import annotations

from ..records import Run
from . import readings_ladder as readings
from .cases import Group, case_label, case_meta, scale_text
from .figures_ladder import ladder_figure
from .ladder import ladders
from .section import Section, Variant

NAME = "ladder"


def ladder_section(run: Run, main: Group | None) -> list[Section]:
    """The section, a variant for each layer, routing, dtype and implementation; none without two timed versions."""
    section = Section(
        NAME,
        "The ladder of versions",
        "What each version of an implementation adds to the one before it, from the simplest on, in decode and in "
        "prefill; the last bar is the implementation itself, as it is used.",
        "measured",
        "No two versions of an implementation were timed on one case.",
        open=True,
    )
    weights: list[tuple[bool, int]] = []  # shown first: of the main case the ladder with the most versions
    for case, found in ladders(run):
        mine = main is not None and (case.spec, case.routing) == (main.case.spec, main.case.routing)
        weights.append((mine, max(len(ladder.timed) for ladder in found)))
        layer = f"{case.spec} (scaled down)" if scale_text(case) else case.spec
        label = " · ".join(part for part in (found[0].family, layer, case.routing, case.dtype) if part)
        section.variants.append(
            Variant(
                case_label(case, label),
                ladder_figure(found, run.environment),
                readings.ladder_reading(found),
                readings.HEADER,
                readings.table(found, run.environment),
                readings.remarks(found),
                case_meta(case, tokens=False),
            )
        )
    return [section.starting(weights.index(max(weights)))] if section.variants else []
