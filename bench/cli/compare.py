"""`mohge compare`: two runs, or two implementations of one run, with a verdict per case and an exit code for CI."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..comparison import Comparison, Options, Verdict, compare_implementations, compare_runs
from ..comparison.result import AUTO
from ..records import Run, load_run, run_path
from ..records.codec import plain
from .compare_view import markdown, show, summary
from .output import JsonOption, check_json, console, write_json


class FailOn(StrEnum):
    """What makes the exit code 1. `undecided` includes slower."""

    SLOWER = "slower"
    UNDECIDED = "undecided"
    NEVER = "never"


def compare(
    a: Annotated[str, typer.Argument(help="Run folder or run.json; several runs of the same separated by commas.")],
    b: Annotated[str | None, typer.Argument(help="What is compared with A; leave out with --implementations.")] = None,
    implementations: Annotated[
        str | None,
        typer.Option(help="One run: the two to compare, 'a,b' for b against a. Two runs: only these."),
    ] = None,
    case: Annotated[str, typer.Option(help="Only cases with this text, or matching this pattern (*, ?).")] = "",
    which: Annotated[str, typer.Option(help="hot, cold, both or phases:NAME.")] = "hot",
    threshold: Annotated[float, typer.Option(help="Smallest change that matters, in percent.")] = 2.0,
    anchor: Annotated[
        str, typer.Option(help="An implementation that did not change, auto (the baselines) or none.")
    ] = AUTO,
    run_to_run: Annotated[
        float | None,
        typer.Option(help="With one run a side: deviation from run to run in percent; default: from the samples."),
    ] = None,
    fail_on: Annotated[FailOn, typer.Option(help="What makes the exit code 1.")] = FailOn.SLOWER,
    force: Annotated[bool, typer.Option("--force", help="Compare although the environments differ.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables as Markdown on standard output.")
    ] = False,
    json: JsonOption = None,
) -> int:
    """Compare B with A case by case: faster, slower, same within the threshold, or undecided and what would decide.

    Example: mohge compare runs/20260101-120000-bench runs/20260102-120000-bench --which both
    """
    check_json(json)
    if as_markdown and json == "-":
        raise ValueError("--markdown and --json -: expected one of them on standard output, got both")
    options = Options(
        which=("hot", "cold") if which == "both" else (which,),
        threshold=threshold / 100,
        anchor=anchor,
        run_to_run=None if run_to_run is None else run_to_run / 100,
        case=case,
        implementations=_names(implementations),
        force=force,
    )
    with console.status("comparing"):
        result = _compared(a, b, options)
    code = exit_code(result, fail_on)
    if as_markdown:
        sys.stdout.write(markdown(result))
    elif json != "-":
        show(result)
    for line in summary(result, code, fail_on):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    write_json(json, {**plain(result), "counts": result.counts, "exit_code": code})
    return code


def exit_code(result: Comparison, fail_on: FailOn) -> int:
    """1 when something became slower or no longer passes (or is undecided, if that counts), else 0."""
    if fail_on is FailOn.NEVER:
        return 0
    bad = {Verdict.SLOWER} if fail_on is FailOn.SLOWER else {Verdict.SLOWER, Verdict.UNDECIDED}
    return 1 if result.broken or any(row.verdict in bad for row in result.rows) else 0


def _compared(a: str, b: str | None, options: Options) -> Comparison:
    if b is not None:
        first, second = _paths(a), _paths(b)
        twice = set(first) & set(second)
        if twice and len(first) + len(second) > 2:
            raise ValueError(f"runs: expected different runs on both sides, got {twice.pop()} twice")
        return compare_runs(_load(first), _load(second), options, titles=(a, b))
    if len(options.implementations) != 2:
        raise ValueError("expected two runs (mohge compare A B), or one run and --implementations a,b")
    return compare_implementations(_load(_paths(a)), *options.implementations, options)


def _paths(text: str) -> list[Path]:
    """The run files that a path, or several separated by commas, mean. Raises ValueError."""
    parts = [text] if Path(text).exists() else [part for part in text.split(",") if part.strip()]
    files = [run_path(part.strip()).resolve() for part in parts]
    if not files:
        raise ValueError(f"runs: expected a run, got {text!r}")
    if len(set(files)) < len(files):
        raise ValueError(f"runs: expected different runs, got one twice in {text!r}")
    return files


def _load(files: list[Path]) -> list[Run]:
    return [load_run(file) for file in files]


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()
