"""`mohge run`: the main job. Finds what the machine can do, checks, times, places, and writes the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..records import Status, check_writable, load_run
from ..records.codec import plain
from ..runner.abilities import abilities, machine
from ..runner.grids import (
    TraceChoice,
    check_device,
    check_used,
    choose_traces,
    default_jobs,
    fitting_jobs,
    scaled_jobs,
)
from ..runner.resources import REPORTERS
from ..runner.session import Session
from ..timing import check_way
from .options import TimerOption
from .output import JsonOption, check_json, console, write_json
from .progress import RunProgress, show_run

# Outcomes that make the exit code 1: something ran, and the answer is no.
FAILURES = (Status.INCORRECT, Status.CRASHED, Status.TIMEOUT)
OutOption = Annotated[Path, typer.Option("--out", help="Folder under which the run's own folder is made.")]


def run(
    trace: Annotated[
        list[Path] | None,
        typer.Option("--trace", help="Routing trace (.npz of expert ids or .csv of counts); repeatable."),
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Domain of the trace.")] = None,
    layer: Annotated[int | None, typer.Option(help="Layer of the trace.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    timer: TimerOption = "auto",
    minutes: Annotated[float, typer.Option(help="About how long measuring may take.", min=0.05)] = 1.0,
    out: OutOption = Path("runs"),
    report: Annotated[bool, typer.Option(help="Write report.html beside run.json.")] = True,
    json: JsonOption = None,
) -> int:
    """Check, time and place every implementation on this machine and write run.json and report.html.

    Example: mohge run --trace olmoe-1b-7b.counts.csv --domain arxiv --layer 7
    """
    device = check_device(device)
    traces = choose_traces(tuple(trace or ()), domain, layer)
    jobs = fitting_jobs(default_jobs(device, traces, minutes=minutes, timer=check_way(device, timer)))
    checks, compiled = (scaled_jobs(traces), list(REPORTERS)) if device == "cpu" else ([], [])
    if trace:
        check_used(traces, [*jobs, *checks])
    check_json(json)
    check_writable(out)
    with RunProgress([*jobs, *checks], extra=len(compiled)) as progress:
        session = Session(out, "run", device, progress.event)
        _say_what_happens(device, traces, session.writer.folder)
        with session.writer:
            session.measure(jobs)
            session.check(checks, compiled)
    return finish(session.writer.path, report=report, json=json)


def finish(path: Path, *, report: bool, json: str | None) -> int:
    """Show the table, write the report, say where everything is. The exit code: 1 when something failed, else 0."""
    result = load_run(path)
    if json != "-":
        show_run(result)
    console.print(f"\nrun:    {path}", highlight=False, soft_wrap=True)
    if report:
        from ..report import write_report

        page = path.parent / "report.html"
        write_report(result, page)
        console.print(f"report: {page}", highlight=False, soft_wrap=True)
    write_json(json, plain(result))
    failed = [record for record in result.records if record.status in FAILURES]
    for record in failed:
        text = f"failed: {record.implementation} on {record.case.spec}: {record.status}, {record.reason}"
        console.print(text, highlight=False, soft_wrap=True, markup=False, style="red")
    return 1 if failed else 0


def _say_what_happens(device: str, traces: TraceChoice, folder: Path) -> None:
    facts: dict[str, Any] = machine()
    where = facts["gpu"] if device != "cpu" else f"{facts['cores']} CPU cores"
    console.print(f"Measuring on {where}; results go to {folder}", highlight=False, soft_wrap=True)
    for part in abilities():
        if part.mode in ("interpreted", "simulated", "compiled", "no"):
            console.print(f"  {part.part}: {part.mode}, {part.detail}", highlight=False, style="dim", soft_wrap=True)
    for line in traces.left_out:
        console.print(f"  trace left out: {line}", style="dim", soft_wrap=True, markup=False)
    if not traces.paths:
        console.print("  no routing trace found: Zipf routing stands in (give one with --trace)", style="dim")
