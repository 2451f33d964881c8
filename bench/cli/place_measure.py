"""`mohge place --measure`: every rank of every placement run on one device, beside what the simulation says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ...placement import Placement
from ...reference import LayerSpec
from ..records import (
    PlacementRecord,
    RankTimes,
    RunWriter,
    check_writable,
    collect_environment,
    git_state,
    load_run,
    source_hash,
)
from ..records.codec import plain
from ..report.formats import seconds_text
from ..runner.grids import check_device, check_dtype, check_implementations, check_memory
from ..runner.jobs import Job, Source, TimingLimits
from ..runner.lock import device_lock
from ..runner.placing_measured import MEASURE, PREDICT, Measurement, jobs_of, measured_records, plan_measurement
from ..runner.session import Session
from ..runner.supervisor import DeviceLostError
from ..timing import check_way
from ..workloads import Case, parse_routing
from .output import console, table, write_json
from .progress import RunProgress

DeviceOption = Annotated[str, typer.Option(help="With --measure: auto, cpu, cuda or cuda:N.")]
ImplementationsOption = Annotated[
    str | None,
    typer.Option(
        help="With --measure, separated by commas; triton on a GPU and torch_grouped_mm on a CPU where none is named."
    ),
]
CostsOption = Annotated[
    str,
    typer.Option(
        metavar=f"{MEASURE}|{PREDICT}|RUN",
        help="With --measure, what the simulation counts with: times of like experts measured here or found in another "
        "run, or rates of a data sheet.",
    ),
]
SecondsOption = Annotated[
    float, typer.Option(help="With --measure: longest time per rank, once cold and once hot.", min=0.01)
]

__all__ = [
    "MEASURE",
    "Batch",
    "CostsOption",
    "DeviceOption",
    "How",
    "ImplementationsOption",
    "SecondsOption",
    "check_not_measuring",
    "measure_placements",
]


Place = Callable[[Any, str], tuple[list[Placement], dict[str, str]]]


@dataclass(frozen=True)
class Batch:
    """The batch whose experts are placed, as the command line names it; format is that of a recorded routing."""

    spec: LayerSpec
    source: Source
    format: str
    tokens: int
    seed: int
    dtype: str
    device: str


@dataclass(frozen=True)
class How:
    """How it is measured and where the run goes, as the command line says it."""

    implementations: str | None
    costs: str
    limits: TimingLimits
    timeout: float
    out: Path
    lock: bool


def check_not_measuring(context: typer.Context) -> None:
    """Raise ValueError for options of the command line that say how to measure, where nothing is measured."""
    given = [
        f"--{name}"
        for name in (
            "tokens",
            "device",
            "implementations",
            "costs",
            "seconds",
            "timer",
            "seed",
            "timeout",
            "out",
            "lock",
        )
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise ValueError(f"{', '.join(given)}: expected beside --measure only")


def measure_placements(batch: Batch, place: Place, how: How, json: str | None) -> int:
    """Measure, show and keep as a run; place: rows per expert and a dtype to placements, and who refused and why.

    The exit code: 1 where a rank could not be timed. Raises ValueError.
    """
    device = check_device(batch.device)
    names = check_implementations(how.implementations) or (("torch_grouped_mm",) if device == "cpu" else ("triton",))
    asked = _planned(batch, device, names, place, how)
    check_memory(asked.like)
    check_writable(how.out)
    with device_lock(device, wait=how.lock, say=_say) as unlocked:
        path, lost = _measured(asked, how.out, {"lock": unlocked} if unlocked else {})
    records = load_run(path).placements
    for record in records:
        if record.measured is not None and json != "-":
            _show(record, record.measured)
    _say(f"\nrun:    {path}")
    write_json(json, plain(records))
    if lost:
        _say(f"failed: {lost}")
    return 1 if lost or any(record.measured is None or record.measured.reasons for record in records) else 0


def _planned(batch: Batch, device: str, names: tuple[str, ...], place: Place, how: How) -> Measurement:
    dtype, source = check_dtype(batch.dtype, device), batch.source
    workload = parse_routing(
        source.text, trace=source.trace, domain=source.domain, layer=source.layer, format=batch.format
    )
    case = Case(batch.spec, batch.tokens, workload, dtype, device.partition(":")[0], batch.seed)
    limits = replace(how.limits, timer=check_way(device, how.limits.timer))
    like = Job(batch.spec, device, dtype, "measured", (), names, limits, seed=batch.seed, timeout=how.timeout)

    def placed(counts: Any) -> list[Placement]:
        placements, refused = place(counts, dtype)
        for name, reason in refused.items():
            _say(f"{name} is left out: {reason}")
        return placements

    return plan_measurement(case, placed, like, how.costs)


def _measured(asked: Measurement, out: Path, notes: dict[str, Any]) -> tuple[Path, str]:
    """Do all jobs as one run and add the placements to it. The run file, and why the device was lost, if it was."""
    environment = collect_environment(asked.like.device)
    writer = RunWriter.create(
        out,
        "place",
        command=["mohge", *sys.argv[1:]],
        environment=environment,
        git=git_state(),
        source_hash=source_hash(),
        notes=notes,
    )
    jobs, lost = jobs_of(asked, writer.folder), ""
    with RunProgress(jobs) as progress, Session(writer, environment, progress.event, placing=False) as session:
        try:
            session.measure(jobs)
        except DeviceLostError as error:
            lost = str(error)
        for record in measured_records(asked, load_run(writer.path), writer.path):
            writer.add_placement(record)
    return writer.path, lost


def _show(record: PlacementRecord, times: RankTimes) -> None:
    """Every rank measured and simulated, and the slowest of each."""
    numbers = ("rows", "measured", "95 % interval", "simulated", "error")
    cells = [
        [
            str(rank),
            str(rows),
            _time(times.measured_s[rank]),
            f"{_time(times.low_s[rank])} to {_time(times.high_s[rank])}" if times.measured_s[rank] else "",
            _time(times.simulated_s[rank]),
            _share(times.errors[rank]) or times.reasons.get(str(rank), ""),
        ]
        for rank, rows in enumerate(times.rows)
    ]
    makespan = [_time(times.makespan_s), "", _time(times.simulated_makespan_s), _share(times.makespan_error)]
    cells.append(["makespan", "", *makespan])
    title = f"\n{record.case.spec}, {record.case.tokens} tokens, {record.case.routing}, {record.policy}, "
    title += f"{times.implementation}, {record.case.dtype} on {record.case.device}"
    table(title, ["rank", *numbers], cells, right=numbers)
    _say(f"compute alone, no exchange; simulated from {times.costs}")
    if "costs" in record.notes:
        _say(str(record.notes["costs"]))


def _time(seconds: float | None) -> str:
    return "none" if seconds is None else seconds_text(seconds)


def _share(error: float | None) -> str:
    return "" if error is None else f"{error:+.1%}"


def _say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
