"""`mohge tune`: look for a faster launch configuration of an implementation, and propose it for the table."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from ...kernels import tuned
from ..records import (
    RunWriter,
    check_writable,
    collect_environment,
    git_state,
    load_run,
    run_path,
    source_hash,
)
from ..records.codec import plain
from ..runner.jobs import Source
from ..runner.lock import run_lock
from ..tuning import TrialLimits, apply_rows, proposed_rows, table_diff
from ..tuning.campaign import Campaign, run_campaign
from ..tuning.plans import MOST_COMPILERS, SAMPLERS, Wanted, compilers_for, storage_in, tasks_for
from ..tuning.proposal import write_proposal
from ..tuning.storage import optuna, storage_url
from ..tuning.sweep import SAMPLER, SWEEP, sweep_in
from .measuring import LockOption, OutOption
from .options import SpecOption, check_only_resuming, check_trace_choice, resolve_spec
from .output import JsonOption, check_json, console, write_json
from .tune_view import TuneProgress, show_changes, show_study

NOTE = "campaign"  # the run's note that says what was to be done
APPLY = "apply"
_BESIDE_RESUME = {"resume", "apply", "table", "allow_predicted", "json"}


def tune(
    context: typer.Context,
    implementation: Annotated[
        str | None,
        typer.Argument(
            help="triton, cupy, numba, numba_mma, a version as cupy_mma, or MODULE:NAME of yours; or apply."
        ),
    ] = None,
    run: Annotated[Path | None, typer.Argument(help="With apply: the run whose winners enter the table.")] = None,
    spec: SpecOption = "mohge-3b",
    tokens: Annotated[str, typer.Option(help="Batch sizes, separated by commas; a study for each.")] = "16384",
    routing_class: Annotated[
        str, typer.Option(help="any, balanced, skewed, separated by commas; a study for each.")
    ] = "any",
    routing: Annotated[
        list[str] | None, typer.Option(help="Tune on this routing in place of the class's own; repeatable.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Routing trace (.npz or .csv) as one more routing.")] = None,
    domain: Annotated[str | None, typer.Option(help="Domain of the trace.")] = None,
    layer: Annotated[int | None, typer.Option(help="Layer of the trace.")] = None,
    dtype: Annotated[
        str, typer.Option(help="float32, float16 or bfloat16; auto is bfloat16 on or for a GPU.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:N; cpu predicts what a GPU would do.")] = "auto",
    sampler: Annotated[
        str, typer.Option(help=f"One of {', '.join(SAMPLERS)}; {SAMPLER}, at random without repeats, needs no Optuna.")
    ] = "tpe",
    trials: Annotated[int, typer.Option(help="Configurations to try in each study.", min=1)] = 100,
    minutes: Annotated[float | None, typer.Option(help="Longest time for all studies together.", min=0.01)] = None,
    workers: Annotated[int, typer.Option(help="Processes that share a study on this machine.", min=1)] = 1,
    compilers: Annotated[
        int | None,
        typer.Option(
            help="Further processes that compile configurations before their turn; default: where a GPU is timed on, "
            f"half of the cores, at most {MOST_COMPILERS}.",
            min=0,
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.db|URL",
            help="Where studies are kept: FILE.db, sqlite:///FILE, postgresql://..., journal:FILE. "
            "The same command with the same storage goes on, or joins in from another machine.",
        ),
    ] = None,
    fix: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE,...", help="Hold a parameter to these values; repeatable.")
    ] = None,
    finalists: Annotated[int, typer.Option(help="How many of the best are timed again.", min=1)] = 5,
    seconds: Annotated[
        float, typer.Option(help="Longest timing of a trial's case, hot and again cold.", min=0.01)
    ] = 0.5,
    timeout: Annotated[float, typer.Option(help="Seconds a trial may take in all.", min=1)] = 120.0,
    energy: Annotated[bool, typer.Option("--energy", help="Also minimise the energy of a call (GPU).")] = False,
    roof: Annotated[
        Path | None, typer.Option(help="Predict with the roofs of this run, in place of an H200's.")
    ] = None,
    replay: Annotated[Path | None, typer.Option(help="Look results up in this recorded run; nothing is run.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, inputs and sampler.", min=0)] = 0,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Go on with an interrupted run, as it was asked for.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write winners to the table at the end.")] = False,
    table: Annotated[
        Path | None, typer.Option(help=f"The table; default ${tuned.VARIABLE}, else that of the package.")
    ] = None,
    allow_predicted: Annotated[
        bool, typer.Option("--allow-predicted", help="Let predicted winners into the package's own table.")
    ] = False,
    out: OutOption = Path("runs"),
    lock: LockOption = True,
    json: JsonOption = None,
) -> int:
    """Try launch configurations, each checked and timed beside the current one in a process of its own, and propose
    the winner for the table that launches read. Without a GPU the time is predicted from compiled binaries.

    Example: mohge tune triton --tokens 64,16384 --routing-class any --trials 200 --workers 2
    """
    check_json(json)
    target = table or tuned.table_path()
    if implementation == APPLY:
        return _apply_run(run, target, allow_predicted, json)
    if run is not None:
        raise ValueError(f"{run}: expected nothing after the implementation; `mohge tune {APPLY} RUN` takes a run")
    if resume is None and sampler != SAMPLER:
        optuna()
    if resume is not None:
        check_only_resuming(context, _BESIDE_RESUME)
        folder = run_path(resume).parent
        with run_lock(folder):
            campaign = _campaign_of(resume)
            if not campaign.url.startswith(SWEEP):
                optuna()
            return _tuned(campaign, RunWriter.resume(resume), target, apply, allow_predicted, json)
    if implementation is None:
        raise ValueError("expected an implementation to tune (triton, cupy, numba or numba_mma), or --resume RUN")
    wanted = Wanted(
        implementation=implementation,
        spec=resolve_spec(spec),
        tokens=tokens,
        routing_class=routing_class,
        routings=tuple(routing or ()),
        trace=_trace(trace, domain, layer),
        dtype=dtype,
        device=device,
        sampler=sampler,
        trials=trials,
        finalists=finalists,
        limits=TrialLimits(seconds=seconds, timeout=timeout),
        energy=energy,
        roof=roof,
        replay=replay,
        seed=seed,
        fix=tuple(fix or ()),
    )
    tasks = tasks_for(wanted)
    check_writable(out)
    if sampler == SAMPLER and (workers > 1 or storage):
        raise ValueError("--sampler sweep: expected one worker and no --storage: it keeps its trials in the run")
    url = storage_url(storage) if storage else ""
    writer = RunWriter.create(
        out,
        f"tune-{implementation.rpartition(':')[2]}",
        command=["mohge", *sys.argv[1:]],
        environment=collect_environment(tasks[0].device),
        git=git_state(),
        source_hash=source_hash(),
    )
    campaign = Campaign(
        tasks=tuple(tasks),
        url=url or (sweep_in if sampler == SAMPLER else storage_in)(writer.folder),
        workers=workers,
        compilers=compilers_for(tasks[0]) if compilers is None else compilers,
        minutes=minutes,
        lock=lock,
    )
    writer.set_notes({NOTE: campaign.to_dict()})
    with run_lock(writer.folder):
        return _tuned(campaign, writer, target, apply, allow_predicted, json)


def _tuned(
    campaign: Campaign, writer: RunWriter, table: Path, apply: bool, allow_predicted: bool, json: str | None
) -> int:
    """Work, show, propose, and write to the table where asked. 1 when a study had no sound trial."""
    again = f"go on with: mohge tune --resume {writer.folder}"
    try:
        with ExitStack() as stack:
            progress = stack.enter_context(TuneProgress(campaign.tasks))
            stack.enter_context(writer)
            records = run_campaign(campaign, writer, progress.event)
    except KeyboardInterrupt:
        console.print(again, highlight=False, soft_wrap=True, markup=False)
        raise
    result = load_run(writer.path)
    rows = proposed_rows(result, _source(writer.path))
    if json != "-":
        for record in records:
            show_study(record)
    console.print(f"\nrun:      {writer.path}", highlight=False, soft_wrap=True)
    if rows:
        console.print(f"proposal: {write_proposal(rows, writer.folder)}", highlight=False, soft_wrap=True)
        if apply:
            show_changes(apply_rows(rows, table, allow_predicted=allow_predicted), f"written to {table}")
        else:
            known = tuned.read_table(table) if table.exists() else ()
            show_changes(table_diff(rows, known), f"for {table}; mohge tune apply {writer.folder} writes it")
    console.print(f"report:   mohge report {writer.folder} draws it", highlight=False, soft_wrap=True)
    write_json(json, plain(result))
    sound = all(any(trial["outcome"] == "complete" for trial in record.trials) for record in records)
    return 0 if sound else 1


def _apply_run(run: Path | None, table: Path, allow_predicted: bool, json: str | None) -> int:
    """Write the winners of a run to the table. 1 when it has none."""
    if run is None:
        raise ValueError(f"{APPLY}: expected a run whose winners enter the table, got none")
    path = run_path(run)
    rows = proposed_rows(load_run(path), _source(path))
    lines = apply_rows(rows, table, allow_predicted=allow_predicted) if rows else []
    if not write_json(json, {"table": str(table), "rows": plain(rows), "changed": bool(lines)}):
        show_changes(lines, f"written to {table}" if rows else f"{path} has no winner")
    return 0 if rows else 1


def _source(path: Path) -> str:
    """How the table names a run file: from here where it lies below, so that it reads the same in every checkout."""
    whole, here = path.resolve(), Path.cwd().resolve()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)


def _trace(trace: Path | None, domain: str | None, layer: int | None) -> Source | None:
    check_trace_choice(trace, domain, layer)
    return Source("trace", str(trace.absolute()), domain, layer) if trace else None


def _campaign_of(path: Path) -> Campaign:
    """What a run was asked to do. Raises ValueError when it cannot be gone on with."""
    note = load_run(path).notes.get(NOTE)
    if note is None:
        raise ValueError(f"{path}: expected a run of mohge tune, got another")
    campaign = Campaign.from_dict(note)
    here = source_hash()
    if any(task.sources_hash != here for task in campaign.tasks):
        raise ValueError(f"{path}: expected the kernel sources that the run began with, got others; start a new run")
    return campaign
