"""Which record of one run belongs to which of another, and which samples of it can be used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from ..records import CaseRecord, Provenance, Record, Run, Samples, Status
from .result import COLD, HOT, PHASES

CaseKey = tuple[object, ...]
Key = tuple[CaseKey, str, Provenance]


def case_title(case: CaseRecord) -> str:
    """One line that names a case."""
    parts = [case.spec, f"{case.tokens} tokens" if case.tokens is not None else None, case.routing, case.dtype]
    parts += [f"{name} {value}" for name, value in (("seed", case.seed), ("step", case.step)) if value]
    return ", ".join(part for part in parts if part)


def index(run: Run) -> dict[Key, Record]:
    """The records by what they are of; of one recorded twice the last counts. What was only compiled has no case."""
    return {
        (record.case.key, record.implementation, record.provenance): record
        for record in run.records
        if record.provenance is not Provenance.COMPILED
    }


def is_named(case: CaseRecord, text: str) -> bool:
    """Whether the case's id or title has this text or matches this pattern; an empty text names all."""
    names = (case.id, case_title(case))
    if any(letter in text for letter in "*?["):
        return any(fnmatchcase(name, text) for name in names)
    return any(text in name for name in names)


def samples_of(record: Record | None, which: str) -> Samples | None:
    """The measured times of that name, or None. Raises ValueError for times that are not positive numbers."""
    if record is None or record.provenance is not Provenance.MEASURED or record.status is not Status.PASSED:
        return None
    named = {HOT: record.hot, COLD: record.cold}
    samples = record.phases.get(which.removeprefix(PHASES)) if which.startswith(PHASES) else named[which]
    if samples is None or not samples.samples_us:
        return None
    values = np.asarray(samples.samples_us)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(
            f"{record.implementation} on {case_title(record.case)}: {which} samples: expected positive times, "
            f"got {values[~(np.isfinite(values) & (values > 0))][0]:g}"
        )
    return samples


@dataclass(frozen=True)
class Rounds:
    """Series taken in the same rounds, float[n] each, without the rounds in which one of them is suspect."""

    series: tuple[NDArray[np.float64], ...]
    left_out: int

    @property
    def count(self) -> int:
        """Rounds left."""
        return len(self.series[0])


def rounds(samples: Iterable[Samples]) -> Rounds:
    """The rounds that all series have."""
    members = list(samples)
    count = min(len(member.samples_us) for member in members)
    keep = np.ones(count, dtype=bool)
    for member in members:
        keep[[place for place in member.suspects if 0 <= place < count]] = False
    series = tuple(np.asarray(member.samples_us, dtype=np.float64)[:count][keep] for member in members)
    return Rounds(series, int(count - keep.sum()))


def together(first: Samples, second: Samples) -> bool:
    """Whether two series of one run were taken in the same rounds: those have as many samples and stop together."""
    return len(first.samples_us) == len(second.samples_us) and first.stop == second.stop


def ways(a: Samples, b: Samples) -> tuple[str, str]:
    """How two series were timed, in a word; by the methods where one is from a file older than the field `timer`."""
    if a.timer and b.timer:
        return a.timer, b.timer
    return a.method.partition(",")[0], b.method.partition(",")[0]
