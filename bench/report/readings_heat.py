"""The sentence and the table under the heat map of ratios."""

from __future__ import annotations

from statistics import geometric_mean

from .formats import counted, digits, interval_text, time_text, whole
from .heat import Heat

HEADER = (
    "spec",
    "tokens",
    "routing",
    "its skew here",
    "ratio",
    "95 % interval",
    "verdict",
    "time",
    "time of the other",
)


def heat_reading(heat: Heat) -> str:
    """In how many cases the one is faster, and how the ratio changes from the most even routing to the most skewed."""
    known = heat.known
    decided = [(place, ratio) for place, cell, ratio in known if not cell.doubt]
    faster = [(ratio, place) for place, ratio in decided if ratio > 1]
    slower = [(ratio, place) for place, ratio in decided if ratio < 1]
    parts = []
    if faster:
        ratio, place = max(faster)
        parts.append(f"faster in {len(faster)} (up to {_at(ratio, place)})")
    if slower:
        ratio, place = min(slower)
        parts.append(f"slower in {len(slower)} (down to {_at(ratio, place)})")
    undecided = len(known) - len(decided)
    parts += [f"undecided in {undecided}"] if undecided else []
    without = len(heat.cells) - len(known)
    left = f"; {counted(without, 'case')} without a ratio" if without else ""
    trend = _trend(heat) if decided else ""
    return f"{heat.name} over {heat.other}, {counted(len(known), 'case')}: {', '.join(parts)}{left}.{trend}"


def _at(ratio: float, place: tuple[str, str]) -> str:
    shape, routing = place
    return f"{digits(ratio)} times as fast, {shape}, {routing}"


def _trend(heat: Heat) -> str:
    """The mean ratio on the least and on the most skewed routing, over the shapes that have both."""
    ordered = [routing for routing in heat.routings if routing in heat.skews]
    if len(ordered) < 2 or heat.skews[ordered[0]] == heat.skews[ordered[-1]]:
        return ""
    known = {place: ratio for place, _, ratio in heat.known}
    both = [shape for shape in heat.shapes if all((shape, end) in known for end in (ordered[0], ordered[-1]))]
    if not both:
        return ""
    first, last = (geometric_mean([known[shape, end] for shape in both]) for end in (ordered[0], ordered[-1]))
    over = f" over the {len(both)} shapes that have both" if len(both) > 1 else f", {both[0]}"
    return (
        f" From the most even routing ({ordered[0]}) to the most skewed ({ordered[-1]}) the "
        f"{'mean ' if len(both) > 1 else ''}ratio goes from {digits(first)} to {digits(last)}{over}."
    )


def rows(heat: Heat) -> tuple[tuple[str, ...], ...]:
    """A row for each case, in the order of the map."""
    found = [(shape, routing) for shape in heat.shapes for routing in heat.routings if (shape, routing) in heat.cells]
    return tuple(_row(heat, place) for place in found)


def _row(heat: Heat, place: tuple[str, str]) -> tuple[str, ...]:
    cell = heat.cells[place]
    start = (cell.case.spec, whole(cell.case.tokens), place[1], digits(cell.skew))
    if cell.ratio is None or cell.times is None:
        return (*start, digits(None), "", cell.reason, digits(None), digits(None))
    verdict = cell.doubt or ("faster" if cell.ratio.value > 1 else "slower")
    interval = interval_text(cell.ratio.low, cell.ratio.high) or "none"
    return (*start, digits(cell.ratio.value), interval, verdict, *(time_text(time) for time in cell.times))
