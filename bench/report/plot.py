"""What every figure shares: a figure is a plain dict of Plotly's JSON, coloured by the page for light and dark.

The page's filter reads what a figure says of itself, and nothing else:

- A trace has a `meta` made by `about`: {"implementation": ..., "tokens": ...}, either or both. A single value holds for
  the whole trace, which is hidden as one; a list holds point by point (of a heat map, row by row of z), and the points
  that are not wanted are left out of every list of that length. A trace without `meta` is always drawn.
- A figure with a row for each implementation on a numeric y axis has what `row_axis` makes in its layout: the rows of
  those that are left out close up.
- A shape or annotation belongs to the implementation that its `name` is; without a `name` it is always drawn.
- A variant has a `meta` made by `cases.case_meta`: {"spec": ..., "routing": ..., "tokens": ...}; see `section.Variant`.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any

from ..records import Record
from .formats import digits
from .palette import colour, marker

Figure = dict[str, Any]


def text(name: object) -> str:
    """A name as Plotly must be given it so that markup in it stays text."""
    return html.escape(str(name), quote=False).replace("%{", "%\u200b{")


def about(implementation: str | Sequence[str] | None = None, tokens: Any = None) -> dict[str, Any]:
    """The `meta` of a trace, as {"meta": {...}}: whose it is and at how many tokens, of all its points or of each.

    {"type": "bar", "x": names, "y": times, **about(names, tokens=256)}
    """
    facts = {"implementation": implementation, "tokens": tokens}
    known = {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()}
    return {"meta": {key: value for key, value in known.items() if value is not None}}


def layout(*, height: int, x: dict[str, Any], y: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A layout with the margins and the legend of this report. Texts and grid get their colours in the page."""
    return {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 44, "b": 8},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
        "xaxis": {"automargin": True, "zeroline": False, **x},
        "yaxis": {"automargin": True, "zeroline": False, **y},
        **more,
    }


def row_axis(names: Sequence[str], row_pixels: int) -> dict[str, Any]:
    """The part of a layout that gives each implementation a row, from 0 at the top: its place on the y axis, a number
    so that marks may stand beside the middle of it.
    """
    rows = {"tickvals": list(range(len(names))), "ticktext": [text(name) for name in names]}
    axis = {"automargin": True, "zeroline": False, **rows, "range": [len(names) - 0.4, -0.6], "showgrid": False}
    return {"yaxis": axis, "meta": {"rows": list(names), "row_pixels": row_pixels}}


def points(record: Record | str, **more: Any) -> dict[str, Any]:
    """The beginnings of a scatter trace in an implementation's colour and marker, and as its own for the filter."""
    name = record if isinstance(record, str) else record.implementation
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": text(name),
        "legendgroup": name,
        **about(name),
        "line": {"color": colour(name), "width": 2},
        "marker": {"color": colour(name), "symbol": marker(name), "size": 8},
        **more,
    }


def rule(value: float, label: str, *, axis: str = "y", dash: str = "dash", reference: str = "paper") -> dict[str, Any]:
    """A labelled straight line across the plot at `value`, as {"shape", "annotation"}."""
    other = "x" if axis == "y" else "y"
    ends = {f"{other}0": 0, f"{other}1": 1, f"{other}ref": reference, f"{axis}0": value, f"{axis}1": value}
    shape = {"type": "line", **ends, "line": {"color": "#808080", "width": 1.5, "dash": dash}}
    place = {"x": 1, "xref": "paper", "xanchor": "right", "y": value, "yanchor": "bottom"}
    return {"shape": shape, "annotation": {**place, "text": text(label), "showarrow": False, "font": {"size": 12}}}


def logarithmic(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis for values from `low` to `high`, above 0, whose labels are numbers in full: at 1, 2 and 5 of
    every power of ten, at fewer of many powers, and Plotly's own where the values lie closer than that.
    """
    if high < 5 * low:
        return {"type": "log", "exponentformat": "none"}
    bases = (1, 2, 5) if high < 1e5 * low else (1,)
    steps = [base * 10.0**power for power in range(floor(log10(low)) - 1, ceil(log10(high)) + 1) for base in bases]
    inside = [step for step in steps if low / 1.5 <= step <= high * 1.5]
    return {"type": "log", "tickvals": inside, "ticktext": [digits(step, 1) for step in inside]}
