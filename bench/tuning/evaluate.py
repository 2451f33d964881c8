"""What a configuration is worth: asked of a worker process that is replaced when a configuration takes it down."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, Self, TypeVar

from ...kernels.tunable import Value
from ..runner.lock import device_lock
from ..runner.process import START_SILENCE, Children, Event, How
from .ahead import Examiners
from .outcome import Outcome, Result
from .process import WORKER, DownError, TrialProcess, UnusableError
from .task import StudyTask

OnEvent = Callable[[Event], None]
T = TypeVar("T")
_OUTCOME = {How.CRASHED: Outcome.CRASHED, How.TIMEOUT: Outcome.TIMEOUT, How.DONE: Outcome.CRASHED}
# What compiles ahead gives way to the process that times.
COMPILERS_NICE = 10
# Finalists are timed this many times longer than a trial.
FINAL_SECONDS = 4.0


class Evaluator(Protocol):
    """Finds results; used as a context manager. ahead: how many configurations it is worth to `begin` beforehand."""

    @property
    def ahead(self) -> int: ...

    def begin(self, values: Mapping[str, Value]) -> None:
        """A configuration that will be evaluated soon: what needs no device may be done now."""
        ...

    def evaluate(self, values: Mapping[str, Value]) -> Result:
        """What one configuration is worth. Raises UnusableError when nothing can be found out."""
        ...

    def finals(self, candidates: Sequence[Mapping[str, Value]]) -> list[Result]:
        """What several are worth against each other, in the same order."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class WorkerEvaluator:
    """Evaluates in a worker process of its own, under the device's lock where something is timed.

    questions: the folder where workers keep the gate's questions
    compilers: processes that examine configurations before their turn; 0: the worker does it itself, in their turn
    """

    def __init__(
        self,
        task: StudyTask,
        on_event: OnEvent,
        questions: Path,
        *,
        lock: bool = True,
        command: Sequence[str] = WORKER,
        children: Children | None = None,
        compilers: int = 0,
    ) -> None:
        self._task, self._on_event, self._lock, self._command = task, on_event, lock, command
        self._setup = {"task": task.to_dict(), "questions": str(questions)}
        self._children = children or Children()
        self._process: TrialProcess | None = None
        self._prepared = False
        self._examiners = Examiners(compilers, self._compiler, self._examined)

    @property
    def ahead(self) -> int:
        """Twice as many as there are compilers, so that none is idle while one configuration takes long."""
        return 2 * self._examiners.count

    def begin(self, values: Mapping[str, Value]) -> None:
        """Compile it, where there are compilers."""
        if self._examiners.count:
            self._examiners.begin(values)

    def evaluate(self, values: Mapping[str, Value]) -> Result:
        """Rules and binaries first; only what nothing speaks against is run, or predicted."""
        began = time.monotonic()
        try:
            result = self._evaluated(dict(values))
        except DownError as down:
            result = _fallen(down)
        return replace(result, seconds=time.monotonic() - began)

    def _evaluated(self, values: dict[str, Value]) -> Result:
        if self._examiners.count:
            self._examiners.begin(values)
            if self._task.mode == "measured" and not self._prepared:
                self._timed(None, 0)  # what every trial needs is made ready while the first is compiled
            found = self._examiners.found(values)
        else:
            found = self._with_worker(lambda worker: self._examined(worker, values))
        if found.outcome is not Outcome.COMPLETE or self._task.mode == "predicted":
            return found
        answer = self._timed({"do": "measure", "values": values}, self._task.limits.timeout)
        return replace(Result.from_dict(answer["result"]), resources=found.resources)

    def _examined(self, worker: TrialProcess, values: dict[str, Value]) -> Result:
        """What rules, binaries and, without a GPU, the model say: COMPLETE where nothing speaks against running it."""
        seconds = self._task.limits.timeout
        examined = worker.ask({"do": "examine", "values": values}, seconds, self._on_event)
        found = [dict(entry) for entry in examined["resources"]]
        if examined["outcome"] is not None:
            return Result(Outcome(examined["outcome"]), examined["reason"], resources=found)
        if self._task.mode != "predicted":
            return Result(Outcome.COMPLETE, resources=found)
        answer = worker.ask({"do": "predict", "values": values}, seconds, self._on_event)
        return replace(Result.from_dict(answer["result"]), resources=found)

    def finals(self, candidates: Sequence[Mapping[str, Value]]) -> list[Result]:
        """All in one process, interleaved; one that takes the process down is out, and the others begin again."""
        if self._task.mode == "predicted":
            return [self.evaluate(values) for values in candidates]
        results: dict[int, Result] = {}
        while len(results) < len(candidates):
            left = [index for index in range(len(candidates)) if index not in results]
            question = {
                "do": "finals",
                "candidates": [dict(candidates[index]) for index in left],
                "seconds": self._task.limits.seconds * FINAL_SECONDS,
            }
            try:
                answer = self._timed(question, self._task.limits.timeout * (len(left) + FINAL_SECONDS))
            except DownError as down:
                if down.ending.marker >= len(left):
                    raise UnusableError(f"the worker was lost while nothing was running: {down}") from down
                results[left[down.ending.marker]] = _fallen(down)
                continue
            found = [Result.from_dict(table) for table in answer["results"]]
            results.update(zip(left, found, strict=True))
        return [results[index] for index in range(len(candidates))]

    def _timed(self, question: Event | None, seconds: float) -> Event:
        """The answer to a question that uses the device; None only makes the worker ready for one."""

        def say(text: str) -> None:
            self._on_event({"event": "begin", "what": text})

        self._running()  # starting one, which nobody times, needs no lock
        with device_lock(self._task.device, wait=self._lock, say=say):
            if not self._prepared:  # weights and the current configuration: no trial's time
                self._ask_to_prepare()
            if question is None:
                return {}
            return self._with_worker(lambda worker: worker.ask(question, seconds, self._on_event))

    def _ask_to_prepare(self) -> None:
        try:
            self._with_worker(lambda worker: worker.ask({"do": "prepare"}, START_SILENCE, self._on_event))
        except DownError as down:
            raise UnusableError(f"the current configuration cannot be prepared: {down}") from down
        self._prepared = True

    def _with_worker(self, ask: Callable[[TrialProcess], T]) -> T:
        try:
            return ask(self._running())
        except (DownError, UnusableError):
            self._drop()
            raise

    def _running(self) -> TrialProcess:
        if self._process is None:
            self._on_event({"event": "begin", "what": "starting a worker"})
            started = TrialProcess(self._setup, command=self._command, children=self._children)
            self._process = started.__enter__()
        return self._process

    def _compiler(self) -> TrialProcess:
        setup = {**self._setup, "nice": COMPILERS_NICE}
        return TrialProcess(setup, command=self._command, children=self._children)

    def _drop(self) -> None:
        process, self._process, self._prepared = self._process, None, False
        if process is not None:
            process.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()
        self._examiners.__exit__()


def _fallen(down: DownError) -> Result:
    """The result of a configuration that took its worker down. Raises KeyboardInterrupt when we ended it ourselves."""
    if down.ending.how is How.STOPPED:
        raise KeyboardInterrupt
    return Result(_OUTCOME[down.ending.how], down.ending.reason or "the worker ended")


def make_evaluator(
    task: StudyTask,
    on_event: OnEvent,
    questions: Path,
    *,
    lock: bool = True,
    children: Children | None = None,
    compilers: int = 0,
) -> Evaluator:
    """The evaluator of a task: worker processes (see `WorkerEvaluator`), or a recorded study."""
    if task.mode == "replayed":
        from .replay import ReplayEvaluator

        return ReplayEvaluator.from_task(task)
    return WorkerEvaluator(task, on_event, questions, lock=lock, children=children, compilers=compilers)
