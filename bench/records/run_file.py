"""Writing and reading run.json: a run killed at any moment leaves what it had finished."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .codec import decode, dumps, plain
from .schema import SCHEMA, Environment, GitRecord, PlacementRecord, Record, Run, TuningRecord

FILE_NAME = "run.json"
_LISTS = ("records", "placements", "tuning")  # what a run grows by


def write_text_atomically(path: Path, text: str) -> None:
    """Replace the file at `path` by `text`, or leave it as it was: never anything between, also after a power cut.

    Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class RunWriter:
    """A run being made: every call that adds something leaves a complete run.json behind.

    The whole file is rewritten each time, from records encoded once: even hundreds of records with their raw samples
    are a few megabytes. Used as a context manager it marks the run finished when the block ends without an exception.
    All methods raise ValueError when the file cannot be written.
    """

    def __init__(self, folder: Path, run: Run) -> None:
        """Continue `run` in `folder`, which exists; `create` and `resume` are the usual ways in."""
        self.folder = folder
        self._head: dict[str, Any] = {
            item.name: getattr(run, item.name) for item in fields(run) if item.name not in _LISTS
        }
        self._lists = {name: [dumps(item) for item in getattr(run, name)] for name in _LISTS}
        self._write()

    @classmethod
    def create(
        cls,
        runs: str | Path,
        name: str,
        *,
        command: Sequence[str],
        environment: Environment,
        git: GitRecord | None = None,
        source_hash: str = "",
        notes: Mapping[str, Any] | None = None,
    ) -> RunWriter:
        """Start a run in a new folder `runs`/<time>-<name>. Raises ValueError when it cannot be made."""
        now = datetime.now(UTC)
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
        folder = _new_folder(Path(runs), f"{now:%Y%m%d-%H%M%S}-{slug}")
        run = Run(
            command=list(command),
            started=now.isoformat(timespec="seconds"),
            source_hash=source_hash,
            environment=environment,
            name=name,
            git=git,
            notes=dict(notes or {}),
        )
        return cls(folder, run)

    @classmethod
    def resume(cls, path: str | Path) -> RunWriter:
        """Go on with the run in a folder or file. Raises ValueError when it cannot be read."""
        file = run_path(path)
        writer = cls(file.parent, load_run(file))
        writer._head["finished"] = None
        return writer

    @property
    def path(self) -> Path:
        """The run file."""
        return self.folder / FILE_NAME

    def append(self, record: Record | Mapping[str, Any]) -> None:
        """Add one finished record, or the JSON of one, which is checked and kept with what stands beside."""
        self._add("records", _encoded(Record, record, "record"))

    def add_placement(self, placement: PlacementRecord | Mapping[str, Any]) -> None:
        """Add one placement, or the JSON of one."""
        self._add("placements", _encoded(PlacementRecord, placement, "placement"))

    def add_tuning(self, tuning: TuningRecord | Mapping[str, Any]) -> None:
        """Add one tuning study, or the JSON of one."""
        self._add("tuning", _encoded(TuningRecord, tuning, "tuning"))

    def set_environment(self, environment: Environment) -> None:
        """Replace what is known of the machine, when its roofs have been measured."""
        self._head["environment"] = environment
        self._write()

    def finish(self) -> None:
        """Mark the run complete."""
        self._head["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()

    def _add(self, name: str, item: str) -> None:
        self._lists[name].append(item)
        self._write()

    def _write(self) -> None:
        head = ",\n".join(f"{json.dumps(key)}: {dumps(value)}" for key, value in self._head.items())
        lists = ",\n".join(
            f'"{key}": [' + ",".join(f"\n{item}" for item in items) + "\n]" for key, items in self._lists.items()
        )
        try:
            write_text_atomically(self.path, f"{{\n{head},\n{lists}\n}}\n")
        except OSError as error:
            raise ValueError(f"{self.path}: cannot be written: {error.strerror or error}") from error


def _encoded(kind: type, value: Any, where: str) -> str:
    if isinstance(value, Mapping):
        decode(kind, plain(value), where)
    return dumps(value)


def _new_folder(runs: Path, name: str) -> Path:
    """A folder that did not exist before: two runs may start within a second."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 1000):
            folder = runs / (name if attempt == 1 else f"{name}-{attempt}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise ValueError(f"{runs}: runs cannot be written here: {error.strerror or error}") from error
    raise ValueError(f"{runs}: expected a free name for {name}, got a thousand taken ones")


def check_writable(runs: str | Path) -> None:
    """Raise ValueError unless a run could be written below `runs`; makes nothing."""
    folder = Path(runs).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise ValueError(f"{runs}: runs cannot be written here: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{runs}: runs cannot be written here: no permission to write to {folder}")


def run_path(path: str | Path) -> Path:
    """The run file that a folder or a file means. Raises ValueError when there is none."""
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{path}: expected a run (a folder with {FILE_NAME}, or that file), found none")
    return file


def load_run(path: str | Path) -> Run:
    """Read a run from its folder or file.

    Raises ValueError in one line for a file that cannot be read, is cut off or is not JSON, was written with another
    schema, or has a value that does not fit, with the place of it.
    """
    file = run_path(path)
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
    _check_schema(file, table["schema"])
    try:
        return decode(Run, table, "run")
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _not_json(word: str) -> Any:
    raise ValueError(f"{word} is not JSON (numbers that are not finite are written as null)")


def _check_schema(file: Path, schema: Any) -> None:
    if isinstance(schema, bool) or not isinstance(schema, int):
        raise ValueError(f"{file}: schema: expected a whole number, got {schema!r}")
    if schema > SCHEMA:
        raise ValueError(
            f"{file}: written with schema {schema}, newer than the {SCHEMA} this version reads: update mohge"
        )
    if schema < SCHEMA:
        raise ValueError(f"{file}: written with schema {schema}, which this version (schema {SCHEMA}) no longer reads")
