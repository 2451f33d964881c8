"""`mohge run`: the main job. Finds what the machine can do, checks, times, places, and writes the report."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..records import check_writable
from ..runner.abilities import abilities, machine
from ..runner.grids import (
    TraceChoice,
    check_device,
    check_implementations,
    check_used,
    choose_traces,
    default_jobs,
    fitting_jobs,
    scaled_jobs,
)
from ..runner.resources import REPORTERS
from ..runner.telemetry_pass import plan_telemetry
from ..timing import check_way
from .measuring import (
    ForceOption,
    JsonOption,
    LockOption,
    OutOption,
    ReportOption,
    ResumeOption,
    TimeoutOption,
    measure,
    resume,
)
from .options import TelemetryOption, TimerOption
from .output import check_json, console


def run(
    context: typer.Context,
    trace: Annotated[
        list[Path] | None,
        typer.Option("--trace", help="Recorded routing (see mohge place); repeatable."),
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Domain of the trace.")] = None,
    layer: Annotated[int | None, typer.Option(help="Layer of the trace.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    implementations: Annotated[
        str | None,
        typer.Option(
            help="Separated by commas: names, all for ours, peers for the rivals, ladder for versions of ours; without "
            "it ours."
        ),
    ] = None,
    timer: TimerOption = "auto",
    minutes: Annotated[float, typer.Option(help="About how long measuring may take.", min=0.05)] = 1.0,
    timeout: TimeoutOption = 180.0,
    telemetry: TelemetryOption = "auto",
    out: OutOption = Path("runs"),
    resume_run: ResumeOption = None,
    force: ForceOption = False,
    lock: LockOption = True,
    report: ReportOption = True,
    json: JsonOption = None,
) -> int:
    """Check, time and place every implementation on this machine and write run.json and report.html.

    Example: mohge run --trace olmoe-1b-7b.counts.csv --domain arxiv --layer 7
    """
    if resume_run is not None:
        return resume(resume_run, context, force=force, lock=lock, report=report, json=json)
    device = check_device(device)
    traces = choose_traces(tuple(trace or ()), domain, layer)
    jobs = fitting_jobs(
        default_jobs(
            device,
            traces,
            minutes=minutes,
            timer=check_way(device, timer),
            implementations=check_implementations(implementations),
        )
    )
    checks, compiled = (scaled_jobs(traces), list(REPORTERS)) if device == "cpu" else ([], [])
    if trace:
        check_used(traces, [*jobs, *checks])
    jobs, watched = plan_telemetry(telemetry, jobs)
    check_json(json)
    check_writable(out)
    planned = [replace(job, timeout=timeout) for job in [*jobs, *checks]]
    begin = partial(_say_what_happens, device, traces, watched)
    return measure("run", out, planned, compiled, lock=lock, report=report, json=json, begin=begin)


def _say_what_happens(device: str, traces: TraceChoice, watched: str, folder: Path) -> None:
    facts: dict[str, Any] = machine()
    where = facts["gpu"] if device != "cpu" else f"{facts['cores']} CPU cores"
    console.print(f"Measuring on {where}; results go to {folder}", highlight=False, soft_wrap=True)
    for part in abilities():
        if part.mode in ("interpreted", "simulated", "compiled", "no"):
            console.print(f"  {part.part}: {part.mode}, {part.detail}", highlight=False, style="dim", soft_wrap=True)
    if watched:
        console.print(f"  {watched}", style="dim", highlight=False, soft_wrap=True, markup=False)
    for line in traces.left_out:
        console.print(f"  trace left out: {line}", style="dim", soft_wrap=True, markup=False)
    if not traces.paths:
        console.print("  no routing trace found: Zipf routing stands in (give one with --trace)", style="dim")
