"""What `mohge run` and `mohge bench` share: measuring under the device's lock, going on after a kill, the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..records import Plan, Provenance, Run, Status, load_run, run_path
from ..records.codec import plain
from ..runner.grids import check_device
from ..runner.jobs import Job
from ..runner.lock import device_lock, run_lock
from ..runner.resume import plan_of, what_is_left
from ..runner.session import Session
from ..runner.supervisor import DeviceLostError
from .options import check_only_resuming
from .output import JsonOption, check_json, console, how_to_go_on, saying_how_to_go_on, write_json
from .progress import RunProgress, show_run

# Outcomes that make the exit code 1: something ran, and the answer is no.
FAILURES = (Status.INCORRECT, Status.CRASHED, Status.TIMEOUT)
# What may stand beside --resume: how to show and to go on, never what to do.
_BESIDE_RESUME = {"resume_run", "force", "lock", "report", "json"}

OutOption = Annotated[Path, typer.Option("--out", help="Folder under which the run's own folder is made.")]
ReportOption = Annotated[bool, typer.Option(help="Write report.html beside run.json.")]
LockOption = Annotated[bool, typer.Option("--lock/--no-lock", help="Wait until nobody else measures on the device.")]
ResumeOption = Annotated[
    Path | None,
    typer.Option("--resume", metavar="RUN", help="Do what is left of an interrupted run, as it was asked for."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Resume also with another GPU, library or kernel source.")]
TimeoutOption = Annotated[
    float, typer.Option(help="Seconds one implementation may run without an answer before it is stopped.", min=1)
]

__all__ = ["ForceOption", "JsonOption", "LockOption", "OutOption", "ReportOption", "ResumeOption", "TimeoutOption"]


def measure(
    name: str,
    out: Path,
    jobs: Sequence[Job],
    compiled: Sequence[str] = (),
    *,
    lock: bool,
    report: bool,
    json: str | None,
    begin: Callable[[Path], None] = lambda _: None,
) -> int:
    """Start a run below `out` and do the jobs; `begin` is told its folder. The exit code; raises ValueError."""
    plan = plan_of(jobs[0].device, jobs, compiled)
    with _locked(plan, lock) as notes, RunProgress(jobs, extra=len(compiled)) as progress:
        session = Session.start(out, name, plan, progress.event, notes)
        folder = session.writer.folder
        with saying_how_to_go_on(name, folder), run_lock(folder):
            begin(folder)
            lost = _done(session, name, jobs, compiled)
    return finish(session.writer.path, report=report, json=json, lost=lost)


def resume(path: Path, context: typer.Context, *, force: bool, lock: bool, report: bool, json: str | None) -> int:
    """Do what is left of the run at `path`. The exit code; raises ValueError when that cannot be done."""
    check_only_resuming(context, _BESIDE_RESUME)
    check_json(json)
    file = run_path(path)
    run = load_run(file)
    if _nothing_to_do(path, run, json):
        return 0
    plan = _plan(path, run)
    check_device(plan.device)
    name = context.info_name or "bench"
    with ExitStack() as held:
        notes = held.enter_context(_locked(plan, lock))
        held.enter_context(run_lock(file.parent))
        run = load_run(file)
        if _nothing_to_do(path, run, json):  # whoever held the device has done it
            return 0
        left = what_is_left(run)
        progress = held.enter_context(RunProgress(left.jobs, extra=len(left.compiled)))
        session, left = Session.resume(file, progress.event, force=force, notes=notes)
        console.print(f"{path}: {left.cases} cases left", highlight=False, soft_wrap=True)
        held.enter_context(saying_how_to_go_on(name, file.parent))
        lost = _done(session, name, left.jobs, left.compiled)
    return finish(file, report=report, json=json, lost=lost)


def finish(path: Path, *, report: bool, json: str | None, lost: str = "") -> int:
    """Show the table, write the report, say where everything is. The exit code: 1 when something failed, else 0.

    lost: why the device could not be used to the end
    """
    result = load_run(path)
    if json != "-":
        show_run(result)
    console.print(f"\nrun:    {path}", highlight=False, soft_wrap=True)
    if report:
        from ..report.page import write_report

        page = path.parent / "report.html"
        write_report(result, page, path.parent)
        console.print(f"report: {page}", highlight=False, soft_wrap=True)
    write_json(json, plain(result))
    failed = [record for record in result.records if record.status in FAILURES]
    for record in failed:
        text = f"failed: {record.implementation} on {record.case.spec}: {record.status}, {record.reason}"
        console.print(text, highlight=False, soft_wrap=True, markup=False, style="red")
    if lost:
        console.print(f"failed: {lost}", highlight=False, soft_wrap=True, markup=False, style="red")
    return 1 if failed or lost else 0


def _nothing_to_do(path: Path, run: Run, json: str | None) -> bool:
    """Whether the run has been finished; says so."""
    if not run.finished or (run.plan is not None and not what_is_left(run).nothing):
        return False
    console.print(f"{path}: finished {run.finished}; nothing to do", highlight=False, soft_wrap=True)
    write_json(json, plain(run))
    return True


def _plan(path: Path, run: Run) -> Plan:
    try:
        what_is_left(run)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    assert run.plan is not None  # or what_is_left had raised
    return run.plan


@contextmanager
def _locked(plan: Plan, wait: bool) -> Iterator[dict[str, str]]:
    """Hold the device of the plan; gives the notes for the run when it is not held."""

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    with device_lock(plan.device, wait=wait, say=say) as unlocked:
        yield {"lock": unlocked} if unlocked else {}


def _done(session: Session, name: str, jobs: Sequence[Job], compiled: Sequence[str]) -> str:
    """Do the jobs: one after another those with times, then the others. Why the device was lost, or an empty text."""
    try:
        with session:
            session.measure([job for job in jobs if job.mode == Provenance.MEASURED])
            session.check([job for job in jobs if job.mode != Provenance.MEASURED], compiled)
    except DeviceLostError as error:
        return f"{error}; {how_to_go_on(name, session.writer.folder)}"
    return ""
