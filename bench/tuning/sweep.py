"""A study without Optuna: the combinations of its choices in a random order, kept in a file of JSON lines.

For machines where only what measures is installed. One process works on it; a killed one loses the trial it was at.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...kernels.tunable import Tunable, Value
from .board import Board, Claim
from .outcome import STATES, Result, key_of, without_idle
from .presence import me
from .task import StudyTask

SWEEP = "sweep:"
SAMPLER = "sweep"
# Most combinations of a large space break a rule of the kernels: so many are looked at for those that do not.
_LOOKED_AT = 200_000


def sweep_in(folder: Path) -> str:
    """The storage of a run that sweeps."""
    return f"{SWEEP}{(folder / 'sweep.jsonl').absolute()}"


def open_board(task: StudyTask, tunable: Tunable, url: str) -> Board:
    """The study of a task in its storage: swept, or Optuna's. Raises ValueError when it cannot be opened."""
    if url.startswith(SWEEP):
        return SweepBoard(task, tunable, Path(url.removeprefix(SWEEP)))
    return Board(task, tunable, url)


@dataclass(frozen=True)
class State:
    """A state by Optuna's name for it."""

    name: str


@dataclass
class SweepTrial:
    """What `Board` needs of one of Optuna's trials."""

    number: int
    params: dict[str, Value]
    state: State = State("RUNNING")
    user_attrs: dict[str, Any] = field(default_factory=dict)
    datetime_start: datetime | None = None

    def set_user_attr(self, name: str, value: Any) -> None:
        """Keep something with the trial."""
        self.user_attrs[name] = value


class SweepStudy:
    """What `Board` needs of an Optuna study: trials and facts, every change appended to the file."""

    def __init__(self, path: Path, name: str) -> None:
        """Read what the file has of the study called `name`. Raises ValueError for a file that is none."""
        self._path, self._name = path, name
        self.user_attrs: dict[str, Any] = {}
        self._trials: dict[int, SweepTrial] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            if entry["study"] != self._name:
                return
            if "fact" in entry:
                self.user_attrs[entry["fact"]] = entry["value"]
                return
            started = datetime.fromisoformat(entry["started"])
            trial = SweepTrial(entry["number"], entry["params"], State(entry["state"]), entry["attributes"], started)
        except json.JSONDecodeError:  # the last line of a process that was killed at it
            return
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self._path}: expected the trials of a sweep, got {line[:60]!r}") from error
        self._trials[trial.number] = trial

    def get_trials(self, deepcopy: bool = False) -> list[SweepTrial]:
        """Every trial; `deepcopy` is there for its name alone."""
        del deepcopy
        return list(self._trials.values())

    def add(self, params: dict[str, Value], facts: Mapping[str, Any]) -> SweepTrial:
        """A new trial that is running."""
        number = 1 + max(self._trials, default=-1)
        trial = SweepTrial(number, params, user_attrs=dict(facts), datetime_start=datetime.now(UTC))
        self._trials[number] = trial
        return trial

    def forget(self, number: int) -> None:
        """A trial that has not ended, and will not."""
        del self._trials[number]

    def tell(self, number: int, state: str) -> None:
        """A trial has ended: it goes to the file."""
        trial = self._trials[number]
        trial.state = State(state)
        assert trial.datetime_start is not None
        started = trial.datetime_start.isoformat()
        entry = {"number": number, "params": trial.params, "state": state, "started": started}
        self._append({**entry, "attributes": trial.user_attrs})

    def set_user_attr(self, name: str, value: Any) -> None:
        """Keep something beside the trials."""
        self.user_attrs[name] = value
        self._append({"fact": name, "value": value})

    def _append(self, entry: Mapping[str, Any]) -> None:
        # A line cut short by a kill must not swallow the next one.
        with self._path.open("a+b") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps({"study": self._name, **entry}).encode() + b"\n")


class SweepBoard(Board):
    """The board of one process whose suggestions are valid combinations not tried before, in an order of the seed's."""

    def __init__(self, task: StudyTask, tunable: Tunable, path: Path) -> None:
        """Open the study in the file at `path`, or begin it. Raises ValueError."""
        self._task, self._tunable, self._me = task, tunable, me()
        self._study = SweepStudy(path, task.name)
        self._order = self._combinations()
        self._next: dict[str, Value] | None = None

    def exhausted(self) -> bool:
        """Whether there is no valid combination left that has not been tried."""
        if self._next is None:
            self._next = next(self._order, None)
        return self._next is None

    def _begin(
        self, values: Mapping[str, Value] | None, origin: str, spread: bool
    ) -> tuple[Any, int, dict[str, Value]]:
        del spread  # every order is as spread as any other
        if values is None:
            if self.exhausted():
                raise ValueError("expected a combination that has not been tried, got none left")
            assert self._next is not None
            values, self._next = self._next, None
        facts = {"worker": self._me, "origin": origin, "beat": time.time(), "params": key_of(values)}
        trial = self._study.add(dict(values), facts)
        return trial, trial.number, dict(values)

    def give_back(self, claim: Claim) -> None:
        """See `Board.give_back`: a trial that is not in the file has not been."""
        self._study.forget(claim.number)

    def _tell(self, number: int, state: str, result: Result) -> None:
        del result  # it stands in the trial's attributes
        self._study.tell(number, state)

    def _finish(self, trial: Any, result: Result) -> None:
        """Finish a trial of another process's, which is in the file only when it has ended."""
        self._study.tell(trial.number, STATES[result.outcome])

    def _combinations(self) -> Iterator[dict[str, Value]]:
        choices = self._task.choices
        total = 1
        for values in choices.values():
            total *= len(values)
        known = {str(trial.user_attrs.get("key")) for trial in self.trials()}
        for index in random.Random(self._task.seed).sample(range(total), min(total, _LOOKED_AT)):
            one = _combination(choices, index)
            canonical, rule = without_idle(self._tunable, one, self._task.spec, self._task.dtype)
            key = key_of(canonical)
            if rule is None and key not in known:
                known |= {key}
                yield canonical


def _combination(choices: Mapping[str, tuple[Value, ...]], index: int) -> dict[str, Value]:
    """Combination number `index`, the last parameter counting fastest."""
    found: dict[str, Value] = {}
    for name, values in reversed(list(choices.items())):
        index, place = divmod(index, len(values))
        found[name] = values[place]
    return {name: found[name] for name in choices}
