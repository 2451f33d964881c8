"""The figure of the ladder: what every version reaches, a panel for each number of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..records import Environment
from .cases import has_interval, hot_median
from .figures_time import interval_words
from .formats import digits, is_number, rate_text, time_text, tokens_text
from .ladder import Ladder, Rung, least_us
from .palette import NEUTRAL, colour
from .plot import Figure, about, layout, text
from .readings_ladder import share_text, step_text
from .regimes import regime_of

BAR, TITLE, TICKS, FOOT = 30, 46, 34, 40  # heights in pixels: of a version, above and below a panel, of the last axis
_ROOM = 1.06  # of the highest rate
_HOVER = (
    "<b>%{customdata[0]}</b>, %{customdata[1]}<br>%{customdata[2]} %{customdata[3]}<br>%{customdata[4]}"
    "<br>%{customdata[5]}<extra></extra>"
)


def ladder_figure(found: Sequence[Ladder], environment: Environment) -> Figure | None:
    """Useful rate of each version with its interval, under the number of tokens, the fewest on top. None without one.

    On a bar: its time, and how many times as fast it is as the one before. Dotted: the rate that the measured roof
    which limits the case allows. The last bar is the implementation itself.
    """
    shown = [ladder for ladder in found if all(_flops(rung) for rung in ladder.all_timed)]
    if not shown:
        return None
    heights = [BAR * len(ladder.all_timed) for ladder in shown]
    whole = sum(heights) + (TITLE + TICKS) * len(shown)
    data: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    top = whole
    for place, (ladder, height) in enumerate(zip(shown, heights, strict=True)):
        number = "" if place == 0 else str(place + 1)
        top -= TITLE
        domain = [(top - height) / whole, top / whole]
        roof = least_us(ladder.all_timed, environment)
        data.append(_bars(ladder, number, environment))
        allowed = _flops(ladder.fastest) / roof[0] * 1e-6 if roof is not None else 0.0
        axes |= _axes(ladder, number, domain, allowed)
        notes.append(_title(ladder, roof and roof[1], allowed, domain[1]))
        shapes += [_roof_line(allowed, number, domain)] if allowed else []
        top -= height + TICKS
    axes[list(axes)[-2]]["title"] = {"text": "useful TFLOP/s"}
    drawn = layout(height=whole + FOOT, x={}, y={}, shapes=shapes, annotations=notes, showlegend=False, bargap=0.28)
    return {"data": data, "layout": {**drawn, **axes}}


def _bars(ladder: Ladder, number: str, environment: Environment) -> dict[str, Any]:
    rungs = ladder.all_timed
    names = [rung.record.implementation for rung in rungs]
    return {
        "type": "bar",
        "orientation": "h",
        "name": tokens_text(ladder.case.tokens or 0),
        "xaxis": f"x{number}",
        "yaxis": f"y{number}",
        "y": [text(name) for name in names],
        "x": [_flops(rung) / hot_median(rung.record) * 1e-6 for rung in rungs],
        "marker": {"color": [colour(name) for name in names]},
        "error_x": _error_bars(rungs),
        "text": [_words_on(rung) for rung in rungs],
        "textposition": "auto",
        "insidetextanchor": "end",
        "customdata": [_words(ladder, rung, environment) for rung in rungs],
        "hovertemplate": _HOVER,
        **about(names, tokens=ladder.case.tokens),
    }


def _flops(rung: Rung) -> int:
    """Useful ones; 0 where they are not known."""
    flops = rung.record.useful_flops
    return int(flops) if is_number(flops) and flops > 0 else 0


def _error_bars(rungs: Sequence[Rung]) -> dict[str, Any]:
    """What the intervals of the times are as rates; of few samples none."""
    above, below = [], []
    for rung in rungs:
        hot = rung.record.hot
        assert hot is not None
        sure = has_interval(hot) and hot.low_us > 0
        ends = (hot.low_us, hot.high_us) if sure else (hot.median_us, hot.median_us)
        highest, lowest = (_flops(rung) / end * 1e-6 for end in ends)
        rate = _flops(rung) / hot.median_us * 1e-6
        above.append(highest - rate)
        below.append(rate - lowest)
    shape = {"color": "#808080", "thickness": 1.5, "width": 4}
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, **shape}


def _words_on(rung: Rung) -> str:
    time = time_text(hot_median(rung.record))
    if rung.faster is None or rung.before is None:
        return f" {time} "
    return f" {time}, {digits(rung.faster.value)}\u00d7{' ?' if rung.doubt else ''} "


def _words(ladder: Ladder, rung: Rung, environment: Environment) -> list[str]:
    return [
        text(rung.record.implementation),
        tokens_text(ladder.case.tokens or 0),
        f"{time_text(hot_median(rung.record))}, {rate_text(rung.record.tflops)}",
        interval_words(rung.record.hot),
        step_text(rung),
        share_text(rung.record, environment),
    ]


def _axes(ladder: Ladder, number: str, domain: list[float], allowed: float) -> dict[str, Any]:
    highest = max(_flops(rung) / hot_median(rung.record) * 1e-6 for rung in ladder.all_timed)
    shared = {"automargin": True, "zeroline": False}
    x_axis = {**shared, "range": [0, max(allowed, highest) * _ROOM], "anchor": f"y{number}", "nticks": 6}
    y_axis = {**shared, "domain": domain, "anchor": f"x{number}", "autorange": "reversed", "showgrid": False}
    return {f"xaxis{number}": x_axis, f"yaxis{number}": {**y_axis, "type": "category"}}


def _title(ladder: Ladder, limiter: str | None, allowed: float, top: float) -> dict[str, Any]:
    regime = regime_of(ladder.case.tokens)
    words = f"<b>{tokens_text(ladder.case.tokens or 0)}</b>{f', {regime}' if regime else ''}"
    if limiter:
        words += f"<br>dotted: {limiter}, {rate_text(allowed)}"
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": top, "yref": "paper", "yanchor": "bottom"}
    return {**place, "text": words, "showarrow": False, "font": {"size": 12}, "align": "left"}


def _roof_line(allowed: float, number: str, domain: list[float]) -> dict[str, Any]:
    ends = {"x0": allowed, "x1": allowed, "y0": domain[0], "y1": domain[1]}
    line = {"color": NEUTRAL, "width": 2, "dash": "dot"}
    return {"type": "line", "xref": f"x{number}", "yref": "paper", **ends, "line": line}
