"""The figure of the paper's question: what fewer parameters buy in time and energy, by tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .figures_energy import joule_text
from .formats import digits, time_text, tokens_text
from .palette import NEUTRAL, ordered
from .plot import Figure, about, layout, points, text
from .twins import Change, Pair, parameter_change

_SPREAD = 0.62  # of the room between two numbers of tokens, what the implementations of one share
_PANEL = 320  # pixels
_ROOM = 2.5  # how far an axis goes at most, in largest changes: intervals may be many times as long


def twins_figure(found: Sequence[Pair]) -> Figure | None:
    """Change of time against the uniform twin, %, by tokens and, where it is known, that of energy under it.

    Grey lines: the changes of what is counted, parameters, FLOPs and bytes. A mark is hollow where less and more cannot
    be told apart. None without a pair.
    """
    if not found:
        return None
    tokens = sorted({pair.tokens for pair in found})
    names = ordered(pair.implementation for pair in found)
    energies = any(pair.energy is not None for pair in found)
    data = [*_counts(found, tokens), *_marks(found, tokens, names, _time, "y")]
    if energies:
        data += [{**trace, "showlegend": False} for trace in _marks(found, tokens, names, _energy, "y2")]
    x_axis = {"tickvals": list(range(len(tokens))), "ticktext": [tokens_text(count) for count in tokens]}
    x_axis |= {"range": [-0.5, len(tokens) - 0.5], "showgrid": False, "anchor": "y2" if energies else "y"}
    twin = text(found[0].twin.case.spec)
    y_axis = {**_axis(f"time against {twin}, %", [pair.time for pair in found]), "domain": [0.54 if energies else 0, 1]}
    drawn = layout(height=100 + _PANEL * (2 if energies else 1), x=x_axis, y=y_axis)
    if energies:
        known = [change for pair in found if (change := pair.energy) is not None]
        drawn["yaxis2"] = {**_axis(f"energy against {twin}, %", known), "domain": [0, 0.46], "automargin": True}
    return {"data": data, "layout": drawn}


def _axis(title: str, changes: Sequence[Change]) -> dict[str, Any]:
    """An axis that shows every value and 0, and of the intervals as much as leaves the values apart."""
    values = [change.value * 100 for change in changes]
    room = _ROOM * max(10.0, *map(abs, values))
    ends = [end * 100 for change in changes for end in (change.low, change.high) if end is not None]
    low = max(min([*values, *ends, -25.0]), -room)
    high = min(max([*values, *ends, 5.0]), room)
    margin = (high - low) * 0.06
    line = {"zeroline": True, "zerolinewidth": 2, "zerolinecolor": "#808080", "ticksuffix": " %"}
    return {"title": {"text": title}, "range": [low - margin, high + margin], **line}


def _marks(
    found: Sequence[Pair],
    tokens: Sequence[int],
    names: Sequence[str],
    measure: Callable[[Pair], tuple[Change, str] | None],
    axis: str,
) -> list[dict[str, Any]]:
    """The changes of each implementation, beside each other at each number of tokens."""
    data = []
    for number, name in enumerate(names):
        mine = [(pair, known) for pair in found if pair.implementation == name and (known := measure(pair))]
        if not mine:
            continue
        aside = (number - (len(names) - 1) / 2) * _SPREAD / len(names)
        changes = [change for _, (change, _) in mine]
        trace = points(
            name,
            mode="markers",
            x=[tokens.index(pair.tokens) + aside for pair, _ in mine],
            y=[change.value * 100 for change in changes],
            yaxis=axis,
            error_y=_bars(changes),
            customdata=[[tokens_text(pair.tokens), change_text(change), words] for pair, (change, words) in mine],
            hovertemplate="<b>%{fullData.name}</b>, %{customdata[0]}<br>%{customdata[1]}"
            "<br>%{customdata[2]}<extra></extra>",
            **about(name, tokens=[pair.tokens for pair, _ in mine]),
        )
        mark = trace["marker"]
        symbols = [f"{mark['symbol']}-open" if change.doubt else mark["symbol"] for change in changes]
        data.append(
            {**trace, "marker": {**mark, "symbol": symbols, "size": 11, "line": {"width": 2, "color": mark["color"]}}}
        )
    return data


def _time(pair: Pair) -> tuple[Change, str]:
    mine, twin = pair.mine.hot, pair.twin.hot
    assert mine is not None
    assert twin is not None
    return pair.time, f"{time_text(mine.median_us)} against {time_text(twin.median_us)}"


def _energy(pair: Pair) -> tuple[Change, str] | None:
    change, mine, twin = pair.energy, pair.mine.telemetry, pair.twin.telemetry
    if change is None or mine is None or twin is None:
        return None
    return change, f"{joule_text(mine.joule_per_token)} against {joule_text(twin.joule_per_token)} a token"


def change_text(change: Change) -> str:
    """A change in words: "12 % less (10 % to 14 % less)", "3.0 % more, undecided: no interval"."""
    ends = ends_text(change)
    return f"{percent_change(change.value)}{f' ({ends})' if ends else ''}{f', {change.doubt}' if change.doubt else ''}"


def ends_text(change: Change) -> str:
    """The interval of a change: "10 % to 14 % less", "1 % less to 2 % more"; empty where there is none."""
    if change.low is None or change.high is None:
        return ""
    if (change.low < 0) != (change.high < 0):
        return f"{percent_change(change.low)} to {percent_change(change.high)}"
    near, far = sorted((change.low, change.high), key=abs)
    return f"{digits(abs(near) * 100)} % to {percent_change(far)}"


def percent_change(share: float | None, places: int = 3) -> str:
    """A change as a percentage: "18.8 % less", "2.00 % more"; a dash where it is not known."""
    if share is None:
        return digits(None)
    return f"{digits(abs(share) * 100, places)} % {'less' if share < 0 else 'more'}"


def _bars(changes: Sequence[Change]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [(change.high - change.value) * 100 if change.high is not None else 0 for change in changes],
        "arrayminus": [(change.value - change.low) * 100 if change.low is not None else 0 for change in changes],
        "color": "#808080",
        "thickness": 1.5,
        "width": 4,
    }


def _counts(found: Sequence[Pair], tokens: Sequence[int]) -> list[dict[str, Any]]:
    """What is counted and not timed: the parameters across all tokens, FLOPs and bytes over each number of them."""
    data = []
    change = parameter_change(found[0])
    if change is not None:
        name = f"expert parameters and weights: {percent_change(change, 4)}"
        ends = [-0.5, len(tokens) - 0.5]
        data.append(_line(name, ends, [change * 100] * 2, "dash", [percent_change(change, 4)] * 2))
    kinds = (
        ("useful FLOPs", "solid", lambda pair: pair.flops),
        ("bytes that must move", "dot", lambda pair: pair.moved),
    )
    for name, dash, read in kinds:
        known = {pair.tokens: change for pair in found if (change := read(pair)) is not None}
        counts = [count for count in sorted(known) for _ in range(3)]
        # Two ends and a gap for each number of tokens.
        xs = [tokens.index(count) + (-0.42, 0.42)[end] if end < 2 else None for count, end in _ends(known)]
        ys = [known[count] * 100 if end < 2 else None for count, end in _ends(known)]
        if known:
            words = [percent_change(known[count]) for count in counts]
            data.append({**_line(name, xs, ys, dash, words), **about(tokens=counts)})
    return data


def _ends(known: dict[int, float]) -> list[tuple[int, int]]:
    return [(count, end) for count in sorted(known) for end in range(3)]


def _line(name: str, xs: Sequence[Any], ys: Sequence[Any], dash: str, words: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": xs,
        "y": ys,
        "line": {"color": NEUTRAL, "width": 2 if dash == "dash" else 2.5, "dash": dash},
        "customdata": words,
        "hovertemplate": f"{name.partition(':')[0]}, counted: %{{customdata}}<extra></extra>",
        **about(),
    }
