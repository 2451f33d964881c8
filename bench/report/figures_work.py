"""Figures of work: useful against executed FLOPs, unequal experts against equal ones, compiled kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..records import CaseRecord, Record, Run
from .cases import Group, has_interval, is_heterogeneous, measured_groups, scale_text, widths
from .formats import digits, flops_text, interval_text, is_number
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


@dataclass(frozen=True)
class Pair:
    """One implementation on a heterogeneous layer and on its uniform twin, with the same tokens and routing.

    ratio: time of the uniform one over that of the heterogeneous one; low, high: from the ends of both intervals, which
           is wider than a 95 % interval of the ratio; None with a single sample
    flops: the same ratio of useful FLOPs
    """

    implementation: str
    case: CaseRecord
    twin: CaseRecord
    ratio: float
    low: float | None
    high: float | None
    flops: float | None


def pairs(run: Run) -> list[Pair]:
    """Every heterogeneous case that was also timed on a uniform layer with equal hidden size, experts and top K."""
    found = measured_groups(run)
    uniform = [group for group in found if len(set(widths(group.case))) == 1]
    return [
        _pair(mine, other, group.case, twin.case)
        for group in found
        if is_heterogeneous(group.case)
        for twin in uniform
        if _twins(group.case, twin.case)
        for mine in group.timed
        for other in twin.timed
        if mine.implementation == other.implementation
    ]


def _twins(case: CaseRecord, other: CaseRecord) -> bool:
    def facts(one: CaseRecord) -> tuple[Any, ...]:
        layer = one.layer
        experts = len(widths(one)) * layer.get("experts_per_group", 0)
        shape = (layer.get("hidden"), experts, layer.get("top_k"), layer.get("shared_width", 0))
        return (*shape, one.tokens, one.routing, one.dtype, one.device, bool(scale_text(one)))

    return facts(case) == facts(other)


def _pair(mine: Record, other: Record, case: CaseRecord, twin: CaseRecord) -> Pair:
    assert mine.hot is not None
    assert other.hot is not None
    sure = has_interval(mine.hot) and has_interval(other.hot) and mine.hot.low_us > 0
    known = is_number(mine.useful_flops) and is_number(other.useful_flops) and mine.useful_flops > 0
    return Pair(
        mine.implementation,
        case,
        twin,
        ratio=other.hot.median_us / mine.hot.median_us,
        low=other.hot.low_us / mine.hot.high_us if sure else None,
        high=other.hot.high_us / mine.hot.low_us if sure else None,
        flops=other.useful_flops / mine.useful_flops if known else None,  # type: ignore[operator]
    )


def parameters(case: CaseRecord) -> int | None:
    """Expert parameters of the layer, shared expert left out: 3 · H · Σ W_e. None where the run file does not say."""
    hidden, per_group = case.layer.get("hidden"), case.layer.get("experts_per_group")
    if not (is_number(hidden) and is_number(per_group) and widths(case)):
        return None
    return int(3 * hidden * per_group * sum(widths(case)))


def heterogeneous_against_uniform(found: Sequence[Pair]) -> Figure | None:
    """Time of the uniform twin over that of the heterogeneous layer, by tokens. None without a pair."""
    if not found:
        return None
    data = []
    tokens = sorted({pair.case.tokens or 0 for pair in found})
    names = list(dict.fromkeys(pair.implementation for pair in found))
    for name in names:
        mine = sorted((pair for pair in found if pair.implementation == name), key=lambda pair: pair.case.tokens or 0)
        data.append(
            {
                "type": "bar",
                "name": text(name),
                **about(name, tokens=[pair.case.tokens or 0 for pair in mine]),
                "x": [f"{pair.case.tokens or 0:,} tokens" for pair in mine],
                "y": [pair.ratio for pair in mine],
                "marker": {"color": colour(name)},
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [pair.high - pair.ratio if pair.high else 0 for pair in mine],
                    "arrayminus": [pair.ratio - pair.low if pair.low else 0 for pair in mine],
                    "color": "#808080",
                    "thickness": 1,
                    "width": 3,
                },
                "customdata": [[digits(pair.ratio), interval_text(pair.low, pair.high)] for pair in mine],
                "hovertemplate": "<b>%{fullData.name}</b>, %{x}<br>uniform takes %{customdata[0]} times as long"
                "<br>%{customdata[1]}<extra></extra>",
            }
        )
    expected = {pair.case.tokens or 0: pair.flops for pair in found if pair.flops}
    if expected:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "what useful FLOPs alone predict",
                "x": [f"{count:,} tokens" for count in expected],
                **about(tokens=list(expected)),
                "y": list(expected.values()),
                "marker": {"symbol": "line-ew-open", "size": 26, "color": "#808080", "line": {"width": 2}},
                "hovertemplate": "useful FLOPs: %{y:.3g}<extra></extra>",
            }
        )
    even = rule(1, "")
    x_axis = {"categoryorder": "array", "categoryarray": [f"{count:,} tokens" for count in tokens], "type": "category"}
    y_axis = {"title": {"text": "time, uniform / heterogeneous"}, "rangemode": "tozero"}
    shown = layout(height=380, x=x_axis, y=y_axis, barmode="group", shapes=[even["shape"]])
    return {"data": data, "layout": shown}


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
