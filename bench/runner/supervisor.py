"""Runs jobs in worker processes, so that a kernel that crashes or hangs becomes a record and not the end of the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..peers import peer_notes
from ..records import Provenance, Record, Status
from ..records.codec import decode
from .jobs import Job
from .process import Children, Ending, Event, How, WorkerProcess, output_of
from .stand_ins import MODES

WORKER = (sys.executable, "-m", "mohge.bench.runner.worker")
# What a worker needs in its environment before anything is imported, and what must not be there otherwise.
MODE_ENVIRONMENT = {"measured": {}, **{mode: {variable: "1"} for variable, mode in MODES.items()}}
# The note of a record whose case was not run, or not to the end, because the device was gone: to be done on resuming.
LOST = "device_lost"
_STATUS = {How.CRASHED: Status.CRASHED, How.TIMEOUT: Status.TIMEOUT}
_PROBE = "import sys, torch; print(torch.ones(1, device=sys.argv[1]).sum().item())"
_PROBE_S = 60.0


class DeviceLostError(Exception):
    """The GPU does not answer any more, not even to a new process: nothing further can be measured on it."""


def run_job(
    job: Job,
    on_event: Callable[[Event], None],
    *,
    command: Sequence[str] = WORKER,
    children: Children | None = None,
    lost: Callable[[str], str | None] | None = None,
) -> Iterator[list[Record]]:
    """Yield the job's records, those of a case together as soon as it is finished.

    An implementation that takes its worker down, or keeps it silent for `job.timeout` seconds, gets a record saying so
    (crashed or timeout) for that case and `not_run` for the later ones; the others go on in a fresh worker. `command`
    starts a worker, see `WorkerProcess`. `lost` says why a device is gone, or None (default: `device_lost`); then what
    is left is `not_run`, and DeviceLostError is raised. Ends early when `children` are stopped.
    """
    children = children or Children()
    lost = lost or (lambda device: device_lost(device, children))
    while job.cases and job.implementations:
        finished, records = 0, []
        request, environment = job.to_dict(), worker_environment(job.mode)
        with WorkerProcess(command, request, environment=environment, silence=job.timeout, children=children) as worker:
            for event in worker.events():
                on_event(event)
                if event["event"] == "roof":
                    job = replace(job, roofs=False)
                elif event["event"] == "record":
                    records.append(decode(Record, event["record"], "record"))
                elif event["event"] == "case":
                    yield records
                    finished, records = finished + 1, []
            ending = worker.ending()
        if ending.how in (How.DONE, How.STOPPED):
            return
        gone = lost(job.device)
        if gone is not None:
            reason = f"the device is gone: {gone}"
            yield from _left_out(job, finished, reason, {LOST: ending.reason})
            raise DeviceLostError(reason)
        culprit = job.implementations[ending.marker] if ending.marker < len(job.implementations) else None
        if culprit is None:
            # Nothing was running yet (imports, weights): no implementation is to blame, and trying again is no use.
            yield [_record(job, name, finished, *_failure(ending)) for name in job.implementations]
            yield from _left_out(job, finished + 1, f"not reached: {ending.reason}")
            return
        yield _given_up(job, culprit, finished, ending)
        job = job.without(culprit, finished)


def not_run(job: Job, reason: str) -> Iterator[list[Record]]:
    """Records of a job that cannot be started because the device is gone, case by case."""
    return _left_out(job, 0, reason, {LOST: reason})


def device_lost(device: str, children: Children) -> str | None:
    """Why a new process cannot use the device, or None when it can. Only a GPU can be gone."""
    if not device.startswith("cuda"):
        return None
    done = output_of([sys.executable, "-c", _PROBE, device], children, seconds=_PROBE_S)
    if done is None:
        return f"no answer for {_PROBE_S:g} s"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return None if done.returncode == 0 else (lines or [f"exit code {done.returncode}"])[-1]


def worker_environment(mode: str) -> dict[str, str]:
    """The environment of a worker of this mode: a stand-in the user has switched on must not pass for a measurement."""
    inherited = {key: value for key, value in os.environ.items() if key not in MODES}
    return {**inherited, **MODE_ENVIRONMENT[mode], "PYTHONUNBUFFERED": "1"}


def _given_up(job: Job, culprit: str, case: int, ending: Ending) -> list[Record]:
    """The culprit's records: what happened at this case, and that the later ones are not tried."""
    status, reason = _failure(ending)
    later = f"not tried again: {status} at {_title(job, case)}"
    rest = [_record(job, culprit, index, Status.NOT_RUN, later) for index in range(case + 1, len(job.cases))]
    return [_record(job, culprit, case, status, reason), *rest]


def _left_out(job: Job, first: int, reason: str, notes: dict[str, str] | None = None) -> Iterator[list[Record]]:
    for case in range(first, len(job.cases)):
        records = [_record(job, name, case, Status.NOT_RUN, reason) for name in job.implementations]
        yield [replace(record, notes={**record.notes, **(notes or {})}) for record in records]


def _failure(ending: Ending) -> tuple[Status, str]:
    return _STATUS[ending.how], ending.reason


def _title(job: Job, index: int) -> str:
    tokens, source = job.cases[index]
    return f"{tokens} tokens, {source.text}"


def _record(job: Job, implementation: str, case: int, status: Status, reason: str) -> Record:
    return Record(
        implementation=implementation,
        provenance=Provenance(job.mode),
        status=status,
        case=job.case_record(case),
        reason=reason,
        notes=peer_notes(implementation),
    )
