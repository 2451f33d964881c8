"""The figure of a placement: what every rank computes, holds and takes under every policy, beside mean and bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..records import PlacementRecord
from .blocks import Blocks, Panel, known, panelled, unit_of
from .formats import digits, is_number
from .palette import faint
from .palette_policies import policy_colour
from .plot import Figure, text

EVEN = 1.005  # below this ratio of largest and mean, 1.00 when written, no rank is called the fullest


def mean_work(placement: PlacementRecord) -> float | None:
    """Mean FLOPs per rank; None when there is no work or a rank's is unknown."""
    work = placement.work
    if not work or not all(is_number(value) for value in work) or sum(work) <= 0:
        return None
    return sum(work) / len(work)


def drawable(placements: Sequence[PlacementRecord]) -> list[PlacementRecord]:
    """Those whose work is known for every rank, the most even first."""
    found = [placement for placement in placements if mean_work(placement) is not None]
    return sorted(found, key=lambda placement: max(placement.work) / (mean_work(placement) or 1))


def bound_of(placement: PlacementRecord) -> float | None:
    """The bound as a height among the bars of work; None without one, or where it counts work over uneven speeds."""
    bound, ratio = placement.bound, placement.work_over_bound
    if not is_number(bound) or bound <= 0:
        return None
    if is_number(ratio) and abs(max(placement.work) / bound - ratio) > 1e-6 * max(ratio, 1):
        return None
    return bound


def per_rank(placements: Sequence[PlacementRecord], names: Sequence[str] = ()) -> Figure | None:
    """A panel for work, rows, time and memory, as far as they are known; a block of bars for every policy, the fullest
    rank solid and marked. None without work.

    names: of the blocks, which then stand in the order given; else they are the policies', the most even one first
    """
    shown = [one for one in placements if mean_work(one) is not None] if names else drawable(placements)
    if not shown or (names and len(shown) < len(names)):
        return None
    widest = max(len(placement.work) for placement in shown)
    blocks = Blocks(tuple(names) or tuple(placement.policy for placement in shown), widest)
    columns: dict[str, list[list[float] | None]] = {
        "work": [known(placement.work, len(placement.work)) for placement in shown],
        "rows": [known(placement.rows, len(placement.work)) for placement in shown],
        "time": [known(placement.seconds, len(placement.work)) for placement in shown],
        "memory": [known(placement.memory, len(placement.work)) for placement in shown],
    }
    panels = [
        _panel(quantity, values, shown, blocks)
        for quantity, values in columns.items()
        if any(value is not None and max(value) > 0 for value in values)
    ]
    return panelled(blocks, panels)


def _panel(
    quantity: str, values: Sequence[list[float] | None], shown: Sequence[PlacementRecord], blocks: Blocks
) -> Panel:
    flat = [value for own in values for value in own or []]
    size, unit = unit_of(quantity, flat)
    levels, labels, traces = [], [], []
    highest = max(flat) / size
    for block, (own, placement) in enumerate(zip(values, shown, strict=True)):
        if own is None or not sum(own):
            continue
        mean = sum(own) / len(own)
        levels.append((block, mean / size, "dot"))
        labels.append((block, max(own) / size, f"{max(own) / mean:.2f} ×"))
        if quantity == "work":
            for level, dash in ((bound_of(placement), "solid"), (placement.size_bound, "dash")):
                if is_number(level) and level > 0:
                    levels.append((block, level / size, dash))
                    highest = max(highest, level / size)
        traces.append(_bars(placement.policy, blocks.names[block], own, (size, unit), blocks.places(block)))
    return Panel(_TITLES[quantity], unit, traces, highest, levels=tuple(levels), labels=tuple(labels))


_TITLES = {
    "work": "<b>Work</b> of a rank",
    "rows": "<b>Rows</b> of a rank",
    "time": "<b>Time</b> of a rank",
    "memory": "<b>Memory</b> of a rank",
}


def _bars(policy: str, name: str, values: list[float], scale: tuple[float, str], places: list[float]) -> dict[str, Any]:
    size, unit = scale
    mean, shade = sum(values) / len(values), policy_colour(policy)
    fullest = max(range(len(values)), key=lambda rank: values[rank]) if max(values) >= EVEN * mean else None
    return {
        "type": "bar",
        "name": text(name),
        "x": places[: len(values)],
        "y": [value / size for value in values],
        "marker": {"color": [shade if rank == fullest else faint(shade, 0.4) for rank in range(len(values))]},
        "customdata": [[rank, digits(value / mean)] for rank, value in enumerate(values)],
        "hovertemplate": f"<b>%{{fullData.name}}</b>, rank %{{customdata[0]}}<br>%{{y:.4g}} {unit}, "
        "%{customdata[1]} × the mean<extra></extra>",
    }
