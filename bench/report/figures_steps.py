"""One step of a scenario in full: bytes between ranks, and who does what when, the straggler marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .cells import cell_axes, cells, words_in_cells
from .formats import bytes_text, digits, is_number, time_text
from .palette import NEUTRAL, faint
from .plot import Figure, layout, text

MOST_WORDS = 8  # ranks up to which a number stands in every cell of traffic
PHASES = {
    "route": NEUTRAL,
    "shared": "#8C6BB1",
    "dispatch": "#56B4E9",
    "compute": "#009E73",
    "combine": "#E69F00",
}
_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))


def traffic(matrices: Sequence[tuple[str, Sequence[Sequence[float]]]], nodes: int = 1) -> Figure | None:
    """Bytes from rank to rank in a step, a matrix for each (title, float[P][P]), side by side on one scale.

    nodes: of equally many ranks; lines part them. None where nothing is sent.
    """
    known = [(name, matrix) for name, matrix in matrices if matrix and all(len(row) == len(matrix) for row in matrix)]
    most = max((value for _, matrix in known for row in matrix for value in row if is_number(value)), default=0.0)
    if not most:
        return None
    size, unit = next((pair for pair in _BYTES if most >= pair[0]), _BYTES[-1])
    data, notes, shapes, axes = [], [], [], {}
    for index, (name, matrix) in enumerate(known):
        number = "" if index == 0 else str(index + 1)
        ranks = [str(rank) for rank in range(len(matrix))]
        hover = [
            [
                f"<b>{text(name)}</b><br>rank {sender} to rank {receiver}<br>{bytes_text(value)}"
                for receiver, value in enumerate(row)
            ]
            for sender, row in enumerate(matrix)
        ]
        on = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        # A rank sends nothing to itself: no cell.
        shown = [[value if sender != to else None for to, value in enumerate(row)] for sender, row in enumerate(matrix)]
        sized = [[value / size if is_number(value) else None for value in row] for row in shown]
        data.append(cells(sized, ranks, ranks, hover, zmin=0, zmax=most / size, **on))
        if index == len(known) - 1 and len(matrix) > MOST_WORDS:
            data[-1] |= {"showscale": True, "colorbar": {"thickness": 10, "outlinewidth": 0, "ticksuffix": f" {unit}"}}
        if len(matrix) <= MOST_WORDS:
            said = [[digits(value / size, 2) if value else "" for value in row] for row in matrix]
            notes += words_in_cells(said, ranks, ranks, (on["xaxis"], on["yaxis"]), size=10)
        left, right = index / len(known), (index + 1) / len(known)
        domain = [left + (0.05 if index else 0), right - (0.05 if index < len(known) - 1 else 0)]
        x_axis, y_axis = cell_axes("to rank", "from rank" if index == 0 else "")
        axes[f"xaxis{number}"] = {**x_axis, "domain": domain, "anchor": on["yaxis"]}
        axes[f"yaxis{number}"] = {**y_axis, "anchor": on["xaxis"]}
        shapes += _node_lines(len(matrix), nodes, on)
        title = {"text": f"<b>{text(name)}</b>, {unit}", "x": domain[0], "y": 1, "xref": "paper", "yref": "paper"}
        notes.append({**title, "xanchor": "left", "yanchor": "bottom", "yshift": 46, "showarrow": False})
    figure = layout(height=480, x={}, y={}, annotations=notes, shapes=shapes)
    return {"data": data, "layout": {**figure, **axes, "margin": {"l": 8, "r": 8, "t": 84, "b": 8}}}


def _node_lines(ranks: int, nodes: int, on: dict[str, str]) -> list[dict[str, Any]]:
    """Lines between the ranks of one node and of the next."""
    if nodes < 2 or ranks % nodes:
        return []
    places = [node * ranks // nodes - 0.5 for node in range(1, nodes)]
    line = {"type": "line", "line": {"color": "#808080", "width": 1.5}}
    down = [
        {**line, "xref": on["xaxis"], "x0": at, "x1": at, "yref": f"{on['yaxis']} domain", "y0": 0, "y1": 1}
        for at in places
    ]
    across = [
        {**line, "yref": on["yaxis"], "y0": at, "y1": at, "xref": f"{on['xaxis']} domain", "x0": 0, "x1": 1}
        for at in places
    ]
    return down + across


def timelines(steps: Sequence[tuple[str, Sequence[Sequence[Any]], int]], ranks: int) -> Figure | None:
    """What every rank does when, a panel for each (title, intervals, straggler) over one axis of time.

    intervals: (rank, phase, chunk, start_s, end_s) of each; the straggler's computing is solid and its end a line.
    None without intervals.
    """
    shown = [(name, rows, straggler) for name, rows, straggler in steps if rows]
    if not shown:
        return None
    end = max(float(row[4]) for _, rows, _ in shown for row in rows)
    size, unit = (1e-3, "ms") if end >= 1e-3 else (1e-6, "µs")
    data: list[dict[str, Any]] = []
    axes, notes, shapes, named = {}, [], [], set()
    count, height = len(shown), max(90, min(24, 420 // ranks + 6) * ranks)
    for index, (name, rows, straggler) in enumerate(shown):
        number = "" if index == 0 else str(index + 1)
        domain = [1 - (index + 1) / count + 0.015, 1 - index / count - 22 / ((height + 34) * count)]
        ticks = list(range(0, ranks, max(1, ranks // 16)))
        labels = [f"<b>{rank} ▸</b>" if rank == straggler else str(rank) for rank in ticks]
        axes[f"yaxis{number}"] = {
            "domain": domain,
            "range": [ranks - 0.4, -0.6],
            "tickvals": ticks,
            "ticktext": labels,
            "title": {"text": "rank"},
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
            "anchor": "x",
        }
        for phase, shade in PHASES.items():
            own = [row for row in rows if row[1] == phase]
            if own:
                data.append(_phase(own, phase, shade, size, straggler, number) | {"showlegend": phase not in named})
                named.add(phase)
        last = max(float(row[4]) for row in rows)
        computed = max((float(row[4]) for row in rows if row[0] == straggler and row[1] == "compute"), default=last)
        said = f"<b>{text(name)}</b>: {time_text(last * 1e6)}; rank {straggler} computes longest"
        notes.append(_title(said, domain[1]))
        at = {"x0": computed / size, "x1": computed / size, "yref": f"y{number} domain", "y0": 0, "y1": 1}
        shapes.append({"type": "line", "xref": "x", **at, "line": {"color": "#808080", "width": 1.5, "dash": "dot"}})
    x_axis = {"title": {"text": f"time in the step, {unit}"}, "range": [0, end / size * 1.01]}
    x_axis["anchor"] = f"y{count}" if count > 1 else "y"
    total = 110 + (height + 34) * count
    figure = layout(height=total, x=x_axis, y={}, annotations=notes, shapes=shapes, barmode="overlay", bargap=0.2)
    return {"data": data, "layout": {**figure, **axes}}


def _phase(
    rows: Sequence[Sequence[Any]], phase: str, shade: str, size: float, straggler: int, number: str
) -> dict[str, Any]:
    solid = [shade if phase != "compute" or row[0] == straggler else faint(shade, 0.45) for row in rows]
    return {
        "type": "bar",
        "orientation": "h",
        "name": phase,
        "legendgroup": phase,
        "base": [float(row[3]) / size for row in rows],
        "x": [(float(row[4]) - float(row[3])) / size for row in rows],
        "y": [row[0] for row in rows],
        "yaxis": f"y{number}",
        "marker": {"color": solid, "line": {"width": 0}},
        "customdata": [[time_text((float(row[4]) - float(row[3])) * 1e6), row[2]] for row in rows],
        "hovertemplate": f"<b>rank %{{y}}</b>, {phase}, part %{{customdata[1]}}<br>%{{customdata[0]}}<extra></extra>",
    }


def _title(said: str, top: float) -> dict[str, Any]:
    where = {"x": 0, "y": top, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return {"text": said, **where, "showarrow": False, "font": {"size": 12}}
