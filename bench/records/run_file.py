"""Writing a run so that one killed at any moment leaves what it had finished."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from .codec import decode, dumps, plain
from .files import write_atomically
from .journal import Journal, journal_path, line
from .plan import Plan
from .reading import FILE_NAME, load_run, run_path
from .schema import Environment, GitRecord, PlacementRecord, Record, Run, TuningRecord
from .what_if import TransferRecord, WhatIfRecord
from .what_if_steps import StepRecord

T = TypeVar("T")
_LISTS = ("records", "placements", "tuning", "what_if", "transfers", "steps")  # what a run grows by
# Up to this size run.json is written whole each time; above it the journal takes what is new until it has grown to
# JOURNAL_SHARE of run.json, so that the bytes written in all stay at a few times those kept.
WHOLE_BYTES = 2**20
JOURNAL_SHARE = 0.25


class RunWriter:
    """A run being made: what has been added is on the disk when the call returns.

    run.json is a complete file at any moment. While it is small it has everything; later the newest items may stand in
    run.journal beside it (see `JOURNAL_SHARE`), where `load_run` finds them, until the run ends. Used as a context
    manager it marks the run finished when the block ends without an exception. All methods raise ValueError when the
    disk does not take it; what was there before stays readable.
    """

    def __init__(self, folder: Path, run: Run) -> None:
        """Continue `run` in `folder`, which exists; `create` and `resume` are the usual ways in."""
        self.folder = folder
        self._head: dict[str, Any] = {
            item.name: getattr(run, item.name) for item in fields(run) if item.name not in _LISTS
        }
        self._lists = {name: [dumps(item) for item in getattr(run, name)] for name in _LISTS}
        self._journal = Journal(journal_path(self.path))
        self._bytes = 0  # of run.json
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
        plan: Plan | None = None,
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
            plan=plan,
            notes=dict(notes or {}),
        )
        return cls(folder, run)

    @classmethod
    def resume(cls, path: str | Path, keep: Callable[[Run], Run] = lambda run: run) -> RunWriter:
        """Go on with the run in a folder or file, of which `keep` may leave something out.

        Raises ValueError when it cannot be read.
        """
        file = run_path(path)
        run = load_run(file)
        # In two steps: the journal counts from what run.json has, so it must be gone before run.json has less.
        if journal_path(file).exists():
            cls(file.parent, run)
        return cls(file.parent, replace(keep(run), finished=None))

    @property
    def path(self) -> Path:
        """The run file."""
        return self.folder / FILE_NAME

    def append(self, record: Record | Mapping[str, Any]) -> None:
        """Add one finished record, or the JSON of one, which is checked and kept with what stands beside."""
        self._add([("records", _encoded(Record, record, "record"))])

    def add_placement(self, placement: PlacementRecord | Mapping[str, Any]) -> None:
        """Add one placement, or the JSON of one."""
        self._add([("placements", _encoded(PlacementRecord, placement, "placement"))])

    def put_tuning(self, tuning: TuningRecord) -> None:
        """Add a tuning study, or replace what is there of it: a study grows trial by trial."""
        item, studies = dumps(tuning), self._lists["tuning"]
        place = next((n for n, known in enumerate(studies) if json.loads(known)["study"] == tuning.study), None)
        if place is None:
            self._add([("tuning", item)])
        else:
            studies[place] = item
            self._write()

    def add_case(self, records: Sequence[Record], placements: Sequence[PlacementRecord] = ()) -> None:
        """Add what belongs together in one go: the records of a case and its placements."""
        items = [("placements", dumps(placement)) for placement in placements]
        self._add(items + [("records", dumps(record)) for record in records])

    def add_what_if(self, records: Sequence[WhatIfRecord], transfers: Sequence[TransferRecord] = ()) -> None:
        """Add scenarios that were solved together, and plans scored elsewhere, in one go."""
        items = [("what_if", dumps(record)) for record in records]
        self._add(items + [("transfers", dumps(transfer)) for transfer in transfers])

    def add_steps(self, steps: Sequence[StepRecord]) -> None:
        """Add scenarios' steps in full, in one go."""
        self._add([("steps", dumps(step)) for step in steps])

    def set_environment(self, environment: Environment) -> None:
        """Replace what is known of the machine, when its roofs have been measured."""
        self._head["environment"] = environment
        self._write()

    def set_notes(self, notes: Mapping[str, Any]) -> None:
        """Add to the run's notes, or replace those of the same names."""
        self._head["notes"] = {**self._head["notes"], **notes}
        self._write()

    def finish(self) -> None:
        """Mark the run complete. The plan goes: only resuming needs it, and the paths in it are this machine's."""
        self._head["plan"] = None
        self._head["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()

    def _add(self, items: Sequence[tuple[str, str]]) -> None:
        """All of them or, with ValueError, none."""
        lines, before = [], {name: len(list_) for name, list_ in self._lists.items()}
        for name, item in items:
            lines.append(line(name, len(self._lists[name]), item))
            self._lists[name].append(item)
        new = sum(map(len, lines))
        whole = self._bytes + new <= WHOLE_BYTES or self._journal.bytes + new > JOURNAL_SHARE * self._bytes
        try:
            if whole:
                self._write()
            else:
                self._on_disk(lambda: self._journal.append(lines))
        except BaseException:
            for name, length in before.items():
                del self._lists[name][length:]
            raise

    def _write(self) -> None:
        """run.json with everything, and no journal."""
        self._bytes = self._on_disk(lambda: write_atomically(self.path, self._pieces()))
        self._on_disk(self._journal.clear)

    def _pieces(self) -> Iterator[str]:
        yield "{\n" + ",\n".join(f"{json.dumps(key)}: {dumps(value)}" for key, value in self._head.items())
        for key, items in self._lists.items():
            yield f',\n"{key}": ['
            for number, item in enumerate(items):
                yield f",\n{item}" if number else f"\n{item}"
            yield "\n]"
        yield "\n}\n"

    def _on_disk(self, write: Callable[[], T]) -> T:
        try:
            return write()
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
