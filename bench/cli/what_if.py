"""`mohge what-if`: place and simulate every scenario of a grid, and say what is best, what trades, what pays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..records import Run, RunWriter, check_writable, collect_environment, git_state, load_run, run_path, source_hash
from ..records.codec import plain
from ..runner.lock import run_lock
from ..whatif import AXES, NOTHING, Done, Study, Wanted, make_study, notes_of, parse_grid, run_study, size_of, wanted_of
from ..whatif.pools import default_workers
from ..whatif.table import scenarios_csv
from .measuring import OutOption
from .options import check_only_resuming
from .output import (
    JsonOption,
    check_json,
    check_target,
    console,
    progress_bar,
    saying_how_to_go_on,
    write_json,
    write_pieces,
)
from .what_if_view import show_answers

_BESIDE_RESUME = {"resume", "workers", "dask", "csv", "json"}


def what_if(
    context: typer.Context,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="AXIS=VALUES ...", help=f"What to vary; repeatable. Axes: {', '.join(AXES)}."),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Recorded routing, in any format of mohge place, for routing=trace.")
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Take what experts take from this run (of mohge place --measure)."),
    ] = None,
    implementation: Annotated[
        str | None, typer.Option(help="With --costs: whose times, where the run has several.")
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="The policy whose placement there is now, one copy of each expert.")
    ] = "aga",
    horizon: Annotated[int, typer.Option(help="Steps until experts are placed anew.", min=1)] = 1000,
    workers: Annotated[
        int | None, typer.Option(help="Processes on this machine; all its cores if not told and worth it.", min=1)
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Solve on the workers of this Dask scheduler, as tcp://host:8786."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Go on with an interrupted run, as it was asked for.")
    ] = None,
    out: OutOption = Path("runs"),
    csv: Annotated[str | None, typer.Option(metavar="FILE|-", help="A row for every scenario.")] = None,
    json: JsonOption = None,
) -> int:
    """Place and simulate every combination of what may be decided, and say which is best, which trade time for memory
    and traffic, and whether balancing pays after moving the experts. Nothing is measured.

    Example: mohge what-if --grid "ranks=4,8,16 policy=all skew=0.4:1.6:0.4 group_loss=0,0.5,1 replicas=0,16"
    """
    check_json(json)
    check_target("--csv", csv)
    if json == csv == "-":
        raise ValueError("--csv and --json: expected one of them on standard output, got both")
    if workers is not None and dask is not None:
        raise ValueError("--workers and --dask: expected one of them, got both")
    if resume is not None:
        check_only_resuming(context, _BESIDE_RESUME)
        writer, study, done = _resumed(resume)
    else:
        wanted = Wanted(
            grid=parse_grid(grid or []).to_dict(),
            trace=_absolute(trace),
            costs=_absolute(costs),
            implementation=implementation,
            baseline=baseline,
            horizon=horizon,
        )
        writer, study, done = _started(wanted, out)
    if writer is None:
        run = load_run(resume or out)
        console.print(f"{resume}: finished {run.finished}; nothing to do", highlight=False, soft_wrap=True)
        return _finish(run, run_path(resume or out), csv, json)
    _solve(writer, study, done, workers, dask)
    return _finish(load_run(writer.path), writer.path, csv, json)


def _started(wanted: Wanted, out: Path) -> tuple[RunWriter, Study, Done]:
    """A new run. Raises ValueError before anything is written."""
    study = make_study(wanted)
    check_writable(out)
    writer = RunWriter.create(
        out,
        "what-if",
        command=["mohge", *sys.argv[1:]],
        environment=collect_environment(timed=False),
        git=git_state(),
        source_hash=source_hash(),
        notes=notes_of(study),
    )
    return writer, study, NOTHING


def _resumed(path: Path) -> tuple[RunWriter | None, Study, Done]:
    """The run at `path` with what it has; no writer where it was finished. Raises ValueError."""
    run = load_run(path)
    try:
        wanted, digest = wanted_of(run)
        study = make_study(wanted)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if study.digest != digest:
        raise ValueError(
            f"{path}: expected the layers, clusters and trace that the run began with, got others; start a new run"
        )
    return (None if run.finished else RunWriter.resume(path)), study, Done.of(run)


def _solve(writer: RunWriter, study: Study, done: Done, workers: int | None, dask: str | None) -> None:
    total, left = size_of(study), size_of(study, done)
    if done != NOTHING:
        said = f"{writer.folder}: {len(study.scenarios) - len(done.scenarios)} of {len(study.scenarios)} scenarios left"
        console.print(said, highlight=False, soft_wrap=True)
    with (
        run_lock(writer.folder),
        saying_how_to_go_on("what-if", writer.folder, BaseException),
        writer,
        progress_bar() as bar,
    ):
        task = bar.add_task("", total=total, completed=total - left, what="scenarios")
        count = workers or default_workers(left)
        run_study(study, writer, done, workers=count, dask=dask, on_batch=lambda more: bar.advance(task, more))


def _finish(run: Run, path: Path, csv: str | None, json: str | None) -> int:
    """Show the answers, write what was asked for, say where everything is. 1 when no scenario is possible."""
    if "-" not in (json, csv):
        show_answers(run)
    console.print(f"\nrun:    {path}", highlight=False, soft_wrap=True)
    if csv is not None:
        write_pieces("--csv", csv, scenarios_csv(run.what_if))
    write_json(json, plain(run))
    return 0 if any(record.possible for record in run.what_if) else 1


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
