"""`mohge export`: runs in the formats of other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ..records import FILE_NAME, LabelledRun, load_runs
from ..telemetry import TRACE_NAME
from .output import JsonOption, check_json, check_target, console, write_json, write_pieces

_MARKDOWN = "--markdown"
Writer = Callable[[Sequence[LabelledRun]], Iterator[str]]


class ExportCommand(TyperCommand):
    """Lets --markdown stand without a file: before another option, before a run, or last."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments with the - that is meant."""
        return super().parse_args(ctx, with_markdown_target(args))


def with_markdown_target(arguments: Sequence[str]) -> list[str]:
    """`arguments` with - after an --markdown that names no file."""
    found: list[str] = []
    for place, word in enumerate(arguments):
        found.append(word)
        following = arguments[place + 1] if place + 1 < len(arguments) else None
        if word == _MARKDOWN and (following is None or following.startswith("--") or _is_run(following)):
            found.append("-")
    return found


def _is_run(text: str) -> bool:
    path = Path(text)
    return path.is_dir() or (path.name == FILE_NAME and path.is_file())


def export(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs, or their run.json.")],
    perfetto: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="For ui.perfetto.dev: phases as slices, telemetry as counters."),
    ] = None,
    csv: Annotated[str | None, typer.Option(metavar="FILE|-", help="A row for every record.")] = None,
    samples: Annotated[bool, typer.Option("--samples", help="With --csv: a row for every sample instead.")] = False,
    markdown: Annotated[
        str | None,
        typer.Option(
            _MARKDOWN,
            metavar="[FILE|-]",
            help="For a pull request: verdict, table, machine, command. Without a file: on standard output.",
        ),
    ] = None,
    benchmark_json: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="What pytest-benchmark compare reads, with the names of bench/suite."),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Write runs in the formats of other tools; several formats at once, several runs kept apart.

    Example: mohge export runs/20260101-120000-run --perfetto trace.json --markdown
    """
    targets = {"--perfetto": perfetto, "--csv": csv, _MARKDOWN: markdown, "--benchmark-json": benchmark_json}
    chosen = {option: target for option, target in targets.items() if target is not None}
    check_json(json)
    _check(chosen, json, samples=samples)
    loaded = load_runs(runs)
    for option, target in chosen.items():
        write_pieces(option, target, _writer(option, samples=samples)(loaded))
    records = [{"run": item.label, "records": len(item.run.records)} for item in loaded]
    written = {option.removeprefix("--"): target for option, target in chosen.items()}
    write_json(json, {"written": written, "runs": records})
    for item in loaded:
        if not item.run.records:
            console.print(f"{item.label}: holds no records", highlight=False, soft_wrap=True, markup=False)
    for option, target in written.items():
        if target != "-":
            console.print(f"{option}: {target}", highlight=False, soft_wrap=True, markup=False)


def _check(chosen: dict[str, str], json: str | None, *, samples: bool) -> None:
    """Raises ValueError for a choice that cannot be written."""
    if not chosen:
        raise ValueError("expected at least one of --perfetto, --csv, --markdown, --benchmark-json, got none")
    if samples and "--csv" not in chosen:
        raise ValueError("--samples: expected --csv beside it, which it says the rows of")
    files = [*chosen.values(), *([json] if json else [])]
    for option, target in chosen.items():
        # A run beside the option that it was meant to follow would be written over.
        if Path(target).name in (FILE_NAME, TRACE_NAME):
            raise ValueError(f"{option}: expected a file that is not part of a run, got {target}")
        if files.count(target) > 1:
            raise ValueError(f"{option}: expected a target of its own, got {target} twice")
        check_target(option, target)


def _writer(option: str, *, samples: bool) -> Writer:
    from .. import export as formats

    return {
        "--perfetto": formats.perfetto,
        "--csv": formats.samples_csv if samples else formats.records_csv,
        _MARKDOWN: formats.markdown,
        "--benchmark-json": formats.benchmark_json,
    }[option]
