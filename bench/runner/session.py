"""Drives jobs to records: everything finished is in the run file before the next thing starts."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...placement import POLICIES
from ..records import (
    CaseRecord,
    Provenance,
    Record,
    Roof,
    RunWriter,
    Status,
    collect_environment,
    git_state,
    source_hash,
)
from ..records.codec import decode
from .jobs import Job
from .placing import placement_records
from .resources import DTYPE, compile_ahead, summary
from .supervisor import run_job

PLACEMENT_RANKS = (4, 8)
UNTIMED_AT_ONCE = 2  # what is not timed may share the cores
OnEvent = Callable[[dict[str, Any]], None]


class Session:
    """One run being made: the run file, the environment, and who wants to hear of progress."""

    def __init__(self, out: Path, name: str, device: str, on_event: OnEvent) -> None:
        """Start the run file in a new folder below `out`. Raises ValueError when it cannot be written."""
        self._environment = collect_environment(device)
        self._on_event = on_event
        self._lock = threading.Lock()
        self.writer = RunWriter.create(
            out,
            name,
            command=["mohge", *sys.argv[1:]],
            environment=self._environment,
            git=git_state(),
            source_hash=source_hash(),
        )

    def measure(self, jobs: Sequence[Job], *, silence: float = 180.0) -> None:
        """Run every job; each record and each case's placements enter the run file as soon as they are finished.

        The roofs are measured once for every dtype that is timed, by the first job that times it.
        """
        known: set[str] = set()
        for job in jobs:
            if job.mode == Provenance.MEASURED and job.dtype not in known:
                known.add(job.dtype)
                job = replace(job, roofs=True)

            def note(event: dict[str, Any], job: Job = job) -> None:
                if event["event"] == "roof":
                    self._add_roof(decode(Roof, event["roof"], "roof"))
                elif event["event"] == "counts" and job.mode == Provenance.MEASURED:
                    self._place(job, event)
                self._on_event(event)

            for record in run_job(job, note, silence=silence):
                self._add(self._with_share(record))

    def check(self, jobs: Sequence[Job], compiled: Sequence[str]) -> None:
        """What has no times, several at once: interpreted and simulated jobs, and kernels that are only compiled.

        Records enter the run file as they come.
        """
        tasks = [partial(self._untimed, job) for job in jobs] + [partial(self._compiled, name) for name in compiled]
        pool = ThreadPoolExecutor(max_workers=UNTIMED_AT_ONCE)
        try:
            for done in as_completed([pool.submit(task) for task in tasks]):
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _untimed(self, job: Job) -> None:
        for record in run_job(job, self._on_event):
            self._add(record)

    def _compiled(self, name: str) -> None:
        """The record of provenance `compiled` of an implementation whose kernels cannot run here at full size."""
        self._on_event({"event": "begin", "what": f"compiling {name} ahead of time"})
        resources, reason = compile_ahead(name)
        architecture = next((entry["architecture"] for entry in resources if entry.get("architecture")), "")
        case = CaseRecord(spec="every configuration", tokens=None, routing=None, dtype=DTYPE, device=architecture)
        broken = [entry for entry in resources if entry.get("error")]
        self._add(
            Record(
                implementation=name,
                provenance=Provenance.COMPILED,
                status=Status.UNSUPPORTED if not resources else Status.CRASHED if broken else Status.NOT_RUN,
                case=case,
                reason=reason or summary(resources),
                resources=resources,
            )
        )

    def _add(self, record: Record) -> None:
        with self._lock:
            self.writer.append(record)
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
        return replace(record, share_of_roof=record.tflops / rate) if rate and record.tflops else record

    def _place(self, job: Job, event: dict[str, Any]) -> None:
        """Place the experts of a measured case on the very routing that is measured."""
        counts = np.asarray(event["counts"], dtype=np.int64)
        case = decode(CaseRecord, event["case"], "case")
        for ranks in PLACEMENT_RANKS if counts.sum() else ():
            if ranks <= job.spec.experts:
                for record in placement_records(case, job.spec, counts, ranks, list(POLICIES)):
                    self.writer.add_placement(record)
