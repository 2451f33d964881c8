"""One colour and one marker per implementation, the same in every figure and table.

The colours are those of Okabe and Ito (2008), told apart by colour-blind readers; markers and hatching repeat what they
say for print.
"""

from __future__ import annotations

COLOURS = {
    "triton": "#0072B2",
    "cupy": "#009E73",
    "numba": "#CC79A7",
    "padded_bmm": "#D55E00",
    "torch_loop": "#E69F00",
    "torch_grouped_mm": "#56B4E9",
}
MARKERS = {
    "triton": "diamond",
    "cupy": "star",
    "numba": "cross",
    "padded_bmm": "square",
    "torch_loop": "circle",
    "torch_grouped_mm": "triangle-up",
}
# For implementations that came later than this file: told apart by their order of name.
_OTHER_COLOURS = ("#8C6BB1", "#A6761D", "#7F7F7F", "#66A61E", "#B5566B")
_OTHER_MARKERS = ("x", "hexagon", "pentagon", "star-diamond", "bowtie")
NEUTRAL = "#8089A0"


def colour(implementation: str) -> str:
    """The implementation's colour, as #rrggbb."""
    return COLOURS.get(implementation) or _OTHER_COLOURS[_number(implementation) % len(_OTHER_COLOURS)]


def marker(implementation: str) -> str:
    """The implementation's marker, by Plotly's name."""
    return MARKERS.get(implementation) or _OTHER_MARKERS[_number(implementation) % len(_OTHER_MARKERS)]


def faint(colour_code: str, opacity: float) -> str:
    """A #rrggbb colour with an opacity, as rgba(...)."""
    red, green, blue = (int(colour_code[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _number(name: str) -> int:
    return sum(name.encode())
