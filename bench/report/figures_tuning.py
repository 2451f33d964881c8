"""Figures of a tuning study: its trials in order, what matters, time against energy, the finalists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..records import TuningRecord
from .formats import digits, is_number, percent_text, time_text
from .palette import NEUTRAL, colour, faint, marker
from .plot import Figure, layout, logarithmic, rule, text
from .studies import best_so_far, differences, finalist_name, interval_of, is_current, ratio_of, trials_of

RAIL = 26  # height in pixels of a row of the rail, one for each outcome
# Of trials that are not complete; told apart by their row as well.
_SYMBOLS = {"duplicate": "line-ew-open", "running": "circle-open"}
_LOG_FROM = 8.0  # the slowest trial over the fastest, from which on a linear axis hides the good ones
_CURRENT = "the current configuration"


def history(study: TuningRecord) -> Figure | None:
    """Every trial in order: the complete ones by their time over the current one's, the others on a rail below, a row
    for each outcome. None without a trial.
    """
    trials = trials_of(study)
    if not trials:
        return None
    others = [trial for trial in trials if ratio_of(trial) is None]
    outcomes = list(dict.fromkeys(str(trial.get("outcome")) for trial in others))
    data = _complete(study)
    plot, rail = (300 if data else 0), RAIL * len(outcomes)
    height = plot + rail + 120
    low = min(0.9, rail / (plot + rail + 40)) if plot else 1.0
    last = max(trial["number"] for trial in trials)
    x_axis = {"title": {"text": "trial"}, "range": [-0.02 * (last + 1) - 0.5, 1.02 * (last + 1) - 0.5]}
    shown = layout(height=height, x={**x_axis, "anchor": "y2" if outcomes else "y"}, y=_ratios(study))
    if not data:
        shown["yaxis"]["visible"] = False
    shown["yaxis"]["domain"] = [low + 0.06 if outcomes and plot else 0.0, 1.0]
    if outcomes:
        shown["yaxis2"] = {**_rail_axis(outcomes), "domain": [0.0, low]}
        data += _rails(others, outcomes)
    even = rule(1, _CURRENT)
    by_powers = shown["yaxis"].get("type") == "log"  # where Plotly wants annotations, but not shapes, as exponents
    note = {**even["annotation"], "y": 0 if by_powers else 1}
    marks = {"shapes": [even["shape"]], "annotations": [note]} if plot else {}
    return {"data": data, "layout": {**shown, **marks}}


def _ratios(study: TuningRecord) -> dict[str, Any]:
    """The axis of times over that of the current configuration."""
    ratios = [ratio for trial in trials_of(study) if (ratio := ratio_of(trial)) is not None]
    wide = bool(ratios) and max(ratios) > _LOG_FROM * min(ratios)
    scale = logarithmic(min(ratios), max(ratios)) if wide else {"ticksuffix": " ×"}
    return {"title": {"text": "time over the current one's"}, **scale}


def _rail_axis(outcomes: Sequence[str]) -> dict[str, Any]:
    names = [_words(outcome) for outcome in outcomes]
    order = {"type": "category", "categoryorder": "array", "categoryarray": names}
    return {**order, "range": [len(names) - 0.4, -0.6], "automargin": True, "zeroline": False, "fixedrange": True}


def _words(outcome: str) -> str:
    return text(outcome.replace("_", " "))


def _complete(study: TuningRecord) -> list[dict[str, Any]]:
    """The points of the complete trials and the line of the best so far."""
    name = study.implementation
    done = [(trial, ratio) for trial in trials_of(study) if (ratio := ratio_of(trial)) is not None]
    if not done:
        return []
    best = best_so_far(study)
    better = {number for number, _ in best}
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": "a trial",
        "x": [trial["number"] for trial, _ in done],
        "y": [ratio for _, ratio in done],
        "marker": {
            "color": [colour(name) if trial["number"] in better else faint(colour(name), 0.55) for trial, _ in done],
            "symbol": marker(name),
            "size": [13 if is_current(study, trial) else 9 for trial, _ in done],
            "line": {"color": colour(name), "width": 1},
        },
        "customdata": [_hover(study, trial) for trial, _ in done],
        "hovertemplate": "<b>trial %{x}</b>%{customdata}<extra></extra>",
    }
    last = max(trial["number"] for trial in trials_of(study))
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "best so far",
        "x": [number for number, _ in best] + [last],
        "y": [ratio for _, ratio in best] + [best[-1][1]],
        "line": {"color": colour(name), "width": 2.5, "shape": "hv"},
        "hoverinfo": "skip",
    }
    return [line, points, *_held_back(study)]


def _held_back(study: TuningRecord) -> list[dict[str, Any]]:
    """A ring around complete trials that were tried while the clocks were held back; none without."""
    found = [trial for trial in trials_of(study) if ratio_of(trial) is not None and trial.get("reason")]
    if not found:
        return []
    rings = {
        "type": "scatter",
        "mode": "markers",
        "name": "suspect: the clocks were held back",
        "x": [trial["number"] for trial in found],
        "y": [ratio_of(trial) for trial in found],
        "customdata": [text(trial["reason"]) for trial in found],
        "marker": {"symbol": "circle-open", "size": 17, "color": "#808080", "line": {"width": 2}},
        "hovertemplate": "<b>trial %{x}</b><br>%{customdata}<extra></extra>",
    }
    return [rings]


def _hover(study: TuningRecord, trial: Mapping[str, Any]) -> str:
    """What a trial is and found, a line each."""
    own = ", the current one" if is_current(study, trial) else ""
    ratio = f"{digits(ratio_of(trial))} ×, {time_text(trial.get('time_us'))}"
    changes = differences(trial.get("values"), study.notes.get("current"))
    return text(own) + "<br>" + "<br>".join(map(text, [ratio, *changes[:8]]))


def _rails(others: Sequence[Mapping[str, Any]], outcomes: Sequence[str]) -> list[dict[str, Any]]:
    """The trials that are not complete, in a row for their outcome."""
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": _words(outcome),
            "showlegend": False,
            "x": [trial["number"] for trial in others if str(trial.get("outcome")) == outcome],
            "y": [_words(outcome) for trial in others if str(trial.get("outcome")) == outcome],
            "yaxis": "y2",
            "marker": {
                "symbol": _SYMBOLS.get(outcome, "x-thin-open"),
                "size": 8,
                "color": NEUTRAL,
                "line": {"width": 2},
            },
            "customdata": [text(trial.get("reason", "")) for trial in others if str(trial.get("outcome")) == outcome],
            "hovertemplate": "<b>trial %{x}: %{y}</b><br>%{customdata}<extra></extra>",
        }
        for outcome in outcomes
    ]


def importance(study: TuningRecord) -> Figure | None:
    """A bar for each parameter, the most important one on top. None where nothing is known."""
    shares = {name: share for name, share in study.importance.items() if is_number(share)}
    if not shares:
        return None
    names = sorted(shares, key=lambda name: -shares[name])
    shade = colour(study.implementation)
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [text(name) for name in names],
        "x": [shares[name] * 100 for name in names],
        "marker": {"color": faint(shade, 0.75), "line": {"color": shade, "width": 1}},
        "text": [percent_text(shares[name]) for name in names],
        "textposition": "auto",
        "hovertemplate": "<b>%{y}</b>: %{text}<extra></extra>",
    }
    x_axis = {"title": {"text": "share, %"}, "rangemode": "tozero"}
    shown = layout(height=100 + 26 * len(names), x=x_axis, y={"autorange": "reversed", "type": "category"})
    return {"data": [bars], "layout": {**shown, "showlegend": False, "margin": {"l": 8, "r": 12, "t": 28, "b": 8}}}


def pareto(study: TuningRecord) -> Figure | None:
    """Energy of a call over its time for each trial that has both, and the front. None where no energy was measured."""
    known = [trial for trial in trials_of(study) if ratio_of(trial) is not None and is_number(trial.get("energy_j"))]
    if not known:
        return None
    front = [trial for number in study.pareto for trial in known if trial["number"] == number]
    shade, symbol = colour(study.implementation), marker(study.implementation)
    hover = {"hovertemplate": "<b>trial %{customdata[0]}</b>%{customdata[1]}<br>%{y:.4g} mJ a call<extra></extra>"}

    def drawn(trials: Sequence[Mapping[str, Any]], name: str, **more: Any) -> dict[str, Any]:
        return {
            "type": "scatter",
            "name": name,
            "x": [ratio_of(trial) for trial in trials],
            "y": [trial["energy_j"] * 1e3 for trial in trials],
            "customdata": [[trial["number"], _hover(study, trial)] for trial in trials],
            **hover,
            **more,
        }

    open_marker = {"color": faint(shade, 0.55), "symbol": symbol, "size": 8}
    best = {"mode": "lines+markers", "line": {"color": shade, "width": 2}}
    data = [
        drawn(known, "a trial", mode="markers", marker=open_marker),
        drawn(front, "none is better in both", **best, marker={"color": shade, "symbol": symbol, "size": 11}),
    ]
    current = [trial for trial in known if is_current(study, trial)]
    ring = {"symbol": "circle-open", "size": 18, "color": "#808080", "line": {"width": 2}}
    data += [drawn(current[:1], _CURRENT, mode="markers", marker=ring)] if current else []
    y_axis = {"title": {"text": "energy of a call, mJ"}}
    return {"data": data, "layout": layout(height=400, x=_ratios(study), y=y_axis)}


def finalists(study: TuningRecord) -> Figure | None:
    """The finalists by their time over the current one's, with intervals, and each routing. None without a time."""
    timed = [entry for entry in study.finalists if ratio_of(entry) is not None]
    if not timed:
        return None
    names = [text(finalist_name(study, entry)) for entry in timed]
    shade = colour(study.implementation)
    won = [study.winner is not None and entry.get("number") == study.winner.get("number") for entry in timed]
    worst = {
        "type": "scatter",
        "mode": "markers",
        "name": "the routing where it does worst",
        "x": [ratio_of(entry) for entry in timed],
        "y": names,
        "marker": {
            "color": [shade if best else faint(shade, 0.4) for best in won],
            "symbol": marker(study.implementation),
            "size": 13,
            "line": {"color": shade, "width": 1.5},
        },
        "error_x": _intervals(timed),
        "customdata": [[digits(ratio_of(entry)), interval_of(entry)] for entry in timed],
        "hovertemplate": "<b>%{y}</b><br>%{customdata[0]} × %{customdata[1]}<extra></extra>",
    }
    even = rule(1, "", axis="x")
    x_axis = {key: value for key, value in _ratios(study).items() if key != "type"} | {"exponentformat": "none"}
    y_axis = {"type": "category", "categoryorder": "array", "categoryarray": names[::-1]}
    shown = layout(height=130 + 34 * len(timed), x=x_axis, y=y_axis, shapes=[even["shape"]])
    return {"data": [*_each_routing(timed, names), worst], "layout": shown}


def _intervals(timed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ends = [(ratio_of(entry) or 0.0, entry.get("ratio_low"), entry.get("ratio_high")) for entry in timed]
    sure = [is_number(low) and is_number(high) for _, low, high in ends]
    return {
        "type": "data",
        "symmetric": False,
        "array": [
            max(0.0, (high or 0.0) - ratio) if known else 0 for (ratio, _, high), known in zip(ends, sure, strict=True)
        ],
        "arrayminus": [
            max(0.0, ratio - (low or 0.0)) if known else 0 for (ratio, low, _), known in zip(ends, sure, strict=True)
        ],
        "color": "#808080",
        "thickness": 1.5,
        "width": 4,
    }


def _each_routing(timed: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """A short line for each routing of each finalist, where there are several."""
    marks = [
        (case["ratio"], name, str(case.get("routing", "")))
        for entry, name in zip(timed, names, strict=True)
        for case in entry.get("cases") or []
        if len(entry["cases"]) > 1 and is_number(case.get("ratio"))
    ]
    if not marks:
        return []
    short = {"symbol": "line-ns-open", "size": 14, "color": "#808080", "line": {"width": 2}}
    hover = {"hovertemplate": "<b>%{y}</b><br>%{x:.3g} × on %{customdata}<extra></extra>"}
    columns = {"x": [m[0] for m in marks], "y": [m[1] for m in marks], "customdata": [text(m[2]) for m in marks]}
    return [{"type": "scatter", "mode": "markers", "name": "each routing", **columns, "marker": short, **hover}]
