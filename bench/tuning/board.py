"""A study in its storage, shared by processes that may be killed at any moment: who tries what, and what came of it.

Every trial carries, as user attributes: `worker` (the process), `key` (the configuration, `values` the same to read),
`origin` (why it is tried), `beat`, and when it has ended `result`, `reason` and `outcome`. Two rules make processes
agree without a lock, whatever the storage:

- trial numbers are given once each. Of two trials with the same configuration the lower number tries it. Before a
  process tries one it waits until all lower numbers that still run have said theirs.
- a trial whose process is dead is finished by whoever sees it: with its result where that was written, else as LOST,
  and a lost configuration is free again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...kernels.tunable import Tunable, Value
from .outcome import COUNTED, STATES, Outcome, Result, key_of, without_idle
from .presence import Beating, alive, me
from .storage import open_storage, optuna, quiet
from .task import StudyTask

_SILENT_S = 30.0  # how long a trial may not have said what it tries; that takes milliseconds
_LOOK_S = 0.05
# A failed trial whose other worker is still at it: nothing is known to tell the sampler.
_UNKNOWN = "FAIL"


class Claim:
    """A trial that this process is to try: its number, its values, and `beating()` while it does."""

    def __init__(self, trial: Any, number: int, values: Mapping[str, Value]) -> None:
        self._trial, self.number, self.values = trial, number, dict(values)

    def beating(self) -> Beating:
        """Tell other machines, as long as the block runs, that this trial is being tried."""
        return Beating(lambda: self._trial.set_user_attr("beat", time.time()))


class Board:
    """One study, opened in its storage or made there. Raises ValueError when it cannot be."""

    def __init__(self, task: StudyTask, tunable: Tunable, url: str) -> None:
        self._task, self._tunable = task, tunable
        self._optuna = optuna()
        storage = open_storage(url)
        directions = ["minimize"] * (2 if task.energy else 1)
        with quiet():
            # Told through a study of its own: the grid sampler wants to stop an optimisation when its grid is told.
            plain = self._optuna.samplers.RandomSampler(seed=task.seed)
            self._study = self._optuna.create_study(
                storage=storage, study_name=task.name, directions=directions, load_if_exists=True, sampler=plain
            )
            self._spread = self._optuna.load_study(storage=storage, study_name=task.name, sampler=plain)
            seed = task.seed + 7919 * (1 + len(self.trials()))  # a second process, or a second run, suggests others
            self._asked = self._optuna.load_study(storage=storage, study_name=task.name, sampler=self._sampler(seed))
            self._spread.sampler = self._optuna.samplers.RandomSampler(seed=seed)
        categorical = self._optuna.distributions.CategoricalDistribution
        self._distributions = {name: categorical(values) for name, values in task.choices.items()}
        self._me = me()

    @property
    def study(self) -> Any:
        """The Optuna study, for what reads it."""
        return self._study

    def trials(self) -> list[Any]:
        """Every trial, by number; Optuna's own."""
        return sorted(self._study.get_trials(deepcopy=False), key=lambda trial: trial.number)

    def results(self) -> dict[int, tuple[dict[str, Value], Result]]:
        """The values and the result of every trial that has ended, by number."""
        return {trial.number: (_values(trial), result) for trial in self.trials() if (result := _result(trial))}

    def running(self) -> bool:
        """Whether somebody is trying something."""
        return any(_running(trial) for trial in self.trials())

    def counted(self) -> int:
        """How many trials have been tried or are being tried, of those that count."""
        trials = self.trials()
        running = sum(1 for trial in trials if _running(trial) and "key" in trial.user_attrs)
        return running + sum(1 for trial in trials if (r := _result(trial)) and r.outcome in COUNTED)

    def exhausted(self) -> bool:
        """Whether every combination of the choices has been suggested."""
        total = 1
        for values in self._task.choices.values():
            total *= len(values)
        return total <= len({trial.user_attrs["params"] for trial in self.trials() if "params" in trial.user_attrs})

    def taken(self) -> set[str]:
        """The keys of the configurations that have been tried or are being tried."""
        return {str(trial.user_attrs.get("key")) for trial in self.trials() if _holds(trial)}

    def recover(self) -> list[dict[str, Value]]:
        """Finish the trials of dead processes; the configurations that are lost and that nobody has taken up again."""
        for trial in self.trials():
            if _running(trial) and not self._tried(trial):
                self._finish(trial, _written(trial) or Result(Outcome.LOST, "its process was killed"))
        ended, taken = self.trials(), self.taken()
        lost = {
            trial.user_attrs["key"]: _values(trial) for trial in ended if _lost(trial) and "key" in trial.user_attrs
        }
        return [values for key, values in lost.items() if key not in taken]

    def claim(
        self, values: Mapping[str, Value] | None = None, origin: str = "sampler", *, spread: bool = False
    ) -> Claim | Result:
        """A trial of these values, or of what the sampler suggests (a random one with `spread`).

        Gives the result instead, already told, when there is nothing to try: an invalid configuration, or that of an
        earlier trial.
        """
        trial, number, suggested = self._begin(values, origin, spread)
        canonical, rule = without_idle(self._tunable, suggested, self._task.spec, self._task.dtype)
        key = key_of(canonical)
        trial.set_user_attr("values", canonical)
        trial.set_user_attr("key", key)
        if rule is not None:
            return self.finish(Claim(trial, number, canonical), Result(Outcome.INVALID, rule))
        earlier = self._earlier(number, key)
        claim = Claim(trial, number, canonical)
        if earlier is None:
            return claim
        return self._repeat(claim, earlier)

    def finish(self, claim: Claim, result: Result) -> Result:
        """Write what a trial found, whole, before it is told: a kill between the two loses nothing."""
        _write(claim._trial, result)
        self._tell(claim.number, STATES[result.outcome], result)
        return result

    def give_back(self, claim: Claim) -> None:
        """Leave a configuration that was claimed and not tried to whoever goes on with the study."""
        self.finish(claim, Result(Outcome.LOST, "claimed beforehand, and the study ended before its turn"))

    def note(self, name: str, value: Any) -> None:
        """Keep something beside the trials, as plain JSON types."""
        self._study.set_user_attr(name, value)

    def noted(self, name: str) -> Any:
        """What `note` kept under this name, or None."""
        return self._study.user_attrs.get(name)

    def _begin(
        self, values: Mapping[str, Value] | None, origin: str, spread: bool
    ) -> tuple[Any, int, dict[str, Value]]:
        facts = {"worker": self._me, "origin": origin, "beat": time.time()}
        with quiet():
            if values is None:
                trial = (self._spread if spread else self._asked).ask()
                for name, value in facts.items():
                    trial.set_user_attr(name, value)
                suggested = {
                    name: trial.suggest_categorical(name, kind.choices) for name, kind in self._distributions.items()
                }
                trial.set_user_attr("params", key_of(suggested))
                return trial, trial.number, suggested
            # Made running at once: a waiting trial could be taken by two processes.
            token = uuid.uuid4().hex
            params = {name: values.get(name, kind.choices[0]) for name, kind in self._distributions.items()}
            params = {name: value for name, value in params.items() if value in self._distributions[name].choices}
            state = self._optuna.trial.TrialState.RUNNING
            attributes = {**facts, "token": token, "params": key_of(params)}
            kinds = {name: self._distributions[name] for name in params}
            self._study.add_trial(
                self._optuna.trial.create_trial(state=state, params=params, distributions=kinds, user_attrs=attributes)
            )
        frozen = next(trial for trial in self.trials() if trial.user_attrs.get("token") == token)
        return self._optuna.trial.Trial(self._study, frozen._trial_id), frozen.number, dict(values)

    def _earlier(self, number: int, key: str) -> Any | None:
        """The trial of a lower number with this configuration, once all lower ones have said theirs."""
        first_seen: dict[int, float] = {}
        while True:
            lower = [trial for trial in self.trials() if trial.number < number]
            silent = [trial for trial in lower if _running(trial) and "key" not in trial.user_attrs]
            now = time.monotonic()
            waiting = []
            for trial in silent:
                since = first_seen.setdefault(trial.number, now)
                dead = "worker" in trial.user_attrs and not self._tried(trial)
                if not dead and now - since < _SILENT_S:
                    waiting.append(trial)
            if not waiting:
                return next((t for t in lower if t.user_attrs.get("key") == key and _holds(t)), None)
            time.sleep(_LOOK_S)

    def _repeat(self, claim: Claim, earlier: Any) -> Result:
        """Tell the sampler again what the configuration is worth, without trying it again."""
        known = _written(earlier)
        reason = f"the configuration of trial {earlier.number}"
        found = Result(Outcome.DUPLICATE, reason)
        if known is not None:
            found = replace(found, ratio=known.ratio, time_us=known.time_us, energy_j=known.energy_j)
        _write(claim._trial, found)
        self._tell(claim.number, _UNKNOWN if known is None else STATES.get(known.outcome, _UNKNOWN), found)
        return found

    def _tried(self, trial: Any) -> bool:
        """Whether the process of a running trial still runs. One that has not even named itself is given time."""
        worker = trial.user_attrs.get("worker")
        if worker is not None:
            return alive(worker, float(trial.user_attrs.get("beat", 0.0)))
        started = trial.datetime_start
        return started is not None and time.time() - started.timestamp() < _SILENT_S

    def _finish(self, trial: Any, result: Result) -> None:
        """Finish a dead process's trial; another may do so at the same time."""
        handle = self._optuna.trial.Trial(self._study, trial._trial_id)
        try:
            if _written(trial) is None:
                _write(handle, result)
            state = STATES.get(result.outcome, _UNKNOWN)
            self._tell(trial.number, state, result)
        except (self._optuna.exceptions.UpdateFinishedTrialError, ValueError, RuntimeError):
            return

    def _tell(self, number: int, state: str, result: Result) -> None:
        values = None
        if state == "COMPLETE":
            if result.ratio is None or (self._task.energy and result.energy_j is None):
                state = _UNKNOWN
            else:
                values = [result.ratio, result.energy_j] if self._task.energy else [result.ratio]
        with quiet():
            self._study.tell(number, values, state=self._optuna.trial.TrialState[state])

    def _sampler(self, seed: int) -> Any:
        samplers, choices = self._optuna.samplers, self._task.choices
        if self._task.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if self._task.sampler == "nsga2":
            return samplers.NSGAIISampler(seed=seed)
        if self._task.sampler == "grid":
            return samplers.GridSampler({name: list(values) for name, values in choices.items()}, seed=seed)
        # Several processes ask at once: those still running count as bad, so that not all try the same corner.
        return samplers.TPESampler(seed=seed, n_startup_trials=20, multivariate=True, group=False, constant_liar=True)


def _running(trial: Any) -> bool:
    return trial.state.name in ("RUNNING", "WAITING")


def _write(trial: Any, result: Result) -> None:
    trial.set_user_attr("result", result.to_dict())
    trial.set_user_attr("reason", result.reason)
    trial.set_user_attr("outcome", str(result.outcome))


def _written(trial: Any) -> Result | None:
    table = trial.user_attrs.get("result")
    return None if table is None else Result.from_dict(table)


def _result(trial: Any) -> Result | None:
    """The result of a trial that has ended; one that Optuna or a hand has ended otherwise was lost."""
    if _running(trial):
        return None
    return _written(trial) or Result(Outcome.LOST, "ended without a result")


def _holds(trial: Any) -> bool:
    """Whether this is the trial that tries, or has tried, its configuration."""
    found = _result(trial)
    return found is None or found.outcome not in (Outcome.LOST, Outcome.DUPLICATE)


def _lost(trial: Any) -> bool:
    found = _result(trial)
    return found is not None and found.outcome is Outcome.LOST


def _values(trial: Any) -> dict[str, Value]:
    return dict(trial.user_attrs.get("values") or trial.params)
