"""Figures of telemetry: everything a trace holds on one clock, and the energy of a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..telemetry import FEWEST_READINGS, MEANS, Trace
from .curves import MOST_POINTS, Floats, drawn
from .formats import counted
from .palette import NEUTRAL, colour, faint
from .plot import Figure, about, layout, text
from .traces import Span

LANE, SPACE, FOOT = 30, 26, 48  # heights in pixels: of a lane, between panels, of the time axis
MOST_BANDS = MOST_SPANS = 400  # more cannot be told apart, and slow the page down
_GAP_PERIODS = 5  # of sampling, after which a curve is interrupted


@dataclass(frozen=True)
class Panel:
    """A curve over time. metrics: of the trace, best first;  factor: to `unit`;  most: of the axis, if fixed."""

    title: str
    metrics: tuple[str, ...]
    unit: str
    height: int = 64
    factor: float = 1.0
    most: float | None = None


PANELS = (
    Panel("a kernel running", MEANS["utilization"], "%", factor=100, most=100),
    Panel("SMs busy", MEANS["sm"], "%", factor=100, most=100),
    Panel("tensor pipe busy", MEANS["tensor"], "%", factor=100, most=100),
    Panel("DRAM bandwidth in use", MEANS["dram"], "%", factor=100, most=100),
    Panel("power", MEANS["power_w"], "W", height=96),
    Panel("SM clock", ("sm_mhz",), "MHz"),
)


@dataclass(frozen=True)
class Curve:
    """What a trace has for a panel between two moments: times in s from the beginning of the figure, values."""

    panel: Panel
    metric: str
    times: Floats
    values: Floats


def curves(trace: Trace, begin: float, end: float) -> list[Curve]:
    """The panels that the trace has readings for in [begin, end]."""
    inside = trace.table.between(begin, end)
    found = []
    for panel in PANELS:
        options = []
        for metric in panel.metrics:
            times, values = inside.series(metric)
            if len(times):
                options.append(Curve(panel, metric, times - begin, values * panel.factor))
            if len(times) >= FEWEST_READINGS:
                # As the means are taken: a better source that gave next to nothing is not the better one.
                options = options[-1:]
                break
        found += options[:1]
    return found


def timeline(trace: Trace, spans: Sequence[Span], begin: float, end: float, most: int = MOST_POINTS) -> Figure | None:
    """What ran, and under it every metric the trace has, from begin to end on the trace's clock, in s.

    most: points of a curve
    None where nothing was read in that time.
    """
    found = curves(trace, begin, end)
    if not found:
        return None
    shown = merged([span for span in spans if span.end >= begin and span.begin <= end])
    lanes = list(dict.fromkeys(span.lane for span in shown))
    heights = [LANE * len(lanes)] * bool(lanes) + [curve.panel.height for curve in found]
    domains, height = _domains(heights)
    figure = layout(
        height=height,
        x={"title": {"text": "time, s"}, "range": [0, end - begin], "showspikes": True, **_SPIKE},
        y={},
        margin={"l": 52, "r": 8, "t": 24, "b": 8},
        showlegend=False,
        hovermode="x",
        hoversubplots="axis",
        barmode="overlay",
        uniformtext={"mode": "hide", "minsize": 10},
        shapes=_bands(shown, begin),
    )
    data = _lanes(shown, lanes, begin)
    notes = []
    if lanes:
        figure["yaxis"] = _lane_axis(lanes, domains[0])
    for place, curve in enumerate(found, start=bool(lanes)):
        number = "" if place == 0 else str(place + 1)
        figure[f"yaxis{number}"] = _axis(curve, domains[place])
        data.append(_line(curve, trace.header.period_s, number, most))
        notes.append(_title(curve, domains[place][1]))
    figure["xaxis"]["anchor"] = f"y{len(heights) if len(heights) > 1 else ''}"
    return {"data": data, "layout": {**figure, "annotations": notes}}


_SPIKE = {"spikemode": "across", "spikethickness": 1, "spikedash": "dot", "spikecolor": NEUTRAL, "spikesnap": "cursor"}


def _domains(heights: Sequence[int]) -> tuple[list[list[float]], int]:
    """The share of the figure that each panel takes, from the top, and the figure's height in pixels."""
    total = sum(heights) + SPACE * (len(heights) - 1)
    domains, top = [], 0
    for height in heights:
        domains.append([max(0.0, 1 - (top + height) / total), 1 - top / total])
        top += height + SPACE
    return domains, total + FOOT + 24


def _lane_axis(lanes: Sequence[str], domain: list[float]) -> dict[str, Any]:
    names = [text(lane) for lane in lanes]
    order = {"type": "category", "categoryorder": "array", "categoryarray": names, "range": [len(lanes) - 0.5, -0.5]}
    return {**order, "domain": domain, "showgrid": False, "zeroline": False, "fixedrange": True, "automargin": True}


def _axis(curve: Curve, domain: list[float]) -> dict[str, Any]:
    most = curve.panel.most or 1.12 * float(curve.values.max(initial=0.0)) or 1.0
    ticks = {"tickvals": [0, most / 2, most]} if curve.panel.most else {"nticks": 4}
    span = [0, most * (1.06 if curve.panel.most else 1)]
    return {**ticks, "range": span, "domain": domain, "zeroline": False, "fixedrange": True, "tickfont": {"size": 11}}


def _title(curve: Curve, top: float) -> dict[str, Any]:
    averaged = ", as the driver averages it" if curve.metric == "power_average_w" else ""
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": top, "yref": "paper", "yanchor": "bottom"}
    words = f"{curve.panel.title}{averaged}, {curve.panel.unit}"
    return {**place, "text": words, "showarrow": False, "font": {"size": 12}, "borderpad": 1}


def _line(curve: Curve, period_s: float, number: str, most: int) -> dict[str, Any]:
    steps = np.diff(curve.times)
    usual = float(np.median(steps)) if len(steps) else 0.0
    times, values = drawn(curve.times, curve.values, _GAP_PERIODS * max(period_s, usual), most)
    return {
        "type": "scatter",
        "mode": "lines" if len(times) > 1 else "markers",
        "name": curve.panel.title,
        "x": np.round(times, 3).tolist(),
        "y": np.round(values, 1).tolist(),
        "xaxis": "x",
        "yaxis": f"y{number}",
        "line": {"color": NEUTRAL, "width": 1.5},
        "fill": "tozeroy",
        "fillcolor": faint(NEUTRAL, 0.12),
        "hovertemplate": f"%{{y:.4~g}} {curve.panel.unit}<extra></extra>",
    }


def merged(spans: Sequence[Span]) -> list[Span]:
    """Stretches that can be told apart: where there are too many, those of a lane that all but touch are one."""
    if len(spans) <= MOST_SPANS:
        return list(spans)
    least = (max(span.end for span in spans) - min(span.begin for span in spans)) / MOST_SPANS
    found: list[Span] = []
    for lane in dict.fromkeys(span.lane for span in spans):
        mine = sorted((span for span in spans if span.lane == lane), key=lambda span: span.begin)
        begin, end, count = mine[0].begin, mine[0].end, 1
        for span in mine[1:]:
            if span.begin - end > least:
                found.append(Span(lane, counted(count, "stretch", "stretches"), begin, end))
                begin, end, count = span.begin, span.end, 0
            end, count = max(end, span.end), count + 1
        found.append(Span(lane, counted(count, "stretch", "stretches"), begin, end))
    return sorted(found, key=lambda span: span.begin)


def _lanes(spans: Sequence[Span], lanes: Sequence[str], begin: float) -> list[dict[str, Any]]:
    """A row of bars for each implementation: the whole call solid, its phases in turn lighter."""
    data = []
    for lane in lanes:
        mine = [span for span in spans if span.lane == lane]
        shades = [faint(colour(lane), shade) for shade in _shades(mine, 1.0, 0.75, 0.45)]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": text(lane),
                **about(lane),
                "y": [text(lane)] * len(mine),
                "base": [round(span.begin - begin, 3) for span in mine],
                "x": [round(span.end - span.begin, 3) for span in mine],
                "width": 0.72,
                "marker": {"color": shades},
                "text": [text("whole layer" if span.whole else span.name) for span in mine],
                "textposition": "inside",
                "insidetextanchor": "middle",
                "textangle": 0,
                "customdata": [round(span.end - span.begin, 2) for span in mine],
                "hovertemplate": "<b>%{y}</b>, %{text}, %{customdata} s<extra></extra>",
            }
        )
    return data


def _bands(spans: Sequence[Span], begin: float) -> list[dict[str, Any]]:
    """What ran, faintly through all panels; the longest where there are too many."""
    longest = sorted(spans, key=lambda span: span.begin - span.end)[:MOST_BANDS]
    bands = sorted(longest, key=lambda span: span.begin)
    shades = _shades(bands, 0.13, 0.22, 0.08)
    return [
        {
            "type": "rect",
            "name": span.lane,
            "layer": "below",
            "xref": "x",
            "x0": round(span.begin - begin, 3),
            "x1": round(span.end - begin, 3),
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"width": 0},
            "fillcolor": faint(colour(span.lane), shade),
        }
        for span, shade in zip(bands, shades, strict=True)
    ]


def _shades(spans: Sequence[Span], whole: float, dark: float, light: float) -> list[float]:
    """An opacity for each span: the whole call's own, and its phases' in turn."""
    shades, even = [], False
    for span in spans:
        even = not even and not span.whole
        shades.append(whole if span.whole else dark if even else light)
    return shades
