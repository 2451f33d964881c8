"""What every subcommand shares: JSON for machines, rich tables for people."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..records.files import write_atomically

JsonOption = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE|-", help="Write the result as JSON to a file, or to standard output with -."),
]

# People read standard error: standard output stays free for --json -. Without a terminal, tables still need a width.
console = Console(stderr=True, width=None if sys.stderr.isatty() else 110)


def check_json(target: str | None) -> None:
    """Raise ValueError when `--json` names a file that could not be written later; makes nothing."""
    check_target("--json", target)


def check_target(option: str, target: str | None) -> None:
    """The same for another option that names a file or, with -, standard output."""
    if target is None or target == "-":
        return
    path = Path(target).absolute()
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{option} {target}: cannot be written")


def write_json(target: str | None, value: Any) -> bool:
    """Write `value` to the file or standard output `--json` named. True when it went to standard output.

    Raises ValueError when the file cannot be written.
    """
    if target is None:
        return False
    write_pieces("--json", target, [json.dumps(value, indent=1, allow_nan=False), "\n"])
    return target == "-"


def write_pieces(option: str, target: str, pieces: Iterable[str]) -> None:
    """Write text as it comes, to standard output for -; a file is there whole or not at all. Raises ValueError."""
    if target == "-":
        sys.stdout.writelines(pieces)
        return
    path = Path(target)
    try:
        if path.exists() and not path.is_file():  # a pipe or a device cannot be replaced
            with path.open("w", encoding="utf-8") as file:
                file.writelines(pieces)
        else:
            write_atomically(path.resolve(), pieces)  # where a link points, the link staying
    except OSError as error:
        raise ValueError(f"{option} {target}: cannot be written: {error.strerror}") from error


def table(title: str, columns: list[str], rows: list[list[str]], *, right: tuple[str, ...] = ()) -> None:
    """Print a table for people; `right` names the columns of numbers. Cells are text, never markup."""
    from rich.text import Text

    view = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        view.add_column(column, justify="right" if column in right else "left")
    for row in rows:
        view.add_row(*(Text(cell) for cell in row))
    console.print(view)


def progress_bar(*more: str) -> Progress:
    """A bar that says what is being done (the task's field `what`), how much is, and `more`; nothing in a log."""
    return Progress(
        TextColumn("{task.fields[what]}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed}/{task.total}"),
        *(TextColumn(text) for text in more),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,  # it would leave an empty line there
    )


@contextmanager
def saying_how_to_go_on(command: str, folder: Path, when: type[BaseException] = KeyboardInterrupt) -> Iterator[None]:
    """Name the command that resumes the run in `folder` when the block ends with `when`."""
    try:
        yield
    except when:
        console.print(how_to_go_on(command, folder), highlight=False, soft_wrap=True, markup=False)
        raise


def how_to_go_on(command: str, folder: Path) -> str:
    """The command that resumes a run, as a line."""
    return f"go on with: mohge {command} --resume {shlex.quote(str(folder))}"
