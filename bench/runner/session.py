"""Drives jobs to records: everything finished is in the run file before the next thing starts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
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
OnEvent = Callable[[dict[str, Any]], None]


class Session:
    """One run being made: the run file, the environment, and who wants to hear of progress."""

    def __init__(self, out: Path, name: str, device: str, on_event: OnEvent) -> None:
        """Start the run file in a new folder below `out`. Raises ValueError when it cannot be written."""
        self._environment = collect_environment(device)
        self._on_event = on_event
        self.writer = RunWriter.create(
            out,
            name,
            command=["mohge", *sys.argv[1:]],
            environment=self._environment,
            git=git_state(),
            source_hash=source_hash(),
        )

    def measure(self, jobs: Sequence[Job], *, silence: float = 180.0) -> None:
        """Run every job; each record and each case's placements enter the run file as soon as they are finished."""
        for job in jobs:

            def note(event: dict[str, Any], job: Job = job) -> None:
                if event["event"] == "roof":
                    self._add_roof(decode(Roof, event["roof"], "roof"))
                elif event["event"] == "counts" and job.mode == Provenance.MEASURED:
                    self._place(job, event)
                self._on_event(event)

            for record in run_job(job, note, silence=silence):
                self._add(self._with_share(record))

    def compile_only(self, names: Sequence[str]) -> None:
        """Records of provenance `compiled` for implementations whose kernels cannot run here at full size."""
        for name in names:
            self._on_event({"event": "begin", "what": f"compiling {name} ahead of time"})
            resources, reason = compile_ahead(name)
            architecture = next((entry["architecture"] for entry in resources if entry.get("architecture")), "")
            case = CaseRecord(spec="every configuration", tokens=None, routing=None, dtype=DTYPE, device=architecture)
            self._add(
                Record(
                    implementation=name,
                    provenance=Provenance.COMPILED,
                    status=Status.NOT_RUN if resources else Status.UNSUPPORTED,
                    case=case,
                    reason=reason or summary(resources),
                    resources=resources,
                )
            )

    def _add(self, record: Record) -> None:
        self.writer.append(record)
        self._on_event({"event": "finished", "record": record})

    def _add_roof(self, roof: Roof) -> None:
        """Keep the best rate seen for every dtype: each job measures the roofs once more."""
        known = self._environment.roof or Roof()
        rates = dict(known.matmul_tflops)
        for dtype, rate in roof.matmul_tflops.items():
            rates[dtype] = max(rate, rates.get(dtype, 0.0))
        copy = max(roof.copy_tbps or 0.0, known.copy_tbps or 0.0)
        self._environment = replace(self._environment, roof=Roof(rates, copy, roof.method))
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
