"""One colour and one marker per placement policy, the same in every figure; the colours are those of `palette`."""

from __future__ import annotations

from .palette import NEUTRAL

COLOURS = {
    "contiguous": NEUTRAL,
    "round_robin": "#E69F00",
    "aga": "#0072B2",
    "one_size_per_rank": "#A6761D",
    "lpt": "#009E73",
    "eplb": "#CC79A7",
    "stratified": "#D55E00",
    "exact": "#8C6BB1",
}
MARKERS = {
    "contiguous": "circle",
    "round_robin": "triangle-up",
    "aga": "square",
    "one_size_per_rank": "hexagon",
    "lpt": "diamond",
    "eplb": "cross",
    "stratified": "star",
    "exact": "pentagon",
}
# For policies that came later than this file: told apart by their names.
_OTHER_COLOURS = ("#56B4E9", "#66A61E", "#B5566B")
_OTHER_MARKERS = ("x", "bowtie", "star-diamond")


def policy_colour(policy: str) -> str:
    """The policy's colour, as #rrggbb."""
    return COLOURS.get(policy) or _OTHER_COLOURS[sum(policy.encode()) % len(_OTHER_COLOURS)]


def policy_marker(policy: str) -> str:
    """The policy's marker, by Plotly's name."""
    return MARKERS.get(policy) or _OTHER_MARKERS[sum(policy.encode()) % len(_OTHER_MARKERS)]
