"""The heat map of ratios: shapes down, routings across from even to skewed, 1 in the middle of the colours."""

from __future__ import annotations

from math import log2
from typing import Any

from .formats import NONE, digits, interval_text, time_text
from .heat import Cell, Heat
from .palette import NEUTRAL
from .plot import Figure, about, layout, text

# Orange and blue, told apart by colour-blind readers, on either side of a pale middle; black reads well on all of it.
_SURE = ("#E5813A", "#F2F0EB", "#4AA3DF")
_UNDECIDED = ("#EFD5C1", "#F2F0EB", "#C8DDE8")  # the same, three quarters of the way to the middle
_INK = "#14171C"
_LEAST_SPAN = log2(1.25)  # so that a map of ratios close to 1 is a pale one
_ROW_PIXELS = 40


def heat_map(heat: Heat) -> Figure | None:
    """Ratios as colours and numbers. None where no case has both times.

    Where neither is faster beyond doubt, a cell is paler and has "undecided" under its number; a case that was run but
    has no ratio has a dash, with the reason in its hover; a case that was not run is blank.
    """
    if not heat.known:
        return None
    columns = [_column(heat, routing) for routing in heat.routings]
    span = max(_LEAST_SPAN, max(abs(log2(ratio)) for _, _, ratio in heat.known))
    doubts = {bool(cell.doubt) for _, cell, _ in heat.known}
    # Two layers over one scale: an undecided ratio must not shine like one that is sure.
    layers = [_layer(heat, columns, span, doubtful) for doubtful in sorted(doubts)]
    layers[0] |= {"colorbar": _scale(span), "showscale": True}
    x_axis = {"type": "category", "side": "top", "showgrid": False, "categoryarray": columns, "categoryorder": "array"}
    shapes = [text(shape) for shape in heat.shapes]
    y_axis = {"type": "category", "autorange": "reversed", "showgrid": False}
    y_axis |= {"categoryarray": shapes, "categoryorder": "array"}
    height = 110 + max(120, _ROW_PIXELS * len(heat.shapes))
    drawn = layout(height=height, x=x_axis, y=y_axis, showlegend=False)
    drawn |= {"margin": {"l": 8, "r": 12, "t": 8, "b": 8}}
    return {"data": [*layers, *_gaps(heat, columns)], "layout": drawn}


def _layer(heat: Heat, columns: list[str], span: float, doubtful: bool) -> dict[str, Any]:
    """The cells that are decided, or those that are not."""
    known = {place: (cell, ratio) for place, cell, ratio in heat.known if bool(cell.doubt) == doubtful}
    rows = [[known.get((shape, routing)) for routing in heat.routings] for shape in heat.shapes]
    places = [[(shape, routing) for routing in heat.routings] for shape in heat.shapes]
    words = [
        [text_of(heat, *place, entry[0]) if entry else "" for place, entry in zip(line, row, strict=True)]
        for line, row in zip(places, rows, strict=True)
    ]
    return {
        "type": "heatmap",
        "x": columns,
        "y": [text(shape) for shape in heat.shapes],
        "z": [[log2(entry[1]) if entry else None for entry in row] for row in rows],
        "text": [[_number(entry[1], doubtful) if entry else "" for entry in row] for row in rows],
        "texttemplate": "%{text}",
        "customdata": words,
        "hovertemplate": "%{customdata}<extra></extra>",
        "hoverongaps": False,
        "textfont": {"color": _INK},
        "colorscale": [[place / 2, shade] for place, shade in enumerate(_UNDECIDED if doubtful else _SURE)],
        "zmin": -span,
        "zmax": span,
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
        **about(tokens=[_tokens(heat, shape) for shape in heat.shapes]),
    }


def _tokens(heat: Heat, shape: str) -> int:
    return next(cell.case.tokens or 0 for (where, _), cell in heat.cells.items() if where == shape)


def _column(heat: Heat, routing: str) -> str:
    """A routing and, under it, how skewed it was."""
    skew = heat.skews.get(routing)
    return f"{text(routing)}<br>{f'skew {digits(skew, 2)}' if skew is not None else 'skew not known'}"


def _number(ratio: float, doubtful: bool) -> str:
    return f"{digits(ratio)}{'<br>undecided' if doubtful else ''}"


def text_of(heat: Heat, shape: str, routing: str, cell: Cell) -> str:
    """What the hover says of a cell."""
    where = f"<b>{text(shape)}</b>, {text(routing)}"
    skew = f"fullest expert: {digits(cell.skew)} times the mean rows" if cell.skew is not None else "skew not known"
    if cell.ratio is None or cell.times is None:
        return f"{where}<br>no ratio. {text(cell.reason)}<br>{skew}"
    interval = interval_text(cell.ratio.low, cell.ratio.high)
    doubt = f", {cell.doubt}" if cell.doubt else ""
    mine, theirs = (time_text(time) for time in cell.times)
    return (
        f"{where}<br>{text(heat.name)} is {digits(cell.ratio.value)} times as fast as {text(heat.other)}"
        f"<br>({interval or 'no interval'}{doubt})<br>{mine} against {theirs}<br>{skew}"
    )


def _scale(span: float) -> dict[str, Any]:
    """The bar of colours, labelled with ratios."""
    step = max(1, round(span / 2.5))
    marks = [mark * step for mark in range(-2, 3) if abs(mark * step) <= span]
    if len(marks) == 1:
        marks = [-span, 0, span]
    return {
        "tickvals": marks,
        "ticktext": [f"{2.0**mark:.3g} ×" for mark in marks],
        "thickness": 14,
        "outlinewidth": 0,
    }


def _gaps(heat: Heat, columns: list[str]) -> list[dict[str, Any]]:
    """A dash on every case that was run but has no ratio, with the reason in its hover."""
    empty = [
        (columns[heat.routings.index(routing)], text(shape), text_of(heat, shape, routing, cell), cell.case.tokens or 0)
        for (shape, routing), cell in heat.cells.items()
        if cell.ratio is None
    ]
    if not empty:
        return []
    return [
        {
            "type": "scatter",
            "mode": "text",
            "x": [column for column, *_ in empty],
            "y": [shape for _, shape, *_ in empty],
            "text": [NONE] * len(empty),
            "textfont": {"color": NEUTRAL},
            "customdata": [words for *_, words, _ in empty],
            "hovertemplate": "%{customdata}<extra></extra>",
            **about(tokens=[tokens for *_, tokens in empty]),
        }
    ]
