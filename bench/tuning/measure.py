"""Runs configurations on the device: prepares, checks and times them beside the current one. In the worker only."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ...dispatch import DispatchPlan, make_plan, on_device
from ...kernels import Layer, load
from ...kernels.tunable import Tunable, Value
from ...reference import ExpertWeights, Routing
from ..gate import Trusted, answer, context_error, make_current, pose
from ..records import Clocks, Samples, Status, status_of
from ..records.codec import plain
from ..runner.process import NOBODY
from ..runner.proof import PROOF_IMPLEMENTATIONS, prove, proven
from ..runner.stopwatch import GuardedTimer
from ..telemetry import clock_watch
from ..timing import (
    ClockLog,
    Failure,
    by_clocks,
    counted_pairs,
    held_back,
    make_timer,
    measure_interleaved,
    ratio_interval,
)
from ..workloads import Case
from .energy import EnergyMeter, meter_for
from .outcome import Outcome, Result, key_of
from .task import StudyTask

OUTCOMES = {
    Status.PASSED: Outcome.COMPLETE,
    Status.INCORRECT: Outcome.INCORRECT,
    Status.OUT_OF_MEMORY: Outcome.OUT_OF_MEMORY,
}
CURRENT = "current"


class ContextLostError(Exception):
    """The device's context is broken: this process cannot go on."""


@dataclass
class Candidate:
    """A configuration being tried: what became of it, and its figures case by case."""

    values: dict[str, Value]
    status: Status = Status.PASSED
    reason: str = ""
    cases: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, status: Status, reason: str) -> None:
        """It is out; the first reason stands."""
        if self.status is Status.PASSED:
            self.status, self.reason = status, reason

    def result(self) -> Result:
        """The result, from the case where it does worst against the current configuration."""
        if self.status is not Status.PASSED:
            return Result(OUTCOMES.get(self.status, Outcome.CRASHED), self.reason, cases=self.cases)
        worst = max(self.cases, key=lambda entry: entry["ratio"])
        energy = worst.get("energy_j")
        said = "; ".join(f"{entry['routing']}: {entry['held_back']}" for entry in self.cases if entry["held_back"])
        return Result(Outcome.COMPLETE, said, worst["ratio"], worst["time_us"], energy, cases=self.cases)


@dataclass(frozen=True)
class _Prepared:
    """A case on the device."""

    case: Case
    routing: Routing
    x: torch.Tensor
    plan: DispatchPlan


class Bench:
    """The cases of a study on its device, the current configuration prepared and checked.

    marker: its first item says which configuration is running (see `worker.py`);  say: told what is being done
    unusable: why the current configuration cannot be timed, or empty
    """

    def __init__(self, task: StudyTask, tunable: Tunable, marker: Any, say: Callable[[str], None]) -> None:
        self._task, self._tunable, self._marker, self._say = task, tunable, marker, say
        self._device, self._dtype = torch.device(task.device), getattr(torch, task.dtype)
        self._weights = ExpertWeights.random(task.spec, task.seed)
        self._timer = GuardedTimer(make_timer(task.device), self._raise_if_context_is_lost)
        self._meter: EnergyMeter | None = meter_for(task.device) if task.energy else None
        self._watch = clock_watch(self._device)
        self._cases: list[_Prepared] = []
        self._current: Layer | None = None
        self._trusted: Trusted | None = None
        self._proven = False
        self.unusable = ""

    def prepare(self) -> None:
        """The cases and the current configuration, which must pass the gate on every case."""
        make_current(self._device)
        for case in self._task.cases():
            inputs = case.inputs()
            plan = make_plan(on_device(inputs.routing, self._device), case.spec)
            x = torch.from_numpy(inputs.x).to(self._device, self._dtype)
            self._cases.append(_Prepared(case, inputs.routing, x, plan))
        current = Candidate(dict(self._task.current))
        self._current = self._prepared(current)
        for prepared in self._cases:
            self._checked(current, self._current, prepared)
        if current.status is not Status.PASSED:
            self.unusable = f"{current.status}: {current.reason}"

    def run(self, candidates: Sequence[Candidate], seconds: float) -> None:
        """Check and time all of them, interleaved with the current configuration: `seconds` a case, hot and again
        cold. What became of each is in it. Raises ContextLostError.
        """
        layers: dict[int, Layer] = {}
        for index, candidate in enumerate(candidates):
            with self._blaming(index):
                if key_of(candidate.values) == key_of(self._task.current):
                    layer = self._current
                else:
                    layer = self._prepared(candidate)
                if layer is not None:
                    layers[index] = layer
        for prepared in self._cases:
            checked = {i: self._check_one(candidates[i], i, layers[i], prepared) for i in layers}
            sound = {i: layers[i] for i in layers if candidates[i].status is Status.PASSED}
            self._time(candidates, sound, checked, prepared, seconds)
        layers.clear()
        gc.collect()

    def _prepared(self, candidate: Candidate) -> Layer | None:
        task = self._task
        try:
            return self._tunable.prepare_values(candidate.values, task.spec, self._weights, self._device, self._dtype)
        except Exception as error:  # whatever an implementation does becomes its trial's outcome
            candidate.fail(*status_of(error))
            self._raise_if_context_is_lost()
            return None

    def _check_one(self, candidate: Candidate, index: int, layer: Layer, prepared: _Prepared) -> str:
        with self._blaming(index):
            return self._checked(candidate, layer, prepared)

    def _checked(self, candidate: Candidate, layer: Layer | None, prepared: _Prepared) -> str:
        """Put it through the gate on fresh random numbers; what was checked, in words."""
        if layer is None or candidate.status is not Status.PASSED:
            return ""
        self._say(f"{prepared.case.tokens} tokens, {prepared.case.routing}: checking")
        question = pose(self._task.spec, self._weights, prepared.routing, self._dtype)
        result = answer(layer, question, self._device, None if question.tokens is None else self._proof())
        if not result.passed:
            candidate.fail(result.status, f"{prepared.case.routing}: {result.reason}")
            if result.status is Status.CRASHED:
                self._raise_if_context_is_lost()
        return result.checked

    def _proof(self) -> Trusted | None:
        """Another implementation, itself checked whole, for cases too large for the reference."""
        if not self._proven:
            self._proven, before = True, self._marker[0]
            self._marker[0] = NOBODY
            spec = self._task.spec
            for name in PROOF_IMPLEMENTATIONS:
                if load(name).supports(spec, self._dtype, self._device) is None:
                    layer = load(name).prepare(spec, self._weights, self._device, self._dtype)
                    result = prove(layer, spec, self._weights, self._dtype, self._device)
                    self._trusted = Trusted(name, layer, result) if proven(result) else None
                    break
            self._marker[0] = before
        return self._trusted

    def _time(
        self,
        candidates: Sequence[Candidate],
        layers: Mapping[int, Layer],
        checked: Mapping[int, str],
        prepared: _Prepared,
        seconds: float,
    ) -> None:
        """Times of the sound ones and of the current configuration, each entry with its ratio."""
        if not layers:
            return
        current = next((i for i in layers if layers[i] is self._current), None)
        calls = {str(i): self._marked(i, layer, prepared) for i, layer in layers.items()}
        if current is None:
            assert self._current is not None
            calls[CURRENT] = self._marked(NOBODY, self._current, prepared)
        reference = CURRENT if current is None else str(current)
        taken: dict[str, dict[str, Samples]] = {name: {} for name in calls}
        clocks = ClockLog(self._watch)
        for kind in ("hot", "cold") if self._task.decode else ("hot",):
            self._say(f"{prepared.case.tokens} tokens, {prepared.case.routing}: timing {kind}")
            running = {name: call for name, call in calls.items() if kind == "hot" or "hot" in taken[name]}
            for name, found in self._measured(running, kind, seconds, clocks).items():
                if isinstance(found, Samples):
                    taken[name][kind] = found
                elif name == CURRENT:
                    raise RuntimeError(f"the current configuration failed while it was timed: {found.reason}")
                else:
                    candidates[int(name)].fail(found.status, f"{prepared.case.routing}, {kind}: {found.reason}")
        counts = "cold" if self._task.decode else "hot"
        for index, layer in layers.items():
            candidate = candidates[index]
            if candidate.status is Status.PASSED:
                entry = _entry(taken[str(index)], taken[reference], counts)
                facts = {"routing": prepared.case.routing, "case": prepared.case.case_id, "checked": checked[index]}
                suspects = sum(by_clocks(samples) for samples in taken[str(index)].values())
                seen = clocks.summary(suspects)
                energy, said = self._energy(layer, prepared)
                found = {**facts, **entry, **_clock_facts("clocks", seen), **energy}
                candidate.cases.append({**found, "held_back": "; ".join(filter(None, (held_back(seen), said)))})

    def _measured(
        self, calls: Mapping[str, Callable[[], Any]], kind: str, seconds: float, clocks: ClockLog
    ) -> dict[str, Samples | Failure]:
        limits = self._task.limits
        try:
            return measure_interleaved(
                calls,
                timer=self._timer,
                cold=kind == "cold",
                seconds=seconds,
                min_samples=limits.min_samples,
                max_samples=limits.max_samples,
                warmup_seconds=min(0.1, seconds / 4),
                clocks=clocks,
            )
        finally:
            self._marker[0] = NOBODY

    def _energy(self, layer: Layer, prepared: _Prepared) -> tuple[dict[str, Any], str]:
        """Energy of a call in J with the clocks while it was replayed, and whether these were held back; nothing where
        none is asked for.
        """
        if self._meter is None:
            return {}, ""
        self._say(f"{prepared.case.tokens} tokens, {prepared.case.routing}: energy")
        clocks = ClockLog(self._watch)
        joules = self._meter.joules_per_call(lambda: layer(prepared.x, prepared.plan), clocks)
        seen = clocks.summary(0)
        said = f"energy: {held_back(seen)}" if held_back(seen) else ""
        return {"energy_j": joules, **_clock_facts("energy_clocks", seen)}, said

    def _marked(self, number: int, layer: Layer, prepared: _Prepared) -> Callable[[], Any]:
        marker, x, plan = self._marker, prepared.x, prepared.plan

        def call() -> Any:
            marker[0] = number
            return layer(x, plan)

        return call

    @contextmanager
    def _blaming(self, index: int) -> Iterator[None]:
        self._marker[0] = index
        yield
        self._marker[0] = NOBODY

    def _raise_if_context_is_lost(self) -> None:
        error = context_error(self._device)
        if error is not None:
            raise ContextLostError(error)


def _clock_facts(name: str, clocks: Clocks | None) -> dict[str, Any]:
    """The clocks as plain data; the rule, which is the same for all trials, stands in the study's notes."""
    if clocks is None:
        return {}
    return {name: {key: value for key, value in plain(clocks).items() if key != "rule"}}


def _entry(mine: Mapping[str, Samples], current: Mapping[str, Samples], counts: str) -> dict[str, Any]:
    """The figures of one case: times with their intervals, and the ratio of those that count with its own."""
    ratio = ratio_interval(*counted_pairs(mine[counts], current[counts]))
    times = {
        kind: {
            "median_us": samples.median_us,
            "low_us": samples.low_us,
            "high_us": samples.high_us,
            "samples": len(samples.samples_us),
            "suspects": len(samples.suspects),
            "method": samples.method,
            "stop": samples.stop,
        }
        for kind, samples in mine.items()
    }
    return {
        **times,
        "counts": counts,
        "time_us": mine[counts].median_us,
        "current_us": current[counts].median_us,
        "ratio": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
    }
