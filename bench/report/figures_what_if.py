"""Figures of a what-if study: who is best where, a step along an axis, the Pareto front, and when moving pays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...placement import pareto_front
from ..records import WhatIfRecord
from ..whatif.settings import Setting, seconds_of, together
from .cells import cell_axes, cells, words_in_cells
from .formats import bytes_text, digits, is_number, time_text
from .palette import faint
from .palette_policies import policy_colour, policy_marker
from .plot import Figure, layout, text
from .scenarios import axis_values, choice_name, short_name, value_of, words

_AXES = {
    "ranks": "ranks",
    "tokens": "tokens",
    "group_loss": "strength of the group loss",
    "skew": "skew of the routing",
    "routing": "routing",
    "spec": "layer",
    "cluster": "cluster",
    "style": "how vectors are sent",
    "seed": "seed",
}


def times_as_fast(record: WhatIfRecord) -> float | None:
    """How many times as fast a step is as under the baseline policy; None where that is not known."""
    if not (is_number(record.saved_s) and is_number(record.seconds) and record.seconds > 0):
        return None
    return (record.seconds + record.saved_s) / record.seconds


def best_map(found: Sequence[Setting], x: str, y: str) -> Figure | None:
    """Who is best for each pair of values of two axes, and how many times as fast as the baseline. One setting each."""
    rows = [choice for setting in found for choice in setting.choices]
    columns, lines = axis_values(rows, x), axis_values(rows, y)
    at = {(setting.given[x], setting.given[y]): setting.best for setting in found}
    if not at:
        return None
    grid = [[at.get((column, line)) for column in columns] for line in lines]
    gains = [[times_as_fast(one) if one is not None else None for one in row] for row in grid]
    said = [[_cell(one) if one is not None else "" for one in row] for row in grid]
    hover = [[_hover(one) if one is not None else "" for one in row] for row in grid]
    names = [words(x, value) for value in columns], [words(y, value) for value in lines]
    most = max([gain for row in gains for gain in row if gain is not None], default=1.0)
    # Where nothing is known of the baseline a cell is as pale as one that gains nothing.
    trace = cells([[gain or 1.0 for gain in row] for row in gains], *names, hover, zmin=1.0, zmax=max(most, 1.01))
    x_axis, y_axis = cell_axes(_AXES[x], _AXES[y])
    shown = layout(height=100 + 54 * len(lines), x=x_axis, y=y_axis, annotations=words_in_cells(said, *names, size=11))
    return {"data": [trace], "layout": {**shown, "margin": {"l": 8, "r": 8, "t": 56, "b": 8}}}


def _cell(record: WhatIfRecord) -> str:
    gain = times_as_fast(record)
    return f"{text(short_name(record))}<br>{f'{gain:.2f} ×' if gain is not None else ''}"


def _hover(record: WhatIfRecord) -> str:
    """What a scenario is and comes to, a line each."""
    lines = [f"<b>{text(choice_name(record))}</b>", f"{record.ranks} ranks on {text(record.cluster)}"]
    lines.append(f"step {time_text(seconds_of(record) * 1e6)}")
    gain = times_as_fast(record)
    lines += [f"{digits(gain)} × as fast as the baseline"] if gain is not None else []
    lines += [f"work {digits(record.work_over_bound)} × the bound"] if is_number(record.work_over_bound) else []
    lines += [f"memory {bytes_text(record.memory)}", f"traffic {bytes_text(record.traffic)}"]
    lines += ["<b>does not fit the memory</b>"] if record.fits is False else []
    return "<br>".join(lines)


def along(records: Sequence[WhatIfRecord], axis: str) -> Figure | None:
    """Seconds of a step and work over the bound along an axis of numbers, a line a choice. None for one value."""
    if len(axis_values(records, axis)) < 2:
        return None
    data: list[dict[str, Any]] = []
    for _, rows in together(records, ("policy", "replicas", "capacity")):
        shown = sorted(rows, key=lambda row: value_of(row, axis))
        data.append(_line(shown, axis, [seconds_of(row) * 1e6 for row in shown], "y"))
        if any(is_number(row.work_over_bound) for row in shown):
            data.append(_line(shown, axis, [row.work_over_bound for row in shown], "y2") | {"showlegend": False})
    values = axis_values(records, axis)
    wide = values[0] > 0 and values[-1] / values[0] >= 8
    labels = [f"{value:,}".replace(",", "\u202f") for value in values]
    scale = {"type": "log", "tickvals": values, "ticktext": labels} if wide else {}
    figure = layout(
        height=560,
        x={**scale, "title": {"text": _AXES[axis]}, "anchor": "y2"},
        y={
            "domain": [0.42, 1],
            "title": {"text": "step, µs"},
        },
    )
    bound_axis = {"domain": [0, 0.34], "title": {"text": "work / bound"}, "automargin": True, "zeroline": False}
    return {"data": data, "layout": {**figure, "yaxis2": {**bound_axis, "anchor": "x", "ticksuffix": " ×"}}}


def _line(rows: Sequence[WhatIfRecord], axis: str, values: Sequence[float | None], y_axis: str) -> dict[str, Any]:
    one = rows[0]
    shade, plain = policy_colour(one.policy), not one.replicas and one.capacity is None
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": text(short_name(one)),
        "legendgroup": short_name(one),
        "x": [value_of(row, axis) for row in rows],
        "y": list(values),
        "yaxis": y_axis,
        "line": {"color": shade, "width": 2, "dash": "solid" if plain else "dot"},
        "marker": {"color": shade, "symbol": policy_marker(one.policy), "size": 8},
        "text": [_hover(row) for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
    }


def front_of(records: Sequence[WhatIfRecord]) -> list[WhatIfRecord]:
    """Those that fit and that no other one beats in time, memory and traffic together, the quickest first."""
    known = [row for row in records if is_number(row.memory) and is_number(row.traffic) and row.fits is not False]
    if not known:
        return []
    points = [[seconds_of(row), float(row.memory or 0), float(row.traffic or 0)] for row in known]
    return sorted((known[index] for index in pareto_front(points)), key=lambda row: (seconds_of(row), row.number))


def pareto(records: Sequence[WhatIfRecord]) -> Figure | None:
    """Memory and traffic over time: what no other choice beats in all three solid, the others faint. None without."""
    known = [row for row in records if is_number(row.memory) and is_number(row.traffic)]
    if len(known) < 2:
        return None
    front = {row.number for row in front_of(known)}
    data: list[dict[str, Any]] = []
    for panel, (name, size) in enumerate((("memory", 2.0**20), ("traffic", 2.0**20))):
        for given, rows in together(known, ("policy",)):
            for best in (False, True):
                own = [row for row in rows if (row.number in front) == best]
                if own:
                    data.append(_points(own, given["policy"], name, size, panel, best))
        data += [_staircase(known, name, size, panel)] if front else []
    legend = [_legend(given["policy"]) for given, _ in together(known, ("policy",))]
    x_axis = {"title": {"text": "step, µs"}, "anchor": "y2"}
    figure = layout(height=640, x=x_axis, y={"domain": [0.54, 1], "title": {"text": "memory of the fullest, MiB"}})
    second = {"domain": [0, 0.46], "title": {"text": "bytes on all links, MiB"}, "automargin": True, "zeroline": False}
    return {"data": [*legend, *data], "layout": {**figure, "yaxis2": {**second, "anchor": "x"}}}


def _legend(policy: str) -> dict[str, Any]:
    """A policy's entry in the legend, apart from its points, which may all be faint."""
    look = {"color": policy_colour(policy), "symbol": policy_marker(policy), "size": 9}
    own = {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "marker": look}
    return {**own, "name": text(policy), "legendgroup": policy}


def _points(
    rows: Sequence[WhatIfRecord], policy: str, name: str, size: float, panel: int, best: bool
) -> dict[str, Any]:
    shade = policy_colour(policy)
    look = {"size": 12, "color": shade} if best else {"size": 8, "color": faint(shade, 0.3)}
    return {
        "type": "scatter",
        "mode": "markers+text" if best else "markers",
        "name": text(policy),
        "legendgroup": policy,
        "showlegend": False,
        "x": [seconds_of(row) * 1e6 for row in rows],
        "y": [getattr(row, name) / size for row in rows],
        "yaxis": "y2" if panel else "y",
        "marker": {**look, "symbol": policy_marker(policy), "line": {"width": 1 if best else 0, "color": shade}},
        "text": [f"{row.ranks}{f' +{row.replicas}' if row.replicas else ''}" for row in rows],
        "textposition": "top right",
        "textfont": {"size": 10},
        "customdata": [_hover(row) for row in rows],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _staircase(known: Sequence[WhatIfRecord], name: str, size: float, panel: int) -> dict[str, Any]:
    """The border of what is beaten in time and in this panel's quantity alone."""
    points = [[seconds_of(row), float(getattr(row, name))] for row in known if row.fits is not False]
    edge = sorted(points[index] for index in pareto_front(points))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [point[0] * 1e6 for point in edge],
        "y": [point[1] / size for point in edge],
        "yaxis": "y2" if panel else "y",
        "line": {"color": "#808080", "width": 1.5, "shape": "hv"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def net_benefit(setting: Setting, horizon: int | None) -> Figure | None:
    """Seconds gained over the steps after a change from the baseline, a line a choice. None where none moves."""
    moving = [row for row in setting.choices if is_number(row.saved_s) and is_number(row.migration_s)]
    moving = [row for row in moving if row.migration_s or row.saved_s]
    if not moving:
        return None
    ends = [row.pays_after for row in moving if is_number(row.pays_after)]
    end = 3 * max([*ends, 1.0]) if horizon is None else min(float(horizon), max(4 * min([*ends, horizon]), 10.0))
    data = [_paying(row, end) for row in sorted(moving, key=lambda row: -(row.saved_s or 0.0))]
    zero = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0}
    line = {"line": {"color": "#808080", "width": 1.5, "dash": "dot"}}
    x_axis = {"title": {"text": "steps since the change"}, "range": [0, end]}
    figure = layout(height=400, x=x_axis, y={"title": {"text": "gained, ms"}}, shapes=[zero | line])
    return {"data": data, "layout": figure}


def _paying(row: WhatIfRecord, end: float) -> dict[str, Any]:
    """From what the move costs, through the step at which it has paid, to the end."""
    cost, saved = row.migration_s or 0.0, row.saved_s or 0.0
    stops = [0.0, *([row.pays_after] if is_number(row.pays_after) and 0 < row.pays_after < end else []), end]
    shade, plain = policy_colour(row.policy), not row.replicas and row.capacity is None
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": text(short_name(row)),
        "x": stops,
        "y": [(saved * stop - cost) * 1e3 for stop in stops],
        "line": {"color": shade, "width": 2, "dash": "solid" if plain else "dot"},
        "marker": {"symbol": policy_marker(row.policy), "color": shade, "size": [0, *([10] * (len(stops) - 2)), 0]},
        "hovertemplate": f"<b>{text(choice_name(row))}</b><br>%{{y:.3g}} ms after %{{x:.0f}} steps<extra></extra>",
    }


def group_shares(records: Sequence[WhatIfRecord]) -> Figure | None:
    """Share of the rows in each group along the strength of the group loss, narrow groups below. None for one value."""
    by_strength = {row.group_loss: row.group_rows for row in records if row.group_rows}
    strengths = sorted(by_strength)
    if len(strengths) < 2:
        return None
    groups = max(len(by_strength[strength]) for strength in strengths)
    names = [f"{strength:g}" for strength in strengths]
    data = []
    for group in range(groups):
        shares = [
            100 * by_strength[strength][group] if group < len(by_strength[strength]) else None for strength in strengths
        ]
        depth = 0.2 + 0.75 * group / max(groups - 1, 1)
        data.append(
            {
                "type": "bar",
                "name": f"group {group}",
                "x": names,
                "y": shares,
                "marker": {"color": faint("#0072B2", depth)},
                "hovertemplate": f"<b>group {group}</b> at strength %{{x}}<br>%{{y:.1f}} % of the rows<extra></extra>",
            }
        )
    x_axis = {"type": "category", "title": {"text": _AXES["group_loss"]}}
    y_axis = {"title": {"text": "rows, %"}, "range": [0, 100]}
    return {"data": data, "layout": {**layout(height=380, x=x_axis, y=y_axis), "barmode": "stack", "bargap": 0.35}}
