"""A matrix as shaded cells with a text in each, readable on a light and on a dark page and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .formats import is_number
from .palette import faint
from .plot import text

BLUE = "#0072B2"
# The page shows through a cell: the more the less its value, so that texts in the page's own colour stay legible.
SHADES = [[0.0, faint(BLUE, 0.04)], [1.0, faint(BLUE, 0.62)]]


def cells(
    values: Sequence[Sequence[float | None]],
    columns: Sequence[str],
    lines: Sequence[str],
    hover: Sequence[Sequence[str]],
    **more: Any,
) -> dict[str, Any]:
    """The trace, the first line on top. hover: a text for every cell;  more: zmin, zmax, axes."""
    return {
        "type": "heatmap",
        "z": [[value if is_number(value) else None for value in line] for line in values],
        "x": [text(name) for name in columns],
        "y": [text(name) for name in lines],
        "colorscale": SHADES,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        "text": [list(line) for line in hover],
        "hovertemplate": "%{text}<extra></extra>",
        **more,
    }


def words_in_cells(
    said: Sequence[Sequence[str]],
    columns: Sequence[str],
    lines: Sequence[str],
    axes: tuple[str, str] = ("x", "y"),
    size: int = 12,
) -> list[dict[str, Any]]:
    """The texts of the cells as annotations, which take the page's colour. "" is left out."""
    return [
        {
            "text": word,
            "x": text(columns[column]),
            "y": text(lines[line]),
            "xref": axes[0],
            "yref": axes[1],
            "showarrow": False,
            "font": {"size": size},
        }
        for line, row in enumerate(said)
        for column, word in enumerate(row)
        if word
    ]


def cell_axes(x_title: str, y_title: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Axes of a matrix: categories in their order, columns named above."""
    own: dict[str, Any] = {"type": "category", "showgrid": False, "zeroline": False, "automargin": True}
    x_axis = {**own, "side": "top", "title": {"text": x_title, "standoff": 6}}
    return x_axis, {**own, "autorange": "reversed", "title": {"text": y_title, "standoff": 6}}
