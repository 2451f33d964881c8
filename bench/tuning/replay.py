"""A recorded study played again: every trial's result is looked up instead of measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ...kernels.tunable import Value
from ..records import TuningRecord, load_run, run_path
from ..records.codec import decode
from .outcome import Outcome, Result, key_of
from .task import StudyTask

# What a record has beside these was never tried.
_TRIED = frozenset(Outcome) - {Outcome.DUPLICATE, Outcome.LOST, Outcome.NOT_RECORDED}


def read_recorded(path: Path) -> list[TuningRecord]:
    """The tuning records of a run (its folder or run.json), or of a file with one record or a list of them.

    Raises ValueError for a file that has none.
    """
    file = run_path(path)
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: expected recorded tuning as JSON: {error}") from error
    if isinstance(table, dict) and "schema" in table:
        records = load_run(file).tuning
    else:
        entries = table if isinstance(table, list) else [table]
        records = [decode(TuningRecord, entry, f"{file}: tuning[{index}]") for index, entry in enumerate(entries)]
    if not records:
        raise ValueError(f"{file}: expected recorded tuning, got a run without any")
    return records


def recorded_choices(record: TuningRecord) -> dict[str, tuple[Value, ...]]:
    """Every parameter with the values that occur in the record, in their order there."""
    found: dict[str, dict[Value, None]] = {}
    for trial in record.trials:
        for name, value in trial["values"].items():
            found.setdefault(name, {})[value] = None
    return {name: tuple(values) for name, values in found.items()}


class ReplayEvaluator:
    """Looks results up in a record: those of trials, and for finals those of finalists where there are some."""

    def __init__(self, record: TuningRecord) -> None:
        self._trials = _by_key(record.trials)
        self._finals = {**self._trials, **_by_key(record.finalists)}
        self.configurations = [
            dict(trial["values"]) for trial in record.trials if key_of(trial["values"]) in self._trials
        ]

    @classmethod
    def from_task(cls, task: StudyTask) -> ReplayEvaluator:
        """The evaluator of the record that the task names as FILE#PLACE. Raises ValueError."""
        file, _, place = task.replay.rpartition("#")
        return cls(read_recorded(Path(file))[int(place)])

    ahead = 0

    def begin(self, values: Mapping[str, Value]) -> None:
        """Nothing needs to be prepared."""

    def evaluate(self, values: Mapping[str, Value]) -> Result:
        """The recorded result, or NOT_RECORDED."""
        return self._trials.get(key_of(values)) or Result(Outcome.NOT_RECORDED, "the record does not have it")

    def finals(self, candidates: Sequence[Mapping[str, Value]]) -> list[Result]:
        """The recorded finals, or the trials' results for those that were in none."""
        return [self._finals.get(key_of(values)) or self.evaluate(values) for values in candidates]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _by_key(entries: Sequence[Mapping[str, Any]]) -> dict[str, Result]:
    return {
        key_of(entry["values"]): Result.from_dict(entry) for entry in entries if Outcome(entry["outcome"]) in _TRIED
    }
