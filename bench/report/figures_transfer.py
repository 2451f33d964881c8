"""Plans scored on loads they were not made from, as a matrix: line = planned on, column = scored on."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from ..records import TransferRecord
from .cells import cell_axes, cells, words_in_cells
from .formats import is_number
from .plot import Figure, layout, text

MOST_WORDS = 16  # windows up to which a number stands in every cell


def mean_scores(record: TransferRecord) -> list[list[float]]:
    """Mean over layers, [W][W]; empty where there are none."""
    count = len(record.windows)
    whole = [layer for layer in record.scores if len(layer) == count and all(len(line) == count for line in layer)]
    if not whole:
        return []
    return [[fmean(layer[own][other] for layer in whole) for other in range(count)] for own in range(count)]


def transfer_matrix(windows: Sequence[str], scores: Sequence[Sequence[float]]) -> Figure | None:
    """The largest over the mean work of a rank for every plan on every window, in its cell. None without scores."""
    known = [value for line in scores for value in line if is_number(value)]
    if not known:
        return None
    names = [f"<b>{text(window)}</b>" for window in windows]
    hover = [
        [
            f"planned on {names[own]}<br>scored on {names[other]}<br>{value:.3f} × the mean"
            for other, value in enumerate(line)
        ]
        for own, line in enumerate(scores)
    ]
    trace = cells(scores, windows, windows, hover, zmin=1.0, zmax=max(*known, 1.01))
    said = [[f"{value:.2f}" if is_number(value) else "" for value in line] for line in scores]
    words = words_in_cells(said, windows, windows, size=12) if len(windows) <= MOST_WORDS else []
    for word in words:
        if word["x"] == word["y"]:
            word["text"] = f"<b>{word['text']}</b>"
    x_axis, y_axis = cell_axes("scored on", "planned on")
    shown = layout(height=110 + 40 * len(windows), x=x_axis, y=y_axis, annotations=words)
    return {"data": [trace], "layout": {**shown, "margin": {"l": 8, "r": 8, "t": 56, "b": 8}}}
