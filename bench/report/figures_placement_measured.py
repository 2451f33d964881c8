"""Ranks that were run one after another on one device, beside what the simulation says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..records import PlacementRecord, RankTimes
from .blocks import GREY, Blocks, Panel, panelled, unit_of
from .formats import digits, is_number, percent_text, time_text
from .palette import faint
from .palette_policies import policy_colour
from .plot import Figure, text

Timed = tuple[PlacementRecord, RankTimes]


def timed_ranks(placements: Sequence[PlacementRecord]) -> list[Timed]:
    """The placements that have a time of some rank, the quickest first and those without a makespan last."""
    found = [
        (placement, placement.measured)
        for placement in placements
        if placement.measured is not None and any(is_number(seconds) for seconds in placement.measured.measured_s)
    ]
    return sorted(found, key=lambda pair: (makespan(pair[1]) is None, makespan(pair[1]) or 0.0))


def makespan(times: RankTimes) -> float | None:
    """Measured seconds of the slowest rank; None where a rank was not timed."""
    return times.makespan_s if is_number(times.makespan_s) and times.makespan_s > 0 else None


def measured_beside_simulated(placements: Sequence[PlacementRecord]) -> Figure | None:
    """Above, the measured time of every rank as a bar with its interval and the simulated one as a mark, and of both
    the makespan as a line; below, how far the simulation is off. None without a measured rank.
    """
    shown = timed_ranks(placements)
    if not shown:
        return None
    blocks = Blocks(tuple(placement.policy for placement, _ in shown), max(len(one[1].simulated_s) for one in shown))
    return panelled(blocks, [_times(shown, blocks), _errors(shown, blocks)])


def _times(shown: Sequence[Timed], blocks: Blocks) -> Panel:
    seconds = [value for _, times in shown for value in (*times.measured_s, *times.simulated_s) if is_number(value)]
    size, unit = unit_of("time", seconds)
    traces, levels, labels = [], [], []
    for block, (placement, times) in enumerate(shown):
        places = blocks.places(block)
        traces += [_bars(placement, times, places, size), _marks(placement, times, places, size)]
        levels.append((block, times.simulated_makespan_s / size, "dash"))
        whole = makespan(times)
        if whole is not None:
            levels.append((block, whole / size, "solid"))
            highest = max(whole, times.simulated_makespan_s, *(high for high in times.high_s if is_number(high)))
            labels.append((block, highest / size, digits(whole / size)))
    highs = [high for _, times in shown for high in times.high_s if is_number(high)]
    title = "<b>Time</b> of a rank: bar measured, ◇ simulated"
    # An interval may be far wider than all times: then its end is cut off, and not the bars made small.
    highest = min(max([*seconds, *highs]), 1.5 * max(seconds)) / size
    labels = [(block, min(y, highest), said) for block, y, said in labels]
    return Panel(title, unit, traces, highest, levels=tuple(levels), labels=tuple(labels))


def _bars(placement: PlacementRecord, times: RankTimes, places: list[float], size: float) -> dict[str, Any]:
    shade, whole = policy_colour(placement.policy), makespan(times)
    measured = [value if is_number(value) else None for value in times.measured_s]
    ends = list(zip(times.measured_s, times.low_s, times.high_s, strict=True))
    return {
        "type": "bar",
        "name": text(placement.policy),
        "x": places[: len(measured)],
        "y": [None if value is None else value / size for value in measured],
        "marker": {
            "color": [shade if value is not None and value == whole else faint(shade, 0.4) for value in measured]
        },
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [_beyond(high, value, size) for value, _, high in ends],
            "arrayminus": [_beyond(value, low, size) for value, low, _ in ends],
            "color": GREY,
            "thickness": 1.2,
            "width": 2,
        },
        "customdata": [_hover(times, rank) for rank in range(len(measured))],
        "hovertemplate": "<b>%{fullData.name}</b>, rank %{customdata[0]}<br>%{customdata[1]}<extra></extra>",
    }


def _beyond(more: float | None, less: float | None, size: float) -> float:
    return max(0.0, more - less) / size if is_number(more) and is_number(less) else 0.0


def _marks(placement: PlacementRecord, times: RankTimes, places: list[float], size: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": text(placement.policy),
        "x": places[: len(times.simulated_s)],
        "y": [value / size for value in times.simulated_s],
        "marker": {"symbol": "diamond-open", "size": 8, "color": GREY, "line": {"width": 2}},
        "customdata": [_hover(times, rank) for rank in range(len(times.simulated_s))],
        "hovertemplate": "<b>%{fullData.name}</b>, rank %{customdata[0]}<br>%{customdata[1]}<extra></extra>",
    }


def _hover(times: RankTimes, rank: int) -> list[Any]:
    """The rank, and both times with the error."""
    seconds = times.measured_s[rank]
    measured = f"measured {time_text(seconds * 1e6)}" if is_number(seconds) else "not timed"
    simulated = f"simulated {time_text(times.simulated_s[rank] * 1e6)}"
    error = times.errors[rank]
    return [rank, f"{measured}<br>{simulated}{f'<br>error {signed(error)}' if is_number(error) else ''}"]


def signed(share: float | None) -> str:
    """An error as a percentage with its sign; a dash where there is none."""
    if not is_number(share):
        return percent_text(None)
    return f"{'+' if share >= 0 else '−'}{percent_text(abs(share))}"


def _errors(shown: Sequence[Timed], blocks: Blocks) -> Panel:
    errors = [error * 100 for _, times in shown for error in times.errors if is_number(error)]
    traces = []
    for block, (placement, times) in enumerate(shown):
        own = [error * 100 if is_number(error) else None for error in times.errors]
        traces.append(
            {
                "type": "bar",
                "name": text(placement.policy),
                "x": blocks.places(block)[: len(own)],
                "y": own,
                "marker": {"color": faint(policy_colour(placement.policy), 0.7)},
                "customdata": [_hover(times, rank) for rank in range(len(own))],
                "hovertemplate": "<b>%{fullData.name}</b>, rank %{customdata[0]}<br>%{customdata[1]}<extra></extra>",
            }
        )
    title = "<b>Error</b> of the simulation: simulated over measured, minus 1"
    return Panel(title, "%", traces, max([*errors, 0.0]), lowest=min([*errors, 0.0]))
