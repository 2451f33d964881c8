"""The roofline: what each implementation reaches at each arithmetic intensity, under the roofs of the same run."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import Any

from .figures_time import interval_words
from .formats import digits, percent_text, rate_text, time_text, whole
from .palette import NEUTRAL, ordered
from .plot import Figure, about, layout, logarithmic, points
from .roofline import Limit, Roofs

_NOTE_SHARE = 0.07  # of the axis, which the words under a point take
_HOVER = (
    "<b>%{fullData.name}</b>, %{customdata[0]} tokens<br>%{customdata[1]} at %{customdata[2]} FLOP/byte"
    "<br>%{customdata[3]} %{customdata[4]}<br>%{customdata[5]} of what the %{customdata[6]} allows<extra></extra>"
)


def roofline(limits: Sequence[Limit], roofs: Roofs | None) -> Figure | None:
    """Useful TFLOP/s over arithmetic intensity, both logarithmic. None without a record that can be drawn.

    roofs: None where they were not measured: then the points stand alone, each share "not known" in its hover
    """
    if not limits:
        return None
    data: list[dict[str, Any]] = []
    for name in ordered(limit.record.implementation for limit in limits):
        mine = sorted((one for one in limits if one.record.implementation == name), key=_tokens)
        trace = points(
            name,
            x=[one.intensity for one in mine],
            y=[one.tflops for one in mine],
            customdata=[_words(one, roofs) for one in mine],
            hovertemplate=_HOVER,
            **about(name, tokens=[_tokens(one) for one in mine]),
        )
        data.append({**trace, "line": {**trace["line"], "width": 1, "dash": "dot"}})
    rates, places = [one.tflops for one in limits], [one.intensity for one in limits]
    ends = min(places) / 2, max(max(places), roofs.ridge if roofs else 0.0) * 2.5
    notes = _token_notes(limits, *ends)
    if roofs is not None:
        data.insert(0, _roof_line(roofs, *ends))
        rates += [roofs.matrix, roofs.at(min(places))]
        notes += _roof_notes(roofs, *ends)
    x_axis = {"title": {"text": "useful FLOPs over bytes that must move, FLOP/byte"}, **logarithmic(*ends)}
    x_axis |= {"range": [log10(end) for end in ends]}
    y_axis = {"title": {"text": "useful TFLOP/s"}, **logarithmic(min(rates), max(rates))}
    y_axis |= {"range": [log10(min(rates)) - 0.2, log10(max(rates)) + 0.3]}
    return {"data": data, "layout": layout(height=470, x=x_axis, y=y_axis, annotations=notes)}


def _tokens(limit: Limit) -> int:
    return limit.record.case.tokens or 0


def _words(one: Limit, roofs: Roofs | None) -> list[str]:
    share, limiter = (percent_text(one.share), one.limiter) if roofs else ("not known which part", "machine")
    hot = one.record.hot
    assert hot is not None
    time = time_text(hot.median_us)
    return [
        whole(_tokens(one)),
        rate_text(one.tflops),
        digits(one.intensity),
        time,
        interval_words(hot),
        share,
        limiter,
    ]


def _roof_line(roofs: Roofs, left: float, right: float) -> dict[str, Any]:
    places = [left, roofs.ridge, right] if left < roofs.ridge < right else [left, right]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "measured roofs",
        "x": places,
        "y": [roofs.at(place) for place in places],
        "line": {"color": NEUTRAL, "width": 2.5},
        "hoverinfo": "skip",
    }


def _roof_notes(roofs: Roofs, left: float, right: float) -> list[dict[str, Any]]:
    """The two roofs named on their own lines, above them; that of the bandwidth only where its line is drawn."""
    shared = {"showarrow": False, "font": {"size": 12}, "yanchor": "bottom"}
    flat = {"x": log10(right), "xanchor": "right", "y": log10(roofs.matrix)}
    found = [{**shared, **flat, "text": f"matrix rate {rate_text(roofs.matrix)}"}]
    if left < roofs.ridge:
        # Where the line has risen by the time the words end.
        slope = {"x": log10(left), "xanchor": "left", "y": log10(roofs.at(left * (right / left) ** 0.12)), "xshift": 4}
        found.append({**shared, **slope, "text": f"copy {digits(roofs.copy * 1000)} GB/s"})
    return found


def _token_notes(limits: Sequence[Limit], left: float, right: float) -> list[dict[str, Any]]:
    """The number of tokens under the lowest point of each, where there is room between the ends of the axis."""
    room = _NOTE_SHARE * log10(right / left)
    lowest: dict[int, Limit] = {}
    for one in limits:
        known = lowest.get(_tokens(one))
        if known is None or one.tflops < known.tflops:
            lowest[_tokens(one)] = one
    notes: list[dict[str, Any]] = []
    for tokens, one in sorted(lowest.items()):
        place = {"x": log10(one.intensity), "y": log10(one.tflops), "yshift": -18, "showarrow": False}
        if all(abs(place["x"] - note["x"]) > room for note in notes):
            notes.append({**place, "text": f"{whole(tokens)} tok.", "font": {"size": 11}})
    return notes
