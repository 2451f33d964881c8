"""Figures of times: against tokens, by phase, sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log10
from typing import Any

from ..records import Environment, Record, Samples
from .cases import Group, has_interval, has_times, hot_median, implementations, interval_or_count, is_timed
from .formats import is_number, rate_text, time_text, whole
from .own_ceiling import own_share
from .palette import colour, faint, ordered, position
from .plot import Figure, about, layout, logarithmic, points, rule, text

MOST_SAMPLES = 2000
_MEDIAN = "%{customdata[0]} %{customdata[1]}<extra></extra>"


def time_against_tokens(series: Sequence[Group]) -> Figure | None:
    """Hot median over tokens, both logarithmic, with the interval as a band. None without a timed case with tokens."""
    return _against_tokens(
        series,
        lambda _, us: us / 1000,
        lambda record: time_text(hot_median(record)),
        "time, ms",
    )


def rate_against_tokens(series: Sequence[Group], environment: Environment) -> Figure | None:
    """Useful TFLOP/s over tokens with the matrix rate measured in the same run. None without a timed case."""
    figure = _against_tokens(
        series,
        lambda record, us: record.useful_flops / us * 1e-6 if is_number(record.useful_flops) else None,
        lambda record: _rate_words(record, environment),
        "useful TFLOP/s",
    )
    roof = roof_of(series, environment)
    if figure is None or roof is None:
        return figure
    line = rule(roof, f"measured matrix rate {rate_text(roof)}")
    # On a logarithmic axis Plotly wants annotations, but not shapes, as exponents.
    figure["layout"] |= {"shapes": [line["shape"]], "annotations": [{**line["annotation"], "y": log10(roof)}]}
    low, high = _ends(figure["data"])
    low, high = min(low, roof), max(high, roof)
    figure["layout"]["yaxis"] |= {**logarithmic(low, high), "range": [log10(low) - 0.15, log10(high) + 0.2]}
    return figure


def _ends(data: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """The least and the greatest value above 0 of these traces; 1 and 1 without any."""
    values = [value for trace in data for value in trace["y"] if is_number(value) and value > 0] or [1.0]
    return min(values), max(values)


def _rate_words(record: Record, environment: Environment) -> str:
    own = own_share(record, environment)
    return f"{rate_text(record.tflops)}{f'<br>{text(own.long)}<br>' if own else ''}"


def roof_of(series: Sequence[Group], environment: Environment) -> float | None:
    """The measured matrix rate, 1e12 FLOP / s, for the dtype of a series."""
    rates = environment.roof.matmul_tflops if environment.roof else {}
    rate = rates.get(series[0].case.dtype or "") if series else None
    return rate if is_number(rate) and rate > 0 else None


def _against_tokens(
    series: Sequence[Group],
    value: Callable[[Record, float], float | None],
    label: Callable[[Record], str],
    y_title: str,
) -> Figure | None:
    data: list[dict[str, Any]] = []
    by_tokens = [group for group in series if group.case.tokens]
    timed = [record for group in by_tokens for record in group.timed]
    for name in ordered(record.implementation for record in timed):
        records = [record for record in timed if record.implementation == name]
        rows = [(record, value(record, hot_median(record))) for record in records]
        rows = [(record, y) for record, y in rows if is_number(y)]
        if not rows:
            continue
        band = _band(name, [record for record, _ in rows], value)
        data += [band] if band else []
        data.append(
            points(
                name,
                x=[record.case.tokens for record, _ in rows],
                y=[y for _, y in rows],
                **about(name, tokens=[record.case.tokens for record, _ in rows]),
                customdata=[[label(record), interval_words(record.hot)] for record, _ in rows],
                hovertemplate=f"<b>%{{fullData.name}}</b><br>%{{x}} tokens<br>{_MEDIAN}",
            )
        )
    if not data:
        return None
    tokens = sorted({group.case.tokens for group in by_tokens if group.case.tokens})
    x_axis = {"title": {"text": "tokens"}, "type": "log", "tickvals": tokens, "ticktext": [whole(n) for n in tokens]}
    y_axis = {"title": {"text": y_title}, **logarithmic(*_ends(data))}
    return {"data": data, "layout": layout(height=420, x=x_axis, y=y_axis)}


def interval_words(samples: Samples | None) -> str:
    """The interval of a median in parentheses, or how many samples were too few for one."""
    return f"({interval_or_count(samples)})" if samples is not None else ""


def _band(
    name: str, records: Sequence[Record], value: Callable[[Record, float], float | None]
) -> dict[str, Any] | None:
    sure = [record for record in records if record.hot and has_interval(record.hot) and record.hot.low_us > 0]
    if len(sure) < 2:
        return None
    ends: list[list[float | None]] = [
        [value(record, record.hot.low_us) for record in sure if record.hot],
        [value(record, record.hot.high_us) for record in sure if record.hot],
    ]
    tokens = [record.case.tokens for record in sure]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": tokens + tokens[::-1],
        "y": ends[0] + ends[1][::-1],
        "fill": "toself",
        "fillcolor": faint(colour(name), 0.16),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": name,
        **about(name, tokens=tokens + tokens[::-1]),
    }


def phases(group: Group) -> Figure | None:
    """Hot median of every phase, a bar per implementation. None where no phase was timed."""
    data = []
    names = list(dict.fromkeys(phase for record in group.timed for phase in record.phases))
    for record in _in_order(group):
        timed = [(name, part) for name in names if has_times(part := record.phases.get(name))]
        if timed:
            data.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": text(record.implementation),
                    **about(record.implementation),
                    "y": [text(name) for name, _ in timed],
                    "x": [part.median_us / 1000 for _, part in timed],
                    "marker": {"color": colour(record.implementation)},
                    "error_x": error_bars([part for _, part in timed]),
                    "customdata": [[time_text(part.median_us), interval_words(part)] for _, part in timed],
                    "hovertemplate": f"<b>%{{fullData.name}}</b>, %{{y}}<br>{_MEDIAN}",
                }
            )
    if not data:
        return None
    y_axis = {"categoryorder": "array", "categoryarray": [text(name) for name in names], "autorange": "reversed"}
    height = 110 + len(names) * max(30, 18 * len(data))
    x_axis = {"title": {"text": "time, ms"}, "rangemode": "tozero"}
    return {"data": data, "layout": layout(height=height, x=x_axis, y=y_axis, barmode="group", bargap=0.3)}


def _in_order(group: Group) -> list[Record]:
    """The timed records of a case in the order of every legend."""
    return sorted(group.timed, key=lambda record: position(record.implementation))


def error_bars(parts: Sequence[Samples]) -> dict[str, Any]:
    """The intervals of medians as Plotly's error bars, in milliseconds; of a single sample none."""
    sure = [has_interval(part) for part in parts]
    return {
        "type": "data",
        "symmetric": False,
        "array": [(p.high_us - p.median_us) / 1000 if known else 0 for p, known in zip(parts, sure, strict=True)],
        "arrayminus": [(p.median_us - p.low_us) / 1000 if known else 0 for p, known in zip(parts, sure, strict=True)],
        "color": "#808080",
        "thickness": 1,
        "width": 3,
    }


def samples_in_order(group: Group) -> Figure | None:
    """Every hot sample as it was taken: shows drift and disturbance. None without a timed record."""
    data = []
    for record in _in_order(group):
        assert record.hot is not None
        kept, step = thinned(record.hot.samples_us)
        if kept:
            trace = points(
                record,
                x=[1 + index * step for index in range(len(kept))],
                y=[us / 1000 if is_number(us) else None for us in kept],
                hovertemplate="<b>%{fullData.name}</b><br>sample %{x}: %{y:.4g} ms<extra></extra>",
            )
            data.append({**trace, "line": {**trace["line"], "width": 1}, "marker": {**trace["marker"], "size": 5}})
    if not data:
        return None
    data += _suspects(group)
    x_axis = {"title": {"text": "sample, in the order taken"}}
    return {
        "data": data,
        "layout": layout(height=340, x=x_axis, y={"title": {"text": "time, ms"}, **logarithmic(*_ends(data))}),
    }


def _suspects(group: Group) -> list[dict[str, Any]]:
    """A ring around every suspect hot sample, in one trace; none where nothing is suspect."""
    marked = [
        (place + 1, samples[place] / 1000, record.implementation)
        for record in group.timed
        if record.hot is not None
        for samples in [record.hot.samples_us]
        for place in record.hot.suspects
        if 0 <= place < len(samples) and is_number(samples[place])
    ]
    if not marked:
        return []
    rings = {
        "type": "scatter",
        "mode": "markers",
        "name": "suspect: clocks held back, or launches not hidden",
        "x": [place for place, _, _ in marked],
        "y": [time for _, time, _ in marked],
        "customdata": [text(name) for _, _, name in marked],
        **about([name for _, _, name in marked]),
        "marker": {"symbol": "circle-open", "size": 13, "color": "#808080", "line": {"width": 2}},
        "hovertemplate": "<b>%{customdata}</b><br>sample %{x}: %{y:.4g} ms, suspect<extra></extra>",
    }
    return [rings]


def thinned(samples: Sequence[float]) -> tuple[list[float], int]:
    """At most `MOST_SAMPLES` of the samples, evenly taken, and the step between them."""
    step = max(1, -(-len(samples) // MOST_SAMPLES))
    return list(samples[::step]), step


def timed_names(series: Sequence[Group]) -> list[str]:
    """The implementations with a time anywhere in a series."""
    return implementations(record for group in series for record in group.records if is_timed(record))
