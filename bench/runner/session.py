"""Drives jobs to records: everything finished is in the run file before the next thing starts."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..records import (
    CaseRecord,
    Environment,
    PlacementRecord,
    Plan,
    Provenance,
    Record,
    Roof,
    RunWriter,
    Status,
    collect_environment,
    git_state,
    load_run,
    source_hash,
)
from ..records.codec import decode
from .jobs import Job
from .placing import placement_records
from .process import Children, StoppedError
from .resources import DTYPE, compile_ahead, summary
from .resume import Left, differences, what_is_left
from .supervisor import DeviceLostError, not_run, run_job
from .telemetry_pass import with_trace

PLACEMENT_RANKS = (4, 8)
UNTIMED_AT_ONCE = 2  # what is not timed may share the cores
OnEvent = Callable[[dict[str, Any]], None]


class Session:
    """One run being made: the run file, the environment, the processes, and who wants to hear of progress.

    As a context manager it marks the run finished when the block ends without an exception, and leaves no process
    behind however it ends.
    """

    def __init__(self, writer: RunWriter, environment: Environment, on_event: OnEvent, *, placing: bool = True) -> None:
        """Add to the run that `writer` has begun; `start` and `resume` are the usual ways in.

        placing: place the experts of every measured case under every policy
        """
        self.writer, self._placing = writer, placing
        self._environment, self._on_event = environment, on_event
        self._lock = threading.Lock()
        self._children = Children()
        self._counts: dict[str, tuple[Job, dict[str, Any]]] = {}  # of measured cases not placed yet
        self._placed: set[str] = set()

    @classmethod
    def start(
        cls, out: Path, name: str, plan: Plan, on_event: OnEvent, notes: Mapping[str, Any] | None = None
    ) -> Session:
        """Start the run file in a new folder below `out`. Raises ValueError when it cannot be written."""
        environment = collect_environment(plan.device)
        writer = RunWriter.create(
            out,
            name,
            command=["mohge", *sys.argv[1:]],
            environment=environment,
            git=git_state(),
            source_hash=source_hash(),
            notes=notes,
            plan=plan,
        )
        return cls(writer, environment, on_event)

    @classmethod
    def resume(
        cls, path: Path, on_event: OnEvent, *, force: bool = False, notes: Mapping[str, Any] | None = None
    ) -> tuple[Session, Left]:
        """Go on with a run, and what is left of it.

        Raises ValueError when it cannot be resumed (a finished one has nothing left), or when this machine is another
        than the run's, unless `force`.
        """
        run = load_run(path)
        left = what_is_left(run)
        assert run.plan is not None  # or what_is_left had raised
        environment = collect_environment(run.plan.device)
        different = differences(run, environment, source_hash())
        if different and not force and not left.nothing:
            raise ValueError(f"{path}: expected what it was started with, got {'; '.join(different)} (see --force)")
        again = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": ["mohge", *sys.argv[1:]],
            "cases": left.cases,
            "differences": different,
            **(notes or {}),
        }
        kept = replace(left.run, notes={**run.notes, "resumed": [*run.notes.get("resumed", []), again]})
        writer = RunWriter.resume(path, lambda _: kept)
        return cls(writer, replace(environment, roof=run.environment.roof), on_event), left

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._children.stop()
        if kind is None:
            self.writer.finish()

    def measure(self, jobs: Sequence[Job]) -> None:
        """Run every job; each case's records and placements enter the run file as soon as it is finished.

        The roofs are measured once for every dtype that is timed, by the first job that times it. Raises
        DeviceLostError when the device is gone; then every record that is missing says so.
        """
        roof = self._environment.roof
        known = set(roof.matmul_tflops) if roof else set()
        for number, job in enumerate(jobs):
            if job.mode == Provenance.MEASURED and job.dtype not in known:
                known.add(job.dtype)
                job = replace(job, roofs=True)
            job = with_trace(job, self.writer.folder)
            try:
                for records in run_job(job, partial(self._note, job), children=self._children):
                    self._add(records)
            except DeviceLostError as error:
                for later in jobs[number + 1 :]:
                    for records in not_run(later, str(error)):
                        self._add(records)
                raise

    def check(self, jobs: Sequence[Job], compiled: Sequence[str]) -> None:
        """What has no times, several at once: interpreted and simulated jobs, and kernels that are only compiled.

        Records enter the run file as they come.
        """
        tasks = [partial(self._untimed, job) for job in jobs] + [partial(self._compiled, name) for name in compiled]
        pool = ThreadPoolExecutor(max_workers=UNTIMED_AT_ONCE)
        try:
            for done in as_completed([pool.submit(task) for task in tasks]):
                done.result()
        except BaseException:
            self._children.stop()  # the threads wait for them
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _note(self, job: Job, event: dict[str, Any]) -> None:
        if event["event"] == "roof":
            self._add_roof(decode(Roof, event["roof"], "roof"))
        elif event["event"] == "counts" and job.mode == Provenance.MEASURED and self._placing:
            case = event["case"]["id"]
            if case not in self._placed:  # a fresh worker says the counts of its first case again
                self._counts[case] = (job, event)
        self._on_event(event)

    def _untimed(self, job: Job) -> None:
        for records in run_job(job, self._on_event, children=self._children):
            self._add(records)

    def _compiled(self, name: str) -> None:
        """The record of provenance `compiled` of an implementation whose kernels cannot run here at full size."""
        self._on_event({"event": "begin", "what": f"compiling {name} ahead of time"})
        try:
            resources, reason = compile_ahead(name, self._children)
        except StoppedError:
            return
        architecture = next((entry["architecture"] for entry in resources if entry.get("architecture")), "")
        case = CaseRecord(spec="every configuration", tokens=None, routing=None, dtype=DTYPE, device=architecture)
        broken = [entry for entry in resources if entry.get("error")]
        record = Record(
            implementation=name,
            provenance=Provenance.COMPILED,
            status=Status.UNSUPPORTED if not resources else Status.CRASHED if broken else Status.NOT_RUN,
            case=case,
            reason=reason or summary(resources),
            resources=resources,
        )
        self._add([record])

    def _add(self, records: Sequence[Record]) -> None:
        """Write records that came together, with the placements of their cases that are not there yet."""
        records = [self._with_share(record) for record in records]
        cases = {record.case.id for record in records if record.provenance is Provenance.MEASURED}
        with self._lock:
            counted = sorted(cases & self._counts.keys())
            placements = [placement for case in counted for placement in _placements(*self._counts.pop(case))]
            self._placed |= set(counted)
            self.writer.add_case(records, placements)
        for record in records:
            self._on_event({"event": "finished", "record": record})

    def _add_roof(self, roof: Roof) -> None:
        known = self._environment.roof
        if known is not None:
            roof = replace(roof, matmul_tflops={**known.matmul_tflops, **roof.matmul_tflops})
        self._environment = replace(self._environment, roof=roof)
        self.writer.set_environment(self._environment)

    def _with_share(self, record: Record) -> Record:
        roof = self._environment.roof
        rate = roof.matmul_tflops.get(record.case.dtype or "") if roof else None
        measured = record.provenance is Provenance.MEASURED
        return replace(record, share_of_roof=record.tflops / rate) if measured and rate and record.tflops else record


def _placements(job: Job, event: dict[str, Any]) -> list[PlacementRecord]:
    """Placements of the experts of a measured case on the very routing that is measured."""
    counts = np.asarray(event["counts"], dtype=np.int64)
    case = decode(CaseRecord, event["case"], "case")
    return [
        record
        for ranks in (PLACEMENT_RANKS if counts.sum() else ())
        if ranks <= job.spec.experts
        for record in placement_records(case, job.spec, counts, ranks)
    ]
