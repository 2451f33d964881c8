"""One colour and one marker per implementation, the same in every figure and table.

The first six colours are those of Okabe and Ito (2008), told apart by colour-blind readers. The others were chosen
beside them so that no two of the twelve lie closer than those six do among themselves, as seen with normal vision and
without each of the three cones, and so that every one stands out from a white and from a dark page. Markers and
hatching repeat what colours say for print.

Versions of an implementation have shades of its colour, by their place in the ladder: as far from each other and from
the implementation itself as the twelve among themselves, and from the others far enough beside a marker of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..peers import LADDERS

# In the order of every legend: ours, the baselines, the peers.
_COLOURS = {
    "triton": "#0072B2",
    "cupy": "#009E73",
    "numba": "#CC79A7",
    "numba_mma": "#6655CC",
    "padded_bmm": "#D55E00",
    "torch_loop": "#E69F00",
    "torch_grouped_mm": "#56B4E9",
    "torch_grouped_mm_padded": "#DDAAAA",
    "liger": "#99BB66",
    "moe_ops": "#994433",
    "triton_per_group": "#9988FF",
    "cupy_per_group": "#775566",
}
_MARKERS = {
    "triton": "diamond",
    "cupy": "star",
    "numba": "cross",
    "numba_mma": "x",
    "padded_bmm": "square",
    "torch_loop": "circle",
    "torch_grouped_mm": "triangle-up",
    "torch_grouped_mm_padded": "triangle-down",
    "liger": "pentagon",
    "moe_ops": "hexagram",
    "triton_per_group": "diamond-tall",
    "cupy_per_group": "star-square",
}
# From the simplest version to the most involved.
_SHADES = {
    "triton": ("#445577", "#88AACC"),
    "cupy": ("#445544", "#669955", "#889933", "#77CC33", "#22CC88", "#005511"),
}
_SHAPES = {
    "triton": ("triangle-se", "star-triangle-down"),
    "cupy": ("triangle-left", "triangle-nw", "hexagon2", "diamond-wide", "triangle-ne", "triangle-sw"),
}


def _with_versions(own: Mapping[str, str], kinds: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """What each implementation has, and after it what its versions have, as far as there are enough for them."""
    return {
        name: value
        for family, mine in own.items()
        for name, value in (
            (family, mine),
            *(
                (f"{family}_{one}", kind)
                for one, kind in zip(LADDERS.get(family, ()), kinds.get(family, ()), strict=False)
            ),
        )
    }


COLOURS = _with_versions(_COLOURS, _SHADES)
MARKERS = _with_versions(_MARKERS, _SHAPES)
# For implementations that came later than this file: the name alone says which, so that it is the same in every report.
_OTHER_COLOURS = ("#7F7F7F", "#A6761D", "#3E8E8E", "#8C6BB1", "#B5566B")
_OTHER_MARKERS = ("hexagon", "star-diamond", "bowtie", "hourglass", "star-triangle-up", "triangle-right", "octagon")
NEUTRAL = "#8089A0"


def colour(implementation: str) -> str:
    """The implementation's colour, as #rrggbb."""
    return COLOURS.get(implementation) or _OTHER_COLOURS[_number(implementation) % len(_OTHER_COLOURS)]


def marker(implementation: str) -> str:
    """The implementation's marker, by Plotly's name."""
    return MARKERS.get(implementation) or _OTHER_MARKERS[_number(implementation) % len(_OTHER_MARKERS)]


def ordered(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of every legend: the known ones as in COLOURS, then the others by name."""
    return sorted(set(names), key=position)


def position(implementation: str) -> tuple[int, str]:
    """Where an implementation stands in that order: a key to sort by."""
    known = list(COLOURS)
    return (known.index(implementation) if implementation in COLOURS else len(known), implementation)


def faint(colour_code: str, opacity: float) -> str:
    """A #rrggbb colour with an opacity, as rgba(...)."""
    red, green, blue = (int(colour_code[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _number(name: str) -> int:
    return sum(name.encode())
