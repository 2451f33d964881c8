"""What a reader may choose from at the top of the page: implementations, layers, routings, numbers of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..records import CaseRecord, Run
from .palette import colour, marker, ordered
from .section import Section
from .sections_placement import is_only_placing

# Plotly's markers as signs in running text.
_GLYPHS = {
    "diamond": "◆",
    "star": "★",
    "cross": "✚",
    "x": "✖",
    "square": "■",
    "circle": "●",
    "triangle-up": "▲",
    "triangle-down": "▼",
    "triangle-right": "▶",
    "pentagon": "⬟",
    "hexagon": "⬢",
    "octagon": "⯃",
    "hexagram": "✶",
    "diamond-tall": "◊",
    "diamond-wide": "❖",
    "triangle-left": "◀",
    "triangle-nw": "◤",
    "triangle-ne": "◥",
    "triangle-sw": "◣",
    "triangle-se": "◢",
    "star-triangle-down": "▽",
    "hexagon2": "⬣",
    "star-square": "✦",
    "star-diamond": "✧",
    "bowtie": "⧓",
    "hourglass": "⧗",
}


@dataclass(frozen=True)
class Chip:
    """An implementation to switch on or off, in its colour and with its sign."""

    name: str
    colour: str
    glyph: str


@dataclass(frozen=True)
class Choices:
    """All there is to choose from; a list with one entry or none is not offered."""

    chips: tuple[Chip, ...]
    specs: tuple[str, ...]
    routings: tuple[str, ...]
    tokens: tuple[int, ...]

    @property
    def offered(self) -> bool:
        """Whether there is anything to choose."""
        return any(len(given) > 1 for given in (self.chips, self.specs, self.routings, self.tokens))


def choices(runs: Sequence[Run], found: Iterable[Section]) -> Choices:
    """What the records and placements of `runs`, and the sections made of them, are about."""
    # The layers of single ranks are no choice: where only ranks were measured, the placements' cases are.
    records = [record for run in runs if not is_only_placing(run) for record in run.records]
    studies = [study for run in runs for study in run.tuning]
    names = ordered([one.implementation for one in (*records, *studies)])
    # What was compiled without being run belongs to no case.
    cases = [record.case for record in records if record.case.tokens]
    cases += [placement.case for run in runs for placement in run.placements]
    metas = [variant.meta for section in found for variant in section.variants]
    return Choices(
        chips=tuple(Chip(name, colour(name), _GLYPHS.get(marker(name), "●")) for name in names),
        specs=_met((case.spec for case in cases), (meta.get("spec") for meta in metas)),
        routings=_met((case.routing for case in cases), (meta.get("routing") for meta in metas)),
        tokens=tuple(sorted(_numbers(cases))),
    )


def _met(first: Iterable[str | None], more: Iterable[object]) -> tuple[str, ...]:
    """Every name, in order of first appearance."""
    listed = [name for value in more for name in (value if isinstance(value, list) else [value])]
    return tuple(dict.fromkeys(str(name) for name in [*first, *listed] if name))


def _numbers(cases: Iterable[CaseRecord]) -> set[int]:
    return {case.tokens for case in cases if case.tokens}
