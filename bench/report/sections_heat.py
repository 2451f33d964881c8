"""The section of ratios by shape and routing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..records import BASELINE
from . import readings_heat as readings
from .cases import Group
from .figures_heat import heat_map
from .formats import counted
from .heat import heat_of, rivals
from .palette import ordered
from .section import Section, Variant

# An interval over the baseline stands in the record; any other is found here, in about half a millisecond.
MOST_FOUND = 1500


def heat_section(found: Sequence[Group], main: Group | None) -> Section:
    """A heat map for each two implementations, dtype and device: all over the baseline, the fastest over all others."""
    section = Section(
        "heat",
        "Who gains where: shape and skew",
        "How many times as fast the first is as the second, hot median over hot median: blue faster, orange slower, "
        "pale where undecided. Routings go from even to skewed: their skew, rows of the fullest expert over the mean "
        "at the most tokens, is read back from the FLOPs that padded_bmm executed.",
        "measured",
        "No two implementations were timed on one case.",
    )
    first: int | None = None
    left, left_out = MOST_FOUND, 0
    kinds = dict.fromkeys((group.case.dtype, group.case.device) for group in found)
    best = main.fastest[0].implementation if main is not None and main.timed else None
    for dtype, device in kinds:
        mine = [group for group in found if (group.case.dtype, group.case.device) == (dtype, device)]
        names = ordered(record.implementation for group in mine for record in group.timed)
        for name, other in rivals(names, best):
            if other != BASELINE:
                if len(mine) > left:
                    left_out += 1
                    continue
                left -= len(mine)
            heat = heat_of(mine, name, other)
            figure = heat_map(heat)
            if figure is None:
                continue
            ours = main is not None and (main.case.dtype, main.case.device) == (dtype, device)
            if ours and name == best and first is None:
                first = len(section.variants)
            tail = "".join(f" · {part}" for part in (dtype, device and f"on {device}") if part)
            label = f"{name} over {other}{tail}"
            reading = readings.heat_reading(heat)
            meta, table = {"implementation": [name, other]}, readings.rows(heat)
            section.variants.append(Variant(label, figure, reading, readings.HEADER, table, meta=meta))
    if left_out:
        more = (
            f"Left out of a run of this size, as their intervals take long to find: {counted(left_out, 'further map')}."
        )
        section = replace(section, lead=f"{section.lead} {more}")
    return section.starting(first or 0)
