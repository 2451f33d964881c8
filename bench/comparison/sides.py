"""The two sides of a comparison: their records side by side, what only one has, and what no longer passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..records import Provenance, Record, Run, Samples, Status
from .matching import Key, case_title, index, is_named, samples_of
from .result import Change, Missing

_FAILED = (Status.INCORRECT, Status.CRASHED, Status.TIMEOUT, Status.OUT_OF_MEMORY)


@dataclass(frozen=True)
class Side:
    """One side: the records of each of its runs.

    name: "A" or "B";  implementation: the one taken for this side where both sides are in the same runs
    """

    name: str
    runs: tuple[dict[Key, Record], ...]
    implementation: str = ""

    @classmethod
    def of(cls, name: str, runs: Sequence[Run], implementation: str = "") -> Side:
        """The side of these runs."""
        return cls(name, tuple(index(run) for run in runs), implementation)

    def key(self, key: Key) -> Key:
        """The key of this side's record."""
        return (key[0], self.implementation, key[2]) if self.implementation else key

    def records(self, key: Key) -> list[Record]:
        """Of every run that has it."""
        return [run[self.key(key)] for run in self.runs if self.key(key) in run]

    def samples(self, key: Key, which: str) -> list[tuple[int, Samples]]:
        """Of every run that has times of it, with the run's number."""
        found = [(number, samples_of(run.get(self.key(key)), which)) for number, run in enumerate(self.runs)]
        return [(number, samples) for number, samples in found if samples is not None]

    def anchor(self, key: Key, name: str, which: str, number: int) -> Samples | None:
        """The times of another implementation on the same case in run `number`."""
        return samples_of(self.runs[number].get((key[0], name, key[2])), which)


@dataclass(frozen=True)
class Matched:
    """What can be compared in time, what changed its status, and what is on one side only."""

    timed: tuple[Key, ...]
    changes: tuple[Change, ...]
    missing: tuple[Missing, ...]


def match(a: Side, b: Side, keys: Sequence[Key]) -> Matched:
    """Sort `keys` by what both sides say of them."""
    timed, changes, missing = [], [], []
    for key in keys:
        before, after = a.records(key), b.records(key)
        if not before or not after:
            only, side = (before or after)[0], a.name if before else b.name
            missing.append(Missing(only.case, only.implementation, side, f"only in {side}"))
            continue
        worst = [_worst(before), _worst(after)]
        if any(record.status is not Status.PASSED for record in worst):
            changes.append(_change(a, b, key, worst[0], worst[1]))
        elif key[2] is Provenance.MEASURED:
            timed.append(key)
    return Matched(tuple(timed), tuple(changes), tuple(missing))


def _worst(records: Sequence[Record]) -> Record:
    """One that did not pass, if there is one."""
    return next((record for record in records if record.status is not Status.PASSED), records[0])


def _change(a: Side, b: Side, key: Key, before: Record, after: Record) -> Change:
    """The same implementation must go on working; of two different ones, one may lack what the other supports."""
    lost = _FAILED if a.implementation else (*_FAILED, Status.UNSUPPORTED)
    return Change(
        case=after.case,
        implementation=f"{b.implementation} against {a.implementation}" if a.implementation else key[1],
        provenance=key[2],
        before=before.status,
        after=after.status,
        reason=after.reason if after.status is not Status.PASSED else before.reason,
        regression=before.status is Status.PASSED and after.status in lost,
    )


def all_keys(*sides: Side, case: str = "") -> list[Key]:
    """What either side has of the cases that `case` names, in order of appearance."""
    found = ((key, record) for side in sides for run in side.runs for key, record in run.items())
    return list(dict.fromkeys(key for key, record in found if is_named(record.case, case)))


def nothing_in_common(a: Side, b: Side) -> str:
    """In what two sides without a common case differ, in one line."""
    found = []
    cases = [[record.case for run in side.runs for record in run.values()] for side in (a, b)]
    if not all(cases):
        return "; ".join(f"{side.name} has no case" for side, have in zip((a, b), cases, strict=True) if not have)
    for name in ("spec", "tokens", "routing", "dtype", "device", "seed", "step"):
        values = [dict.fromkeys(str(getattr(case, name)) for case in side) for side in cases]
        if not values[0].keys() & values[1].keys():
            found.append(f"{name}: {', '.join(values[0])} in A, {', '.join(values[1])} in B")
    layers = [{case.spec: case.layer for case in side} for side in cases]
    found += [f"shape of {spec}" for spec in layers[0] if spec in layers[1] and layers[0][spec] != layers[1][spec]]
    shown = "; ".join(found) or f"A has {case_title(cases[0][0])}, B has {case_title(cases[1][0])}"
    return f"they differ in {shown}"
