"""Decode against prefill: each implementation's share of the roof that limits it, in one and in the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .formats import percent_text, time_text, tokens_text
from .palette import NEUTRAL, colour, marker, ordered
from .plot import Figure, about, layout, row_axis, rule, text
from .regimes import DECODE, LEAST_PREFILL, MOST_DECODE, PREFILL, Share
from .roofline import Limit

_ROW_PIXELS = 46
_HOVER = "<b>%{customdata[2]}</b>, %{customdata[0]}<br>%{customdata[1]}<extra></extra>"
_ASIDE = {DECODE: -0.2, PREFILL: 0.2}  # single cases beside the line of their implementation, in rows


def decode_against_prefill(shares: Sequence[Share]) -> Figure | None:
    """A line for each implementation from its share in decode (hollow) to that in prefill (filled). None without any.

    Small points are the single cases that a share is the mean of, where that is more than one.
    """
    if not shares:
        return None
    names = ordered(share.name for share in shares)
    data: list[dict[str, Any]] = []
    for name in names:
        mine = [share for share in shares if share.name == name]
        if len(mine) == 2:
            data.append(_line(name, names.index(name), mine))
    data += [_single(share, names.index(share.name)) for share in shares if len(share.limits) > 1]
    data += [_mean(share, names.index(share.name)) for share in shares]
    data += [_key(regime) for regime in (DECODE, PREFILL) if any(share.regime == regime for share in shares)]
    most = max(limit.share for share in shares for limit in share.limits)
    end = rule(100.0, "the roof", axis="x")
    note = {**end["annotation"], "x": 100, "xref": "x", "y": 1, "yref": "paper", "xanchor": "left", "yanchor": "top"}
    roof = {"shapes": [end["shape"]], "annotations": [{**note, "xshift": 4}]} if most > 0.6 else {}
    x_axis = {"title": {"text": "share of the roof that limits it, %"}, "range": [0, max(5.0, most * 100) * 1.08]}
    rows = row_axis(names, _ROW_PIXELS)
    drawn = layout(height=120 + _ROW_PIXELS * len(names), x=x_axis, y={}, **roof, **rows)
    return {"data": data, "layout": drawn}


def _line(name: str, row: int, shares: Sequence[Share]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [share.share * 100 for share in shares],
        "y": [row] * len(shares),
        "line": {"color": colour(name), "width": 3},
        "hoverinfo": "skip",
        "showlegend": False,
        **about(name),
    }


def _single(share: Share, row: int) -> dict[str, Any]:
    limits = share.limits
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [one.share * 100 for one in limits],
        "y": [row + _ASIDE[share.regime]] * len(limits),
        "marker": {**_mark(share), "size": 7, "opacity": 0.7},
        "customdata": [_words(share, tokens, one) for tokens, one in zip(share.tokens, limits, strict=True)],
        "hovertemplate": _HOVER,
        "showlegend": False,
        **about(share.name, tokens=list(share.tokens)),
    }


def _words(share: Share, tokens: int, one: Limit) -> list[str]:
    times = f"{time_text(one.least_us / one.share)} where it alone would take {time_text(one.least_us)}"
    reached = f"{percent_text(one.share)} of what the {one.limiter} allows: {times}"
    return [f"{share.regime}, {tokens_text(tokens)}", reached, text(share.name)]


def _mean(share: Share, row: int) -> dict[str, Any]:
    limiters = dict.fromkeys(one.limiter for one in share.limits)
    mean = "mean " if len(share.limits) > 1 else ""
    words = f"{mean}{percent_text(share.share)} of what the {' or the '.join(limiters)} allows"
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [share.share * 100],
        "y": [row],
        "marker": {**_mark(share), "size": 14},
        "customdata": [[f"{share.regime}, {tokens_text(*share.tokens)}", words, text(share.name)]],
        "hovertemplate": _HOVER,
        "showlegend": False,
        **about(share.name),
    }


def _mark(share: Share) -> dict[str, Any]:
    shape = marker(share.name)
    symbol = f"{shape}-open" if share.regime == DECODE else shape
    return {"color": colour(share.name), "symbol": symbol, "line": {"width": 2, "color": colour(share.name)}}


def _key(regime: str) -> dict[str, Any]:
    """The legend tells hollow from filled; which implementation it is stands beside the row."""
    name = f"{DECODE}, up to {MOST_DECODE} tokens" if regime == DECODE else f"{PREFILL}, {LEAST_PREFILL} tokens or more"
    mark = {
        "color": NEUTRAL,
        "symbol": "circle-open" if regime == DECODE else "circle",
        "size": 11,
        "line": {"width": 2},
    }
    return {"type": "scatter", "mode": "markers", "name": name, "x": [None], "y": [None], "marker": mark}
