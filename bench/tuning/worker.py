"""The worker process of a study: examines, predicts and measures configurations, one question after another.

First line of standard input: the study's task, the folder of its gate's questions, and how nice to be to others. Then
a question a line, {"do": "examine" | "predict" | "prepare" | "measure" | "finals", ...}, each answered with JSON lines
on standard output: begin (what is being done), and answer. The file named on the command line holds one byte, the place
of the configuration that is running among those of the question.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ...kernels.tunable import Value
from ..records.codec import dumps
from ..runner.process import CONTEXT_LOST, NOBODY, die_with_parent, event_output
from ..workloads import Case, routing_counts
from .outcome import Outcome, Result, key_of
from .predict import predicted_us
from .static import examine
from .task import StudyTask, load_tunable

if TYPE_CHECKING:
    from .candidate import Candidate
    from .measure import Bench


class TrialWorker:
    """One study's worker: everything but the configuration stays from trial to trial."""

    def __init__(self, task: StudyTask, questions: Path, output: TextIO, marker: Any) -> None:
        self._task, self._questions, self._output, self._marker = task, questions, output, marker
        self._tunable = load_tunable(task.implementation)
        self._resources: dict[str, tuple[dict[str, Any], ...]] = {}
        self._loads: list[tuple[str, Any]] = []  # name and rows per expert of every routing, drawn once
        self._bench: Bench | None = None

    def answer(self, question: Mapping[str, Any]) -> None:
        """Do what is asked and say what came of it."""
        began = time.monotonic()
        do: Callable[..., dict[str, Any]] = getattr(self, f"_{question['do']}")
        found = do(**{name: value for name, value in question.items() if name != "do"})
        self._marker[0] = NOBODY
        self._emit(event="answer", seconds=time.monotonic() - began, **found)

    def _examine(self, values: dict[str, Value]) -> dict[str, Any]:
        """Rules and binaries; the current configuration is never pruned: it is what runs now."""
        current = key_of(self._task.current)
        self._marker[0] = 0
        try:
            if current not in self._resources:
                mine = examine(self._tunable, self._task.current, self._task.spec, self._task.dtype)
                self._resources[current] = mine.resources
            known = self._resources[current]
            verdict = examine(self._tunable, values, self._task.spec, self._task.dtype, known)
        except Exception as error:  # a compiler that cannot work here: where configurations run, they still can
            outcome = Outcome.CRASHED if self._task.mode == "predicted" else None
            line = (str(error).splitlines() or [""])[0]
            return {"outcome": outcome, "reason": f"not compiled: {type(error).__name__}: {line}", "resources": []}
        self._resources[key_of(values)] = verdict.resources
        spared = verdict.outcome is Outcome.PRUNED_STATIC and key_of(values) == current
        outcome = None if spared else verdict.outcome
        return {"outcome": outcome, "reason": verdict.reason, "resources": list(verdict.resources)}

    def _predict(self, values: dict[str, Value]) -> dict[str, Any]:
        assert self._task.machine is not None
        cases, worst = [], None
        if not self._loads:
            self._loads = [_load(case) for case in self._task.cases()]
        for routing, counts in self._loads:
            time_us, now_us = (self._predicted(configuration, counts) for configuration in (values, self._task.current))
            entry = {"routing": routing, "predicted_us": time_us, "current_us": now_us, "ratio": time_us / now_us}
            cases.append(entry)
            worst = max(worst or entry, entry, key=lambda one: one["ratio"])
        assert worst is not None
        result = Result(Outcome.COMPLETE, ratio=worst["ratio"], time_us=worst["predicted_us"], cases=cases)
        return {"result": result.to_dict()}

    def _predicted(self, values: Mapping[str, Value], counts: Any) -> float:
        assert self._task.machine is not None
        works = self._tunable.gemm_work(values, counts, self._task.spec, self._task.dtype)
        return predicted_us(works, self._resources[key_of(values)], values, self._task.machine)

    def _measure(self, values: dict[str, Value]) -> dict[str, Any]:
        """The configuration against the current one, in the same rounds."""
        (candidate,) = self._run([values], self._task.limits.seconds)
        return {"result": candidate.result().to_dict()}

    def _finals(self, candidates: list[dict[str, Value]], seconds: float) -> dict[str, Any]:
        """All candidates and the current configuration against each other."""
        return {"results": [one.result().to_dict() for one in self._run(candidates, seconds)]}

    def _prepare(self) -> dict[str, Any]:
        """Weights, cases and the current configuration. Imports torch, which predictions do not need."""
        from .measure import Bench

        self._emit(event="begin", what="preparing the current configuration")
        self._bench = Bench(
            self._task, self._tunable, self._marker, lambda what: self._emit(event="begin", what=what), self._questions
        )
        self._bench.prepare()
        if self._bench.unusable:
            self._emit(event="unusable", reason=f"the current configuration cannot be timed: {self._bench.unusable}")
        return {}

    def _run(self, configurations: Sequence[Mapping[str, Value]], seconds: float) -> list[Candidate]:
        from .candidate import Candidate
        from .cases import ContextLostError

        assert self._bench is not None  # asked to prepare first
        candidates = [Candidate(dict(values)) for values in configurations]
        try:
            self._bench.run(candidates, seconds)
        except ContextLostError as error:
            print(f"the CUDA context is lost: {error}", file=sys.stderr, flush=True)
            os._exit(CONTEXT_LOST)
        gc.collect()
        return candidates

    def _emit(self, **event: Any) -> None:
        self._output.write(dumps(event) + "\n")
        self._output.flush()


def _load(case: Case) -> tuple[str, Any]:
    return case.routing, routing_counts(case.workload.routing(case.spec, case.tokens, case.seed), case.spec.experts)


def main() -> None:
    """Read the setup, keep standard output for events alone, answer until there are no more questions."""
    die_with_parent()
    lines = iter(sys.stdin.readline, "")
    setup = json.loads(next(lines))
    os.nice(setup.get("nice", 0))
    task, questions = StudyTask.from_dict(setup["task"]), Path(setup["questions"])
    output = event_output()
    with Path(sys.argv[-1]).open("r+b") as file:
        worker = TrialWorker(task, questions, output, mmap.mmap(file.fileno(), 1))
        worker._emit(event="ready")
        for line in lines:
            worker.answer(json.loads(line))


if __name__ == "__main__":
    main()
