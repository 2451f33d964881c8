"""Turns a run's events into a progress bar and, at the end, a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

from ..records import Environment, Provenance, Record, Run, Speedup, Telemetry
from ..report.formats import time_text
from ..report.own_ceiling import own_share
from ..report.verdict import verdict
from ..runner.jobs import Job
from .output import console, progress_bar, table


class RunProgress:
    """A bar over all (case, implementation) pairs; use as a context manager and hand `event` to the runner."""

    def __init__(self, jobs: Sequence[Job], extra: int = 0) -> None:
        total = extra + sum(len(job.cases) * len(job.implementations) for job in jobs)
        self._bar = progress_bar()
        self._task = self._bar.add_task("", total=total, what="starting")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def event(self, event: dict[str, Any]) -> None:
        """Show what the runner says it is doing."""
        if event["event"] == "begin":
            self._bar.update(self._task, what=event["what"].replace("[", "\\["))
        elif event["event"] == "finished":
            self._bar.advance(self._task)


def show_run(run: Run) -> None:
    """The table of a run: measured records case by case, then what was only interpreted, simulated or compiled."""
    measured = [record for record in run.records if record.provenance is Provenance.MEASURED]
    others = [record for record in run.records if record.provenance is not Provenance.MEASURED]
    numbers = ("time", "TFLOP/s", "of roof", "vs padded_bmm", "error")
    for case in dict.fromkeys(_case_title(record) for record in measured):
        rows = [_row(record, run.environment) for record in measured if _case_title(record) == case]
        table(f"\n{case}", ["implementation", "status", *numbers], rows, right=numbers)
    _show_telemetry(measured)
    if others:
        rows = [
            [r.implementation, r.provenance, r.status, _error(r), r.case.spec, r.case.dtype, r.reason] for r in others
        ]
        columns = ["implementation", "provenance", "status", "error", "spec", "dtype", ""]
        table("\nwithout times", columns, rows, right=("error",))
    for placement in _stragglers(run):
        console.print(placement, highlight=False, soft_wrap=True)
    roof = run.environment.roof
    if roof:
        rates = ", ".join(f"{dtype} {rate:.3g} TFLOP/s" for dtype, rate in roof.matmul_tflops.items())
        copied = f", copy {roof.copy_tbps * 1000:.3g} GB/s" if roof.copy_tbps else ""
        console.print(f"\nmeasured roofs: {rates}{copied}", highlight=False, soft_wrap=True)
    for line in suspect_lines(run):
        console.print(line, highlight=False, soft_wrap=True)
    if measured:
        console.print(f"\n{verdict(run).sentence}", highlight=False, soft_wrap=True, markup=False)


def suspect_lines(run: Run) -> list[str]:
    """How many samples were taken while the device was held back, and by what, and how many have launches in them;
    nothing where none was.
    """
    lines = []
    watched = [record.clocks for record in run.records if record.clocks]
    suspects = sum(clocks.suspects for clocks in watched)
    if suspects:
        reasons = sorted({name for clocks in watched for name in clocks.throttle})
        seen = f"; throttle reasons seen: {', '.join(reasons)}" if reasons else ""
        lines = [f"\n{suspects} suspect samples, left out of medians while enough others remain{seen}", watched[0].rule]
    taken = [times for r in run.records for times in (r.hot, r.cold, *r.phases.values()) if times is not None]
    unhidden = sum(len(times.unhidden) for times in taken)
    if unhidden:
        lines.append(f"\n{unhidden} samples with launches in them, as the host was too slow: left out likewise")
    return lines


def _show_telemetry(records: Sequence[Record]) -> None:
    """Pass B of those that have one, and why the others have none."""
    columns = ("SMs", "tensor", "DRAM", "power", "SM clock", "J/token", "TFLOP/J")
    watched = [record for record in records if record.telemetry]
    for case in dict.fromkeys(_case_title(record) for record in watched):
        mine = [record for record in watched if _case_title(record) == case]
        source = next(record.telemetry.source for record in mine if record.telemetry)
        heading = f"\n{case}, sustained replay, {source} readings"
        console.print(heading, highlight=False, soft_wrap=True, markup=False)
        table(
            "",
            ["implementation", *columns],
            [[record.implementation, *_telemetry_cells(record.telemetry)] for record in mine if record.telemetry],
            right=columns,
        )
    for reason in dict.fromkeys(str(record.notes["telemetry"]) for record in records if "telemetry" in record.notes):
        names = dict.fromkeys(record.implementation for record in records if record.notes.get("telemetry") == reason)
        console.print(f"{', '.join(names)}: {reason}", highlight=False, soft_wrap=True, markup=False)


def _telemetry_cells(telemetry: Telemetry) -> list[str]:
    values = (telemetry.sm, telemetry.tensor, telemetry.dram, telemetry.power_w, telemetry.sm_mhz)
    values += (telemetry.joule_per_token, telemetry.tflop_per_joule)
    formats = ("{:.0%}", "{:.0%}", "{:.0%}", "{:.0f} W", "{:.0f} MHz", "{:.3g}", "{:.3g}")
    return ["" if value is None else form.format(value) for form, value in zip(formats, values, strict=True)]


def _stragglers(run: Run) -> list[str]:
    """For the last case measured of each spec: the straggler of each policy on the most ranks."""
    last = {placement.case.spec: placement.case.id for placement in run.placements}
    ranks = max((placement.ranks for placement in run.placements), default=0)
    lines = []
    for spec, case_id in last.items():
        rows = [p for p in run.placements if p.case.id == case_id and p.ranks == ranks]
        stragglers = ", ".join(f"{p.policy} rank {p.straggler} at {p.work_max_over_mean:.2f} x the mean" for p in rows)
        case = rows[0].case if rows else None
        if case:
            lines.append(f"\n{spec}, {case.routing}, {case.tokens} tokens on {ranks} ranks, straggler: {stragglers}")
    return lines


def _case_title(record: Record) -> str:
    case = record.case
    return f"{case.spec} · {case.tokens} tokens · {case.routing} · {case.dtype} on {case.device}"


def _row(record: Record, environment: Environment) -> list[str]:
    if not record.hot:
        status = f"{record.status}: {record.reason}" if record.reason else str(record.status)
        return [record.implementation, status, "", "", "", "", _error(record)]
    speedup = record.speedup
    return [
        record.implementation,
        record.status,
        time_text(record.hot.median_us),
        f"{record.tflops:.3g}",
        _share(record, environment),
        _speedup(speedup) if speedup else "",
        _error(record),
    ]


def _share(record: Record, environment: Environment) -> str:
    """Of the matrix rate; for what uses no tensor cores also of what the CUDA cores can."""
    said = [f"{record.share_of_roof:.0%}"] if record.share_of_roof else []
    own = own_share(record, environment)
    if own is not None:
        said.append(f"{own.share:.0%} of CUDA cores" if own.share is not None else own.short)
    return ", ".join(said)


def _speedup(speedup: Speedup) -> str:
    interval = f"{speedup.low:.2f} to {speedup.high:.2f}" if math.isfinite(speedup.low + speedup.high) else ""
    return f"{speedup.ratio:.2f} ({', '.join(part for part in (interval, speedup.doubt) if part)})"


def _error(record: Record) -> str:
    return f"{record.error.relative:.1e}" if record.error and record.error.relative is not None else ""
