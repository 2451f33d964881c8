"""Figures over several runs: a trend on one machine, and machines side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..comparison import Row, Verdict
from ..comparison.matching import ways
from ..records import Samples
from .cases import case_title
from .figures_time import error_bars, interval_words
from .formats import interval_text, is_number, time_text
from .palette import NEUTRAL, colour, marker
from .plot import Figure, about, layout, logarithmic, points, rule, text
from .several import Machine, Several, SharedCase, started

# What tells runs apart, whatever the colour: markers in a trend, hatching of bars.
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "cross", "hexagon", "bowtie")
PATTERNS = ("", "/", "x", ".", "\\", "+", "-", "|")
MOST_BARS = len(PATTERNS)
_ROW_PIXELS = 19  # a line of the figure of changes
_CUSTOM = "(%{customdata[1]}), %{customdata[0]}"


def trend(several: Several, machine: Machine, case: SharedCase) -> Figure | None:
    """Hot median of each implementation over the machine's runs, with its interval, by the time they started.

    None with fewer than two runs that timed the case. Times taken in different ways are not joined.
    """
    places = [place for place in several.places(machine) if place in case.timed]
    if len(places) < 2:
        return None
    xs, axis = _times(several, places)
    data: list[dict[str, Any]] = []
    for name in case.timed_implementations:
        timed = [(place, samples) for place in places if (samples := case.time(place, name)) is not None]
        for number, part in enumerate(_alike(timed)):
            symbols = [MARKERS[place % len(MARKERS)] for place, _ in part]
            trace = points(
                name,
                x=[xs[place] for place, _ in part],
                y=[samples.median_us / 1000 for _, samples in part],
                error_y=error_bars([samples for _, samples in part]),
                customdata=[_words(several, place, samples) for place, samples in part],
                hovertemplate="<b>%{fullData.name}</b>, %{customdata[0]}<br>%{customdata[1]}<extra></extra>",
                showlegend=number == 0,
            )
            data.append({**trace, "marker": {**trace["marker"], "symbol": symbols, "size": 9}})
    data += [_key(several, place) for place in places]
    values = [value for trace in data for value in trace["y"] if value is not None]
    y_axis = {"title": {"text": "time, ms"}, **logarithmic(min(values), max(values))}
    return {"data": data, "layout": layout(height=430, x=axis, y=y_axis)}


def _key(several: Several, place: int) -> dict[str, Any]:
    """A run's marker in the legend, without a colour: that is the implementation's."""
    mark = {"color": NEUTRAL, "symbol": MARKERS[place % len(MARKERS)], "size": 9}
    name = text(several.labels[place])
    return {"type": "scatter", "mode": "markers", "name": name, "x": [None], "y": [None], "marker": mark}


def side_by_side(several: Several, case: SharedCase) -> Figure | None:
    """Hot median of each implementation in each run, a bar per run told apart by its hatching; at most MOST_BARS runs,
    the last of each machine first. None where fewer than two runs timed the case.
    """
    places = shown(several, case)
    if len(places) < 2:
        return None
    names = case.timed_implementations
    data: list[dict[str, Any]] = []
    for number, place in enumerate(places):
        pattern = {"shape": PATTERNS[number], "fillmode": "overlay", "fgcolor": "#ffffff", "fgopacity": 0.7, "size": 7}
        run = {"name": text(label_of(several, place)), "legendgroup": f"run {place}", "offsetgroup": f"run {place}"}
        shared = {"type": "bar", "orientation": "h", **run}
        for name in names:
            samples = case.time(place, name)
            if samples is not None:
                data.append({**shared, **_bar(name, samples, pattern), "customdata": [_words(several, place, samples)]})
        # The legend has no colour: that is the implementation's.
        key = {"y": [None], "x": [None], "marker": {"color": NEUTRAL, "pattern": pattern}, "hoverinfo": "skip"}
        data.append({**shared, **key})
    y_axis = {"categoryorder": "array", "categoryarray": [text(name) for name in names], "autorange": "reversed"}
    height = 120 + 18 * len(places) + len(names) * max(34, 20 * len(places))
    x_axis = {"title": {"text": "time, ms"}, "rangemode": "tozero"}
    drawn = layout(height=height, x=x_axis, y=y_axis, barmode="group", bargap=0.3)
    drawn["legend"] |= {"orientation": "v", "traceorder": "normal"}
    drawn["margin"] = {**drawn["margin"], "t": 24 + 22 * len(places)}
    return {"data": data, "layout": drawn}


def _bar(name: str, samples: Samples, pattern: dict[str, Any]) -> dict[str, Any]:
    return {
        "showlegend": False,
        **about(name),
        "y": [text(name)],
        "x": [samples.median_us / 1000],
        "marker": {"color": colour(name), "pattern": pattern},
        "error_x": error_bars([samples]),
        "hovertemplate": "<b>%{y}</b>, %{customdata[0]}<br>%{customdata[1]}<extra></extra>",
    }


def shown(several: Several, case: SharedCase) -> list[int]:
    """The places of the runs that stand side by side: those with times of the case, the last of each machine if there
    are too many.
    """
    timed = case.timed
    if len(timed) <= MOST_BARS:
        return timed
    last = [max(mine) for machine in several.machines if (mine := set(several.places(machine)) & set(timed))]
    return sorted(last)[:MOST_BARS]


def label_of(several: Several, place: int) -> str:
    """A run by its label, and by its machine where there are several."""
    machine = next(machine for machine in several.machines if place in several.places(machine))
    label = several.labels[place]
    return label if len(several.machines) == 1 else f"{machine.name} · {label}"


def _times(several: Several, places: Sequence[int]) -> tuple[dict[int, Any], dict[str, Any]]:
    """Where each run stands on the x axis: at the time it started, or by its order where that is not known."""
    times = {place: started(several.runs[place]) for place in places}
    known = [time for time in times.values() if time is not None]
    if len(set(known)) == len(places):
        xs: dict[int, Any] = {place: time.strftime("%Y-%m-%d %H:%M:%S") for place, time in times.items() if time}
        margin = (max(known) - min(known)) * 0.06
        ends = [(end).strftime("%Y-%m-%d %H:%M:%S") for end in (min(known) - margin, max(known) + margin)]
        return xs, {"title": {"text": "started, UTC"}, "type": "date", "range": ends, "nticks": 7}
    labels = {place: text(several.labels[place]) for place in places}
    return labels, {"title": {"text": "run, in order"}, "type": "category"}


def _alike(timed: Sequence[tuple[int, Samples]]) -> list[list[tuple[int, Samples]]]:
    """Neighbours that were timed in the same way."""
    parts: list[list[tuple[int, Samples]]] = []
    for place, samples in timed:
        here, there = ways(parts[-1][-1][1], samples) if parts else ("", "-")
        if here == there:
            parts[-1].append((place, samples))
        else:
            parts.append([(place, samples)])
    return parts


def _words(several: Several, place: int, samples: Samples) -> list[str]:
    return [text(label_of(several, place)), f"{time_text(samples.median_us)} {interval_words(samples)}"]


def change(rows: Sequence[Row]) -> Figure | None:
    """The ratio of each row, last run over first, with its interval; filled where the verdict is faster or slower.

    None where no ratio is a positive number.
    """
    known = [row for row in rows if all(is_number(end) and end > 0 for end in (row.ratio.value, row.ratio.low))]
    if not known:
        return None
    places, labels, total = _bands(known)
    data = []
    for name in dict.fromkeys(row.implementation for row in known):
        mine = [row for row in known if row.implementation == name]
        trace = points(
            name,
            mode="markers",
            x=[row.ratio.value for row in mine],
            y=[places[row.case.key, name] for row in mine],
            error_x=_ratio_bars(mine),
            customdata=[[str(row.verdict), interval_text(row.ratio.low, row.ratio.high)] for row in mine],
            hovertemplate=f"<b>%{{fullData.name}}</b>: %{{x:.3f}} {_CUSTOM}<extra></extra>",
        )
        told = [row.verdict in (Verdict.FASTER, Verdict.SLOWER) for row in mine]
        symbols = [marker(name) if filled else f"{marker(name)}-open" for filled in told]
        data.append({**trace, "marker": {**trace["marker"], "symbol": symbols, "size": 9}})
    y_axis = {"range": [total - 0.5, -1.0], "showticklabels": False, "showgrid": False, "automargin": False}
    x_axis = {"title": {"text": "time in the last run over that in the first"}, "type": "log", "exponentformat": "none"}
    drawn = layout(height=110 + _ROW_PIXELS * total, x=x_axis, y=y_axis)
    drawn |= {"shapes": [rule(1.0, "", axis="x")["shape"]], "annotations": labels}
    return {"data": data, "layout": drawn}


def _bands(rows: Sequence[Row]) -> tuple[dict[tuple[Any, str], int], list[dict[str, Any]], int]:
    """A line for every row, under two with the name of its case: names beside the plot leave a narrow page no room.

    The line of each case and implementation, the names as annotations, and how many lines there are.
    """
    places: dict[tuple[Any, str], int] = {}
    labels = []
    line = 0
    for case in {row.case.key: row.case for row in rows}.values():
        layer, *rest = case_title(case).split(" · ")
        name = f"<b>{text(layer)}</b><br>{text(' · '.join(rest))}"
        place = {"x": 0, "xref": "paper", "xanchor": "left", "y": line + 0.5, "align": "left"}
        labels.append({**place, "text": name, "showarrow": False, "font": {"size": 11}})
        line += 2
        for row in rows:
            if row.case.key == case.key:
                places[case.key, row.implementation] = line
                line += 1
    return places, labels, line


def _ratio_bars(rows: Sequence[Row]) -> dict[str, Any]:
    ends = [(row.ratio, row.ratio.high if is_number(row.ratio.high) else row.ratio.value) for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - ratio.value for ratio, high in ends],
        "arrayminus": [ratio.value - ratio.low for ratio, _ in ends],
        "thickness": 1.5,
        "width": 4,
    }
