"""Figures of work: useful against executed FLOPs, compiled kernels."""

from __future__ import annotations

from typing import Any

from ..records import Record, Run
from .cases import Group
from .formats import digits, flops_text, is_number
from .palette import colour, faint, marker, position
from .plot import Figure, about, layout, points, rule, text


def counted_flops(group: Group) -> list[tuple[Record, float, float]]:
    """(record, useful, executed) where both are known and useful is above zero."""
    return [
        (record, record.useful_flops, record.executed_flops)
        for record in sorted(group.records, key=lambda record: position(record.implementation))
        if is_number(record.useful_flops) and is_number(record.executed_flops) and record.useful_flops > 0
    ]


def useful_and_executed(group: Group) -> Figure | None:
    """A bar per implementation: what is needed, and on it what tiles and padding add. None without counts."""
    rows = counted_flops(group)
    if not rows:
        return None
    names = [text(record.implementation) for record, _, _ in rows]
    shades = [colour(record.implementation) for record, _, _ in rows]
    needed = {
        "name": "useful",
        "x": [useful / 1e9 for _, useful, _ in rows],
        "marker": {"color": shades},
        "customdata": [flops_text(useful) for _, useful, _ in rows],
    }
    added = {
        "name": "added by tiles and padding",
        "x": [max(0.0, executed - useful) / 1e9 for _, useful, executed in rows],
        "marker": {
            "color": [faint(shade, 0.25) for shade in shades],
            "line": {"color": shades, "width": 1},
            "pattern": {"shape": "/", "fgcolor": shades, "size": 6, "solidity": 0.15},
        },
        "text": [f"{digits(executed / useful)} × useful" for _, useful, executed in rows],
        "textposition": "auto",
        "customdata": [flops_text(executed - useful) for _, useful, executed in rows],
    }
    hover = {"hovertemplate": "<b>%{y}</b><br>%{fullData.name}: %{customdata}<extra></extra>"}
    whose = about([record.implementation for record, _, _ in rows])
    bars = [{"type": "bar", "orientation": "h", "y": names, **whose, **hover, **trace} for trace in (needed, added)]
    x_axis = {"title": {"text": "GFLOP"}, "rangemode": "tozero"}
    figure_layout = layout(height=110 + 42 * len(rows), x=x_axis, y={"autorange": "reversed"}, barmode="stack")
    # The bars carry the implementations' colours, so a legend of two grey swatches would say less than the sentence.
    return {"data": bars, "layout": {**figure_layout, "showlegend": False, "margin": {"l": 8, "r": 12, "t": 8, "b": 8}}}


def compiled_kernels(run: Run) -> Figure | None:
    """Registers of every compiled kernel, hollow where it spills. None where nothing was compiled ahead of time."""
    data = []
    for record in run.records:
        good = [entry for entry in record.resources if is_number(entry.get("registers")) and not entry.get("error")]
        if not good:
            continue
        name = record.implementation
        spilled = [is_number(entry.get("spills")) and entry["spills"] > 0 for entry in good]
        trace = points(
            name,
            mode="markers",
            x=[entry["registers"] for entry in good],
            y=[text(f"{name} {entry.get('name', '')}") for entry in good],
            customdata=[[_configuration(entry), entry.get("spills"), entry.get("shared_bytes")] for entry in good],
            hovertemplate="<b>%{y}</b> %{customdata[0]}<br>%{x} registers, %{customdata[1]} spilled, "
            "%{customdata[2]} bytes shared<extra></extra>",
        )
        symbols = [f"{marker(name)}-open" if open_ else marker(name) for open_ in spilled]
        data.append({**trace, "marker": {**trace["marker"], "symbol": symbols, "size": 10, "opacity": 0.85}})
    if not data:
        return None
    kernels = list(dict.fromkeys(label for trace in data for label in trace["y"]))
    limit = rule(255, "hardware limit 255", axis="x")
    note = {"x": 255, "xref": "x", "xanchor": "right", "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
    x_axis = {"title": {"text": "registers per thread"}, "range": [0, 268]}
    y_axis = {"categoryorder": "array", "categoryarray": kernels[::-1]}
    extra = {"shapes": [limit["shape"]], "annotations": [{**note, "text": "hardware limit 255"}]}
    legend = {"showlegend": False}
    return {"data": data, "layout": layout(height=120 + 26 * len(kernels), x=x_axis, y=y_axis, **extra, **legend)}


def _configuration(entry: dict[str, Any]) -> str:
    return text(" ".join(str(entry[key]) for key in ("configuration", "dtype", "architecture") if entry.get(key)))
