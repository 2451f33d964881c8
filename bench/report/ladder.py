"""The versions of an implementation on one case, from the simplest to the most involved: what each step is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..peers import LADDERS, VERSIONS
from ..records import CaseRecord, Environment, Record, Run
from ..timing import Interval
from .cases import Group, every_group, hot_median, is_timed, series_of
from .formats import is_number
from .roofline import MATRIX, limit_of, roofs_of
from .verdict import longer

FEWEST = 2  # versions with a time, below which there is no step


@dataclass(frozen=True)
class Rung:
    """A version on a case.

    before: the timed record that `faster` is over: the version before it; for the implementation itself, the fastest
            version. None for the first, and for what was not timed
    faster: how many times as fast, with its interval where both were timed in the same rounds
    """

    record: Record
    before: Record | None = None
    faster: Interval | None = None

    @property
    def doubt(self) -> str:
        """Why it may be called neither faster nor slower than the one before, in words; empty where it may."""
        if self.faster is None or not is_number(self.faster.low):
            return "undecided: no interval"
        return "undecided" if self.faster.low <= 1 <= self.faster.high else ""


@dataclass(frozen=True)
class Ladder:
    """The rungs of one case, in the order of the ladder; itself: the implementation that they are versions of."""

    family: str
    case: CaseRecord
    rungs: tuple[Rung, ...]
    itself: Rung | None = None

    @property
    def timed(self) -> tuple[Rung, ...]:
        """The versions with a time."""
        return tuple(rung for rung in self.rungs if is_timed(rung.record))

    @property
    def all_timed(self) -> tuple[Rung, ...]:
        """Those, and then the implementation itself where it has one."""
        own = (self.itself,) if self.itself is not None and is_timed(self.itself.record) else ()
        return (*self.timed, *own)

    @property
    def fastest(self) -> Rung:
        """The version with the lowest median."""
        return min(self.timed, key=lambda rung: hot_median(rung.record))


def ladders(run: Run) -> list[tuple[CaseRecord, tuple[Ladder, ...]]]:
    """The cases on which two versions or more of one implementation were timed, those that differ in tokens alone
    together and by rising tokens; each implementation apart.
    """
    return [
        (case, found)
        for family in LADDERS
        for case, series in series_of(every_group(run))
        if (found := tuple(one for group in series if (one := _ladder(family, group)) is not None))
    ]


def _ladder(family: str, group: Group) -> Ladder | None:
    records = {record.implementation: record for record in group.records}
    names = [name for name, version in VERSIONS.items() if version.family == family and name in records]
    rungs: list[Rung] = []
    before: Record | None = None
    for record in map(records.__getitem__, names):
        rungs.append(_rung(record, before))
        before = record if is_timed(record) else before
    ladder = Ladder(family, group.case, tuple(rungs))
    if len(ladder.timed) < FEWEST:
        return None
    itself = _rung(records[family], ladder.fastest.record) if family in records else None
    return Ladder(family, group.case, tuple(rungs), itself)


def _rung(record: Record, before: Record | None) -> Rung:
    if before is None or not is_timed(record):
        return Rung(record)
    return Rung(record, before, longer(record, before))


def share_of_roof(record: Record, environment: Environment) -> tuple[float, str] | None:
    """The share of the measured roof that limits a record, and which that is; where only the matrix rate was measured,
    the share of that. None where neither is known.
    """
    roofs = roofs_of(record.case.dtype, environment)
    limit = limit_of(record, roofs) if roofs is not None else None
    if limit is not None:
        return limit.share, limit.limiter
    return (record.share_of_roof, MATRIX) if is_number(record.share_of_roof) else None


def least_us(found: Sequence[Rung], environment: Environment) -> tuple[float, str] | None:
    """What the limiting roof alone would take, in microseconds, and which that is; None where it was not measured."""
    for rung in found:
        roofs = roofs_of(rung.record.case.dtype, environment)
        limit = limit_of(rung.record, roofs) if roofs is not None else None
        if limit is not None:
            return limit.least_us, limit.limiter
    return None
