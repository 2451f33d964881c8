"""run.journal beside run.json: what was finished since run.json was last written, one line for each.

A line says which list of the run grows, at which place, and by what: `{"list":"records","at":3,"item":{...}}`. run.json
is written first and the journal removed after, so a kill between the two leaves lines that run.json already has; their
places tell.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .files import sync_folder

SUFFIX = ".journal"


def journal_path(run_file: Path) -> Path:
    """Where the journal of a run file lies."""
    return run_file.with_suffix(SUFFIX)


def line(name: str, at: int, item: str) -> str:
    """The line for `item`, JSON already, at place `at` of the list `name`."""
    return f'{{"list":"{name}","at":{at},"item":{item}}}\n'


class Journal:
    """The lines added since run.json was written. Methods raise OSError and then leave the file as it was."""

    def __init__(self, path: Path) -> None:
        """The journal of that name; none need exist."""
        self._path = path
        self.bytes = 0

    def append(self, lines: Sequence[str]) -> None:
        """Add lines, all or none of them, and see them on the disk."""
        data = "".join(lines).encode()
        new = not self._path.exists()
        with self._path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(before)
                raise
        if new:
            sync_folder(self._path.parent)
        self.bytes = before + len(data)

    def clear(self) -> None:
        """Remove it: run.json has everything."""
        self._path.unlink(missing_ok=True)
        self.bytes = 0


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; none where there is no journal. A last line cut off by a kill is left out.

    Raises ValueError when it cannot be read, naming the line that is none.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    entries = []
    for number, text in enumerate(lines[:-1], 1):
        try:
            entry = json.loads(text)
            entries.append({"list": str(entry["list"]), "at": int(entry["at"]), "item": entry["item"]})
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) - 1:
                break  # the blocks of the last line did not all reach the disk
            raise ValueError(f"{path}: line {number}: expected an item of a run, got {_shown(text)}") from error
    return entries


def apply(entries: Sequence[dict[str, Any]], table: dict[str, Any], path: Path) -> None:
    """Add to the lists of `table`, a run file's JSON, what they do not have yet. Raises ValueError for a gap."""
    for number, entry in enumerate(entries, 1):
        items = table.setdefault(entry["list"], [])
        if not isinstance(items, list) or entry["at"] < len(items):
            continue
        if entry["at"] > len(items):
            raise ValueError(
                f"{path}: line {number}: expected number {len(items)} of {entry['list']}, got number {entry['at']}"
            )
        items.append(entry["item"])


def _shown(text: bytes) -> str:
    shown = text.decode(errors="replace")
    return repr(shown if len(shown) <= 60 else shown[:57] + "...")
