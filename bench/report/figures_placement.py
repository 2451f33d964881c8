"""The figure of a placement: every rank's work under every policy, beside the mean and the proven bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..records import PlacementRecord
from .formats import bytes_text, flops_text, is_number, whole
from .palette import NEUTRAL, faint
from .plot import Figure, layout, text

ROW_HEIGHT = 230


def mean_work(placement: PlacementRecord) -> float | None:
    """Mean FLOPs per rank; None when there is no work or a rank's is unknown."""
    work = placement.work
    if not work or not all(is_number(value) for value in work) or sum(work) <= 0:
        return None
    return sum(work) / len(work)


def drawable(placements: Sequence[PlacementRecord]) -> list[PlacementRecord]:
    """Those whose work is known for every rank."""
    return [placement for placement in placements if mean_work(placement) is not None]


def work_per_rank(placements: Sequence[PlacementRecord]) -> Figure | None:
    """A panel per policy: work of every rank over the mean, the straggler solid and marked. None without work."""
    shown = drawable(placements)
    if not shown:
        return None
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    data: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    highest = max(max(placement.work) / (mean_work(placement) or 1) for placement in shown)
    for index, placement in enumerate(shown):
        number = "" if index == 0 else str(index + 1)
        row, column = divmod(index, columns)
        left, right = column / columns, (column + 1) / columns
        bottom, top = 1 - (row + 1) / lines, 1 - row / lines
        domain_x = [left + (0.04 if column else 0), right - (0.04 if column < columns - 1 else 0)]
        domain_y = [bottom + 0.16 / lines, top - 0.16 / lines]
        axes[f"xaxis{number}"] = _axis(
            domain_x, f"y{number}", title={"text": "rank", "standoff": 4}, **_ranks(placement)
        )
        axes[f"yaxis{number}"] = _axis(
            domain_y, f"x{number}", range=[0, highest * 1.22], ticksuffix=" ×", showticklabels=column == 0
        )
        data.append(_bars(placement, number))
        shapes += _lines(placement, number)
        notes += _notes(placement, number, domain_x[0], domain_y[1])
    figure = layout(height=40 + ROW_HEIGHT * lines, x={}, y={}, shapes=shapes, annotations=notes, showlegend=False)
    return {"data": data, "layout": {**figure, **axes, "bargap": 0.25, "margin": {"l": 44, "r": 8, "t": 8, "b": 24}}}


def _axis(domain: list[float], anchor: str, **more: Any) -> dict[str, Any]:
    return {"domain": domain, "anchor": anchor, "zeroline": False, **more}


def _ranks(placement: PlacementRecord) -> dict[str, Any]:
    count = len(placement.work)
    return {"range": [-0.6, count - 0.4], "tick0": 0, "dtick": max(1, count // 8)}


def _bars(placement: PlacementRecord, number: str) -> dict[str, Any]:
    mean = mean_work(placement) or 1
    ranks = range(len(placement.work))
    slowest = [rank == placement.straggler for rank in ranks]

    def of(values: Sequence[float] | None, rank: int) -> float | None:
        return values[rank] if values is not None and rank < len(values) else None

    return {
        "type": "bar",
        "name": text(placement.policy),
        "x": list(ranks),
        "y": [value / mean for value in placement.work],
        "xaxis": f"x{number}",
        "yaxis": f"y{number}",
        "marker": {
            "color": [NEUTRAL if worst else faint(NEUTRAL, 0.4) for worst in slowest],
            "line": {"color": NEUTRAL, "width": [1.5 if worst else 0 for worst in slowest]},
        },
        "customdata": [
            [flops_text(placement.work[rank]), whole(of(placement.rows, rank)), bytes_text(of(placement.memory, rank))]
            for rank in ranks
        ],
        "hovertemplate": "<b>%{fullData.name}</b>, rank %{x}<br>%{y:.3g} × the mean<br>%{customdata[0]}, "
        "%{customdata[1]} rows, %{customdata[2]} of parameters<extra></extra>",
    }


def _lines(placement: PlacementRecord, number: str) -> list[dict[str, Any]]:
    mean = mean_work(placement) or 1
    levels = [(1.0, "dot")] + ([(placement.bound / mean, "solid")] if is_number(placement.bound) else [])
    where = {"xref": f"x{number} domain", "x0": 0, "x1": 1, "yref": f"y{number}"}
    line = {"color": "#808080", "width": 1.5}
    return [{"type": "line", **where, "y0": y, "y1": y, "line": {**line, "dash": dash}} for y, dash in levels]


def _notes(placement: PlacementRecord, number: str, left: float, top: float) -> list[dict[str, Any]]:
    mean = mean_work(placement) or 1
    title = {
        "text": f"<b>{text(placement.policy)}</b>",
        "x": left,
        "y": top,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }
    if placement.straggler is None or not 0 <= placement.straggler < len(placement.work):
        return [title]
    height = placement.work[placement.straggler] / mean
    straggler = {
        "text": f"{height:.2f} ×",
        "x": placement.straggler,
        "y": height,
        "xref": f"x{number}",
        "yref": f"y{number}",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 12},
    }
    return [title, straggler]
