"""The figure of energy: what a token costs with each implementation."""

from __future__ import annotations

from dataclasses import dataclass

from ..records import Record
from .cases import Group
from .formats import digits, flops_text, is_number, whole
from .palette import colour
from .plot import Figure, about, layout, text

_UNITS = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ"))


@dataclass(frozen=True)
class TokenEnergy:
    """Joule per token of one record, with the 95 % interval of the window's energy where that is known."""

    record: Record
    joule: float
    low: float | None
    high: float | None


def token_energies(group: Group) -> list[TokenEnergy]:
    """Those that are known, least first."""
    found = []
    for record in group.records:
        seen = record.telemetry
        if seen is not None and is_number(seen.joule_per_token) and seen.joule_per_token > 0:
            ends = [end for end in seen.interval.get("energy_j", []) if is_number(end)]
            sure = len(ends) == 2 and is_number(seen.energy_j) and seen.energy_j > 0
            scale = seen.joule_per_token / (seen.energy_j or 1.0)
            low, high = (ends[0] * scale, ends[1] * scale) if sure else (None, None)
            found.append(TokenEnergy(record, seen.joule_per_token, low, high))
    return sorted(found, key=lambda one: one.joule)


def energy_per_token(group: Group) -> Figure | None:
    """A bar per implementation with its interval, and the work done for a joule. None where no energy is known."""
    found = token_energies(group)
    if not found:
        return None
    size, unit = unit_for(max(one.joule for one in found))
    bars = {
        "type": "bar",
        "orientation": "h",
        **about([one.record.implementation for one in found]),
        "y": [text(one.record.implementation) for one in found],
        "x": [one.joule / size for one in found],
        "marker": {"color": [colour(one.record.implementation) for one in found]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [(one.high - one.joule) / size if one.high is not None else 0 for one in found],
            "arrayminus": [(one.joule - one.low) / size if one.low is not None else 0 for one in found],
            "color": "#808080",
            "thickness": 1.5,
            "width": 4,
        },
        "text": [work_text(one.record) for one in found],
        "textposition": "inside",
        "insidetextanchor": "start",
        "customdata": [[joule_text(one.joule), energy_interval(one), _window(one.record)] for one in found],
        "hovertemplate": "<b>%{y}</b><br>%{customdata[0]} a token %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
    }
    x_axis = {"title": {"text": f"energy of a token, {unit}"}, "rangemode": "tozero"}
    shown = layout(height=120 + 42 * len(found), x=x_axis, y={"autorange": "reversed", "type": "category"})
    return {"data": [bars], "layout": {**shown, "showlegend": False, "margin": {"l": 8, "r": 12, "t": 28, "b": 8}}}


def unit_for(joule: float) -> tuple[float, str]:
    """The unit in which an energy reads best, as its size in J and its name."""
    return next((pair for pair in _UNITS if joule >= pair[0] * 0.9995), _UNITS[-1])


def joule_text(joule: float | None) -> str:
    """An energy given in J."""
    if not is_number(joule):
        return digits(None)
    size, unit = unit_for(abs(joule)) if joule else (1.0, "J")
    return f"{digits(joule / size)} {unit}"


def energy_interval(one: TokenEnergy) -> str:
    """The interval in parentheses; empty where there is none."""
    return f"({joule_text(one.low)} to {joule_text(one.high)})" if one.low is not None else ""


def work_text(record: Record) -> str:
    """Useful work for a joule; empty where it is not known."""
    done = record.telemetry.tflop_per_joule if record.telemetry else None
    return f"{flops_text(done * 1e12)}/J" if is_number(done) else ""


def _window(record: Record) -> str:
    seen = record.telemetry
    return f"{digits(seen.window_s)} s, {whole(seen.samples)} readings, {whole(seen.calls)} calls" if seen else ""
