"""Reading a run: run.json and the journal beside it, of this schema or an older one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .codec import decode
from .journal import apply, journal_path, read_journal
from .schema import Run
from .uncollected import uncollected
from .upgrades import upgraded

FILE_NAME = "run.json"


def run_path(path: str | Path) -> Path:
    """The run file that a folder or a file means. Raises ValueError when there is none."""
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{path}: expected a run (a folder with {FILE_NAME}, or that file), found none")
    return file


@uncollected()
def load_run(path: str | Path) -> Run:
    """Read a run from its folder or file, also one that is still being made.

    Raises ValueError in one line for a file that cannot be read, is cut off or is not JSON, was written with a schema
    that cannot be read, or has a value that does not fit, with the place of it.
    """
    file = run_path(path)
    journal = journal_path(file)
    # The journal first: when run.json is written between the two, it has what the journal had.
    entries = read_journal(journal)
    try:
        table = json.loads(file.read_text(encoding="utf-8"), parse_constant=_not_json)
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}: not a run file: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{file}: not a run file: {error}") from error
    if not isinstance(table, dict) or "schema" not in table:
        raise ValueError(f"{file}: not a run file: expected an object with a field schema")
    apply(entries, table, journal)
    try:
        return decode(Run, upgraded(table), "run")
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _not_json(word: str) -> Any:
    raise ValueError(f"{word} is not JSON (numbers that are not finite are written as null)")
