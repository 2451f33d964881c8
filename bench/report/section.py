"""What a section of the report is: a heading, and a variant for every case there is to choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from .plot import Figure

_TOLD = ("implementation", "spec", "routing", "tokens")  # columns that the filter follows


@dataclass(frozen=True)
class Variant:
    """One choice of a section: sentence, figure and a small table (header and rows) where there is one.

    figure:  None where the sentence says why it cannot be drawn
    remarks: what else must be known to read it, a sentence each
    meta:    what it is about, for the page's filter, made by `cases.case_meta`: spec, routing, tokens, implementation,
             as far as it is about one, or a list of several: it is offered while one of them is chosen. "skew" and
             "step" are numbers: variants that differ in one of them alone get a slider. "study" tells studies apart:
             what is picked in one section holds for all that have it.
    Rows follow the filter by their columns called "implementation", "spec", "routing" and "tokens".
    """

    label: str
    figure: Figure | None
    reading: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    remarks: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def marked_rows(self) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
        """Each row with what it is about, as far as its columns say."""
        places = [(name, place) for place, name in enumerate(self.header) if name in _TOLD]
        return [(row, {name: _told(name, row[place]) for name, place in places}) for row in self.rows]


@dataclass(frozen=True)
class Section:
    """A heading, what the figure shows, where it comes from, and its variants; `empty` is said when there are none.

    first: the variant that is shown until another one is chosen
    open:  rows are shown without being asked for, however many they are
    """

    name: str
    title: str
    lead: str
    provenance: str
    empty: str
    variants: list[Variant] = field(default_factory=list)
    first: int = 0
    open: bool = False

    @property
    def drawn(self) -> bool:
        """Whether any variant has a figure."""
        return any(variant.figure is not None for variant in self.variants)

    def starting(self, first: int) -> Self:
        """The same section with another variant shown first."""
        return replace(self, first=first)


def _told(name: str, cell: str) -> str | int:
    digits = "".join(filter(str.isdigit, cell))
    return int(digits) if name == "tokens" and digits else cell
