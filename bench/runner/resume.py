"""What is left of a run that was interrupted, and whether this machine may go on with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..records import Environment, Plan, Provenance, Record, Run, Status
from .jobs import Job
from .supervisor import LOST

# Outcomes that stand by themselves: written as soon as an implementation has taken its worker down, whatever became of
# the others of its case. All other records of a case belong together, because their samples were interleaved.
_ALONE = (Status.CRASHED, Status.TIMEOUT, Status.NOT_RUN)
Key = tuple[Provenance, str, str]  # provenance, implementation, case id


@dataclass(frozen=True)
class Left:
    """What is to be done, and what of the run to keep.

    jobs:     those with cases left; implementations that are done with a case are left out of it
    compiled: implementations whose kernels are still to be compiled
    run:      the run without the records and placements that will be made again
    """

    jobs: tuple[Job, ...]
    compiled: tuple[str, ...]
    run: Run

    @property
    def nothing(self) -> bool:
        """Whether everything has been done."""
        return not self.jobs and not self.compiled

    @property
    def cases(self) -> int:
        """How many cases are left."""
        return sum(len(job.cases) for job in self.jobs)


def plan_of(device: str, jobs: Sequence[Job], compiled: Sequence[str] = ()) -> Plan:
    """The plan to be kept in the run: it holds from any folder."""
    jobs = [_from_anywhere(job) for job in jobs]
    traces = sorted({source.trace for job in jobs for _, source in job.cases if source.trace})
    return Plan(device, [job.to_dict() for job in jobs], list(compiled), {path: _digest(path) for path in traces})


def what_is_left(run: Run) -> Left:
    """What has to be done to finish `run`. Raises ValueError when it does not say what was to be done, or is finished
    and no longer says it.
    """
    if run.plan is None and run.finished:
        raise ValueError(f"expected a run with something left to do, got one that was finished {run.finished}")
    if run.plan is None:
        raise ValueError("expected a run that says what was to be done, got one that cannot be resumed")
    jobs = [Job.from_dict(table) for table in run.plan.jobs]
    records = {_key(record): record for record in run.records if LOST not in record.notes}
    again: set[Key] = set()
    left: list[Job] = []
    for job in jobs:
        for index, todo in _unfinished(job, records):
            again |= {(Provenance(job.mode), name, job.case(index).case_id) for name in todo}
            part = replace(job, cases=(job.cases[index],), implementations=todo)
            together = left and replace(left[-1], cases=()) == replace(part, cases=())
            left[-1:] = [replace(part, cases=left[-1].cases + part.cases)] if together else [*left[-1:], part]
    unplaced = {case for provenance, _, case in again if provenance is Provenance.MEASURED}
    kept = replace(
        run,
        records=[record for key, record in records.items() if key not in again],
        placements=[placement for placement in run.placements if placement.case.id not in unplaced],
    )
    compiled = {record.implementation for record in run.records if record.provenance is Provenance.COMPILED}
    return Left(tuple(left), tuple(name for name in run.plan.compiled if name not in compiled), kept)


def differences(run: Run, environment: Environment, source_hash: str) -> list[str]:
    """In what this machine and these sources differ from those of the run's start, as far as it decides a time."""
    then, found = run.environment, []
    if then.gpu or environment.gpu:
        facts = [("GPU " + name, then.gpu, environment.gpu, name) for name in ("name", "uuid", "driver")]
    else:
        facts = [("CPU " + name, then.cpu, environment.cpu, name) for name in ("model", "cores", "threads")]
    for title, before, after, name in facts:
        old, new = (before or {}).get(name), (after or {}).get(name)
        if old != new:
            found.append(f"{title} {new} (was {old})")
    if then.python != environment.python:
        found.append(f"Python {environment.python} (was {then.python})")
    for name in sorted({*then.libraries, *environment.libraries}):
        old, new = then.libraries.get(name, "none"), environment.libraries.get(name, "none")
        if old != new:
            found.append(f"{name} {new} (was {old})")
    if run.source_hash != source_hash:
        found.append("other kernel sources")
    traces = run.plan.traces if run.plan else {}
    return found + [f"another {path}" for path, digest in traces.items() if _digest(path) != digest]


def _unfinished(job: Job, records: dict[Key, Record]) -> Iterable[tuple[int, tuple[str, ...]]]:
    """Number of each case with something missing, and which implementations have to do it."""
    for index in range(len(job.cases)):
        case = job.case(index).case_id
        found = {name: records.get((Provenance(job.mode), name, case)) for name in job.implementations}
        if all(found.values()):
            continue
        yield index, tuple(name for name, record in found.items() if record is None or record.status not in _ALONE)


def _key(record: Record) -> Key:
    # What was only compiled has no case of its own.
    return record.provenance, record.implementation, record.case.id or record.case.spec


def _digest(path: str) -> str:
    """SHA-256 of a file, empty when it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def _from_anywhere(job: Job) -> Job:
    """The job with the paths of its traces made absolute."""
    return replace(
        job,
        cases=tuple(
            (tokens, replace(source, trace=str(Path(source.trace).resolve())) if source.trace else source)
            for tokens, source in job.cases
        ),
    )
