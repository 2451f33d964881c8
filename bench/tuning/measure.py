"""Runs configurations on the device: checked and timed beside the current one. In the worker only."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...kernels import Layer
from ...kernels.tunable import Tunable
from ..records import Samples, Status
from ..runner.process import NOBODY
from ..runner.stopwatch import GuardedTimer
from ..telemetry import clock_watch
from ..timing import ClockLog, Failure, by_clocks, held_back, make_timer, measure_interleaved
from .candidate import Candidate, clock_facts, figures
from .cases import PreparedCase, StudyCases
from .energy import EnergyMeter, meter_for
from .outcome import key_of
from .task import StudyTask

CURRENT = "current"


class Bench:
    """A study's cases on its device, the current configuration prepared and checked.

    marker: its first item says which configuration is running (see `worker.py`);  say: told what is being done
    questions: see `StudyCases`;  unusable: why the current configuration cannot be timed, or empty
    """

    def __init__(
        self, task: StudyTask, tunable: Tunable, marker: Any, say: Callable[[str], None], questions: Path
    ) -> None:
        self._task, self._marker, self._say = task, marker, say
        self._cases = StudyCases(task, tunable, marker, say, questions)
        self._timer = GuardedTimer(make_timer(task.device), self._cases.raise_if_context_is_lost)
        self._meter: EnergyMeter | None = meter_for(task.device) if task.energy else None
        self._watch = clock_watch(task.device)
        self._current: Layer | None = None
        self.unusable = ""

    def prepare(self) -> None:
        """The cases and the current configuration, which must pass the gate on every case."""
        self._cases.draw()
        current = Candidate(dict(self._task.current))
        self._current = self._cases.prepare(current)
        for case in self._cases.all:
            self._cases.check(current, self._current, case)
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
                    layer = self._cases.prepare(candidate)
                if layer is not None:
                    layers[index] = layer
        for case in self._cases.all:
            checked = {i: self._check_one(candidates[i], i, layers[i], case) for i in layers}
            sound = {i: layers[i] for i in layers if candidates[i].status is Status.PASSED}
            self._time(candidates, sound, checked, case, seconds)
        layers.clear()
        gc.collect()

    def _check_one(self, candidate: Candidate, index: int, layer: Layer, case: PreparedCase) -> str:
        with self._blaming(index):
            return self._cases.check(candidate, layer, case)

    def _time(
        self,
        candidates: Sequence[Candidate],
        layers: Mapping[int, Layer],
        checked: Mapping[int, str],
        case: PreparedCase,
        seconds: float,
    ) -> None:
        """Times of the sound ones and of the current configuration, each entry with its ratio."""
        if not layers:
            return
        current = next((i for i in layers if layers[i] is self._current), None)
        calls = {str(i): self._marked(i, layer, case) for i, layer in layers.items()}
        if current is None:
            assert self._current is not None
            calls[CURRENT] = self._marked(NOBODY, self._current, case)
        reference = CURRENT if current is None else str(current)
        taken: dict[str, dict[str, Samples]] = {name: {} for name in calls}
        clocks = ClockLog(self._watch)
        for kind in ("hot", "cold") if self._task.decode else ("hot",):
            self._say(f"{case.title}: timing {kind}")
            running = {name: call for name, call in calls.items() if kind == "hot" or "hot" in taken[name]}
            for name, found in self._measured(running, kind, seconds, clocks).items():
                if isinstance(found, Samples):
                    taken[name][kind] = found
                elif name == CURRENT:
                    raise RuntimeError(f"the current configuration failed while it was timed: {found.reason}")
                else:
                    candidates[int(name)].fail(found.status, f"{case.case.routing}, {kind}: {found.reason}")
        counts = "cold" if self._task.decode else "hot"
        for index, layer in layers.items():
            candidate = candidates[index]
            if candidate.status is Status.PASSED:
                entry = figures(taken[str(index)], taken[reference], counts)
                facts = {"routing": case.case.routing, "case": case.case.case_id, "checked": checked[index]}
                suspects = sum(by_clocks(samples) for samples in taken[str(index)].values())
                seen = clocks.summary(suspects)
                energy, said = self._energy(layer, case)
                found = {**facts, **entry, **clock_facts("clocks", seen), **energy}
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

    def _energy(self, layer: Layer, case: PreparedCase) -> tuple[dict[str, Any], str]:
        """Energy of a call in J with the clocks while it was replayed, and whether these were held back; nothing where
        none is asked for.
        """
        if self._meter is None:
            return {}, ""
        self._say(f"{case.title}: energy")
        clocks = ClockLog(self._watch)
        joules = self._meter.joules_per_call(lambda: layer(case.x, case.plan), clocks)
        seen = clocks.summary(0)
        said = f"energy: {held_back(seen)}" if held_back(seen) else ""
        return {"energy_j": joules, **clock_facts("energy_clocks", seen)}, said

    def _marked(self, number: int, layer: Layer, case: PreparedCase) -> Callable[[], Any]:
        marker, x, plan = self._marker, case.x, case.plan

        def call() -> Any:
            marker[0] = number
            return layer(x, plan)

        return call

    @contextmanager
    def _blaming(self, index: int) -> Iterator[None]:
        self._marker[0] = index
        yield
        self._marker[0] = NOBODY
