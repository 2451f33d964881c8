"""The cells of the speedup heat map: one implementation over another, for each shape and routing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from ..records import BASELINE, CaseRecord, Record
from ..timing import Interval
from .cases import Group, is_timed, scale_text
from .formats import is_number, tokens_text
from .skew import skew_of
from .verdict import longer, told_apart

Place = tuple[str, str]  # shape, routing


@dataclass(frozen=True)
class Cell:
    """One implementation against another on one case.

    ratio:  how many times as fast, hot median over hot median, with its interval where there is one; None: see reason
    doubt:  "undecided" where neither is faster beyond doubt, else empty
    skew:   rows of the fullest expert over the mean; None where not known
    reason: why there is no ratio
    """

    case: CaseRecord
    ratio: Interval | None
    doubt: str
    times: tuple[float, float] | None
    skew: float | None
    reason: str = ""


@dataclass(frozen=True)
class Heat:
    """The map of `name` over `other`.

    shapes: row labels, layer by layer and by tokens;  routings: column labels, from even to skewed;  skews: of those
    """

    name: str
    other: str
    shapes: tuple[str, ...]
    routings: tuple[str, ...]
    skews: dict[str, float]
    cells: dict[Place, Cell]

    @property
    def known(self) -> list[tuple[Place, Cell, float]]:
        """The cells with a ratio, row by row, and that ratio."""
        found = []
        for shape in self.shapes:
            for routing in self.routings:
                cell = self.cells.get((shape, routing))
                if cell is not None and cell.ratio is not None:
                    found.append(((shape, routing), cell, cell.ratio.value))
        return found


def heat_of(found: Sequence[Group], name: str, other: str) -> Heat:
    """The map of `name` over `other` on cases of one dtype and device."""
    skews = {id(group): skew_of(group) for group in found}
    by_place: dict[Place, Group] = {}
    for group in found:
        by_place.setdefault((shape_of(group.case), group.case.routing or ""), group)
    layers = list(dict.fromkeys(group.case.spec for group in found))
    order = sorted(by_place.items(), key=lambda item: (layers.index(item[1].case.spec), item[1].case.tokens or 0))
    shapes = tuple(dict.fromkeys(shape for (shape, _), _ in order))
    routing_skews = _routing_skews([(group, skews[id(group)]) for group in by_place.values()])
    routings = dict.fromkeys(routing for _, routing in by_place)
    by_skew = sorted(routings, key=lambda routing: (routing not in routing_skews, routing_skews.get(routing, 0.0)))
    cells = {place: _cell(group, name, other, skews[id(group)]) for place, group in by_place.items()}
    return Heat(name, other, shapes, tuple(by_skew), routing_skews, cells)


def shape_of(case: CaseRecord) -> str:
    """The label of a row: the layer and its tokens."""
    spec = f"{case.spec} (scaled down)" if scale_text(case) else case.spec
    return f"{spec} · {tokens_text(case.tokens)}" if case.tokens is not None else spec


def rivals(names: Sequence[str], fastest: str | None) -> list[tuple[str, str]]:
    """Which maps to draw: everything over the baseline, then the fastest of the main case over everything else."""
    over = [(name, BASELINE) for name in names if name != BASELINE] if BASELINE in names else []
    best = [(fastest, name) for name in names if name not in (fastest, BASELINE)] if fastest in names else []
    return over + [(name, other) for name, other in best if name is not None and name != BASELINE]


def _routing_skews(found: Sequence[tuple[Group, float | None]]) -> dict[str, float]:
    """The skew of each routing: over its layers, the geometric mean of that at the most tokens."""
    largest: dict[tuple[str, str], tuple[int, float]] = {}
    for group, skew in found:
        if is_number(skew) and skew > 0:
            where, tokens = (group.case.routing or "", group.case.spec), group.case.tokens or 0
            if tokens >= largest.get(where, (0, 0.0))[0]:
                largest[where] = tokens, skew
    by_routing: dict[str, list[float]] = {}
    for (routing, _), (_, skew) in largest.items():
        by_routing.setdefault(routing, []).append(skew)
    return {routing: geometric_mean(values) for routing, values in by_routing.items()}


def _cell(group: Group, name: str, other: str, skew: float | None) -> Cell:
    mine, theirs = (_record(group, which) for which in (name, other))
    missing = [_missing(record, which) for record, which in ((mine, name), (theirs, other))]
    if mine is None or theirs is None or any(missing):
        return Cell(group.case, None, "", None, skew, "; ".join(filter(None, missing)))
    ratio = _recorded(mine, other) or longer(mine, theirs)
    # The interval of the one ratio says both, and takes long to find: of thousands of cells it is asked for once.
    apart = not ratio.low <= 1 <= ratio.high if is_number(ratio.low) else False
    decided = apart or (not is_number(ratio.low) and (told_apart(mine, theirs) or told_apart(theirs, mine)))
    assert mine.hot is not None
    assert theirs.hot is not None
    return Cell(group.case, ratio, "" if decided else "undecided", (mine.hot.median_us, theirs.hot.median_us), skew)


def _recorded(record: Record, baseline: str) -> Interval | None:
    """The ratio that the record itself keeps, by the same method from the same rounds; None where it keeps none."""
    said = record.speedup
    if said is None or said.baseline != baseline or not said.rounds or not is_number(said.ratio):
        return None
    return Interval(said.ratio, said.low, said.high)


def _record(group: Group, name: str) -> Record | None:
    mine = [record for record in group.records if record.implementation == name]
    return next((record for record in mine if is_timed(record)), mine[0] if mine else None)


def _missing(record: Record | None, name: str) -> str:
    """Why a record has no time; empty where it has one."""
    if record is None:
        return f"{name}: no record"
    if is_timed(record):
        return ""
    status = str(record.status).replace("_", " ")
    return (
        f"{name}: {'no usable time' if status == 'passed' else status}{f', {record.reason}' if record.reason else ''}"
    )
