"""Panels under each other over one axis of ranks: a block of bars for every policy, so that heights compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .formats import is_number
from .plot import Figure, layout, text

PANEL_HEIGHT = 170
GREY = "#808080"
# Sizes of units, largest first; a panel takes the largest that its highest bar reaches.
UNITS = {
    "work": ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP"), (1.0, "FLOP")),
    "rows": ((1.0, "rows"),),
    "time": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "memory": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
}


@dataclass(frozen=True)
class Blocks:
    """Where the bars of several policies stand. names: of the policies;  ranks: bars in each block."""

    names: tuple[str, ...]
    ranks: int

    @property
    def pitch(self) -> float:
        """From the first bar of a block to that of the next."""
        return self.ranks + max(1.0, 0.2 * self.ranks)

    def places(self, block: int) -> list[float]:
        """Where the bars of a block stand."""
        return [block * self.pitch + rank for rank in range(self.ranks)]

    def centre(self, block: int) -> float:
        """The middle of a block."""
        return block * self.pitch + (self.ranks - 1) / 2

    def edges(self, block: int) -> tuple[float, float]:
        """Where a block meets its neighbours."""
        return self.centre(block) - self.pitch / 2, self.centre(block) + self.pitch / 2

    def axis(self, **more: Any) -> dict[str, Any]:
        """The axis of ranks, with the policies' names on it."""
        count = len(self.names)
        return {
            "range": [self.edges(0)[0], self.edges(count - 1)[1]],
            "tickvals": [self.centre(block) for block in range(count)],
            "ticktext": [text(name) for name in self.names],
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
            **more,
        }

    def stripes(self) -> list[dict[str, Any]]:
        """A shade behind every second block, through all panels."""
        where = {"type": "rect", "xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
        look = {"fillcolor": "rgba(128,128,128,0.07)", "line": {"width": 0}}
        return [
            {**where, "x0": self.edges(block)[0], "x1": self.edges(block)[1], **look}
            for block in range(1, len(self.names), 2)
        ]

    def level(self, block: int, axis: str, y: float, dash: str = "solid", width: float = 1.5) -> dict[str, Any]:
        """A line through one block at a height of the axis named `axis`."""
        left, right = self.edges(block)
        where = {"type": "line", "xref": "x", "x0": left, "x1": right, "yref": axis, "y0": y, "y1": y}
        return {**where, "line": {"color": GREY, "width": width, "dash": dash}}


@dataclass(frozen=True)
class Panel:
    """One quantity.

    title:  what stands above it;  unit: on its axis
    traces: on the axes x and y
    highest, lowest: what its axis must reach
    levels: (block, height, dash) of lines;  labels: (block, height, text) above the bars
    """

    title: str
    unit: str
    traces: list[dict[str, Any]]
    highest: float
    lowest: float = 0.0
    levels: tuple[tuple[int, float, str], ...] = ()
    labels: tuple[tuple[int, float, str], ...] = ()


def panelled(blocks: Blocks, panels: Sequence[Panel], **more: Any) -> Figure:
    """The panels from the top down, over one axis of ranks."""
    data: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    shapes, notes = blocks.stripes(), []
    count = len(panels)
    for index, panel in enumerate(panels):
        number = "" if index == 0 else str(index + 1)
        bottom, top = 1 - (index + 1) / count, 1 - index / count
        domain = [bottom + 0.07 / count, top - 0.13 / count]
        span = panel.highest - panel.lowest
        reach = [panel.lowest - (0.12 * span if panel.lowest < 0 else 0), panel.highest + 0.2 * span]
        axes[f"yaxis{number}"] = {
            "domain": domain,
            "range": reach if span > 0 else [0, 1],
            "zeroline": panel.lowest < 0,
            "zerolinecolor": GREY,
            "nticks": 5,
            "automargin": True,
            "ticksuffix": f" {panel.unit}" if panel.unit else "",
            "fixedrange": True,
        }
        data += [{**trace, "xaxis": "x", "yaxis": f"y{number}"} for trace in panel.traces]
        shapes += [blocks.level(block, f"y{number}", y, dash) for block, y, dash in panel.levels]
        notes.append(_title(panel.title, domain[1]))
        notes += [_label(blocks.centre(block), y, said, number) for block, y, said in panel.labels]
    x_axis = blocks.axis(anchor=f"y{count if count > 1 else ''}")
    height = 36 + PANEL_HEIGHT * count
    shown = layout(height=height, x=x_axis, y={}, shapes=shapes, annotations=notes, showlegend=False, bargap=0.15)
    return {"data": data, "layout": {**shown, "margin": {"l": 8, "r": 8, "t": 8, "b": 8}, **axes, **more}}


def unit_of(quantity: str, values: Sequence[float]) -> tuple[float, str]:
    """What to divide values of a quantity by, and the name of that unit."""
    highest = max(values, default=0.0)
    units = UNITS[quantity]
    return next((pair for pair in units if highest >= pair[0]), units[-1])


def known(values: Sequence[Any] | None, ranks: int) -> list[float] | None:
    """One finite number of at least 0 for every rank, or None."""
    if values is None or len(values) != ranks or not all(is_number(value) and value >= 0 for value in values):
        return None
    return [float(value) for value in values]


def _title(said: str, top: float) -> dict[str, Any]:
    where = {"x": 0, "y": top, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return {"text": said, **where, "showarrow": False, "font": {"size": 12}, "align": "left"}


def _label(x: float, y: float, said: str, number: str) -> dict[str, Any]:
    where = {"x": x, "y": y, "xref": "x", "yref": f"y{number}", "yanchor": "bottom", "showarrow": False}
    return {"text": said, **where, "font": {"size": 11}}
