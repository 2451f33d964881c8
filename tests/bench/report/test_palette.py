"""Colours and markers: one per implementation, the same everywhere, told apart by any eyes and on any page."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mohge.bench.peers import CONTESTANTS, LADDERS, VERSIONS, family_of
from mohge.bench.report.palette import COLOURS, MARKERS, colour, ordered


def test_every_contestant_has_a_colour_and_a_marker_of_its_own() -> None:
    assert set(COLOURS) == set(MARKERS) == set(CONTESTANTS)
    assert len(set(MARKERS.values())) == len(MARKERS)


def test_the_order_of_legends_does_not_depend_on_the_order_of_records() -> None:
    assert ordered(["zeta", "liger", "padded_bmm", "alpha", "triton"]) == [
        *("triton", "padded_bmm", "liger", "alpha", "zeta")
    ]


# Machado, Oliveira and Fernandes (2009), severity 1.0, linear RGB to linear RGB.
_SEEN = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
_WHITE = (0.9505, 1.0, 1.089)


def _linear(code: str) -> list[float]:
    channels = [int(code[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]


def _times(matrix: Any, vector: Any) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def _lab(code: str, eyes: str) -> tuple[float, float, float]:
    """CIELAB of a colour as seen by these eyes."""
    seen = [min(1.0, max(0.0, part)) for part in _times(_SEEN[eyes], _linear(code))]
    shares = [value / white for value, white in zip(_times(_XYZ, seen), _WHITE, strict=True)]
    x, y, z = (share ** (1 / 3) if share > 0.008856 else 7.787 * share + 16 / 116 for share in shares)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


OKABE_ITO = 16  # what its six keep among themselves is 16.05


def _nearest(names: list[str], others: list[str], eyes: str) -> float:
    pairs = [(_lab(COLOURS[a], eyes), _lab(COLOURS[b], eyes)) for a in names for b in others if a != b]
    return min(math.dist(one, other) for one, other in pairs)


@pytest.mark.parametrize("eyes", _SEEN)
def test_colours_are_told_apart_with_any_eyes(eyes: str) -> None:
    names = [name for name in COLOURS if family_of(name) is None]
    assert _nearest(names, names, eyes) > OKABE_ITO


@pytest.mark.parametrize("eyes", _SEEN)
@pytest.mark.parametrize("family", LADDERS)
def test_versions_are_told_apart_with_any_eyes(family: str, eyes: str) -> None:
    mine = [family, *(name for name in VERSIONS if family_of(name) == family)]
    assert _nearest(mine, mine, eyes) > OKABE_ITO
    # A marker of their own tells them from the others, beside which they are seldom drawn.
    assert _nearest(mine[1:], [name for name in COLOURS if name not in mine], eyes) > OKABE_ITO / 2


@pytest.mark.parametrize("name", VERSIONS)
def test_a_version_is_of_its_family_s_hue(name: str) -> None:
    (_, a, b), (_, own_a, own_b) = _lab(COLOURS[name], "normal"), _lab(COLOURS[str(family_of(name))], "normal")
    turned = math.degrees(math.atan2(b, a) - math.atan2(own_b, own_a)) % 360
    assert min(turned, 360 - turned) < 60  # a green stays a green, a blue a blue


@pytest.mark.parametrize("page", ["#ffffff", "#12151b"])
def test_colours_stand_out_from_the_page(page: str) -> None:
    for name in COLOURS:
        dark, bright = sorted(_times(_XYZ, _linear(code))[1] for code in (colour(name), page))
        assert (bright + 0.05) / (dark + 0.05) > 2, name
