"""The cases of a study on its device: what configurations are prepared from, and checked with. In the worker only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...dispatch import DispatchPlan, make_plan, on_device
from ...kernels import Layer, load
from ...kernels.tunable import Tunable
from ...reference import ExpertWeights, Routing
from ..gate import KeptQuestions, Placed, Question, Trusted, answer, context_error, make_current, place
from ..records import Status, status_of
from ..runner.process import NOBODY
from ..runner.proof import PROOF_IMPLEMENTATIONS, Proofs, proven
from ..runner.uploads import uploaded
from ..workloads import Case
from .candidate import Candidate
from .task import StudyTask


class ContextLostError(Exception):
    """The device's context is broken: this process cannot go on."""


@dataclass
class PreparedCase:
    """A case on the device: its own x and plan, which are timed, and the question of the gate.

    asked: None until it is asked, and again after a layer failed, which may have written where it should not
    """

    case: Case
    routing: Routing
    x: torch.Tensor
    plan: DispatchPlan
    question: Question | None = None
    asked: Placed | None = None

    @property
    def title(self) -> str:
        """The case in a few words."""
        return f"{self.case.tokens} tokens, {self.case.routing}"


class StudyCases:
    """Prepares configurations and puts them through the gate; weights, questions and proofs are made once.

    marker: its first item says which configuration is running (see `worker.py`);  say: told what is being done
    questions: the folder of questions that other processes have posed, or will read
    """

    def __init__(
        self, task: StudyTask, tunable: Tunable, marker: Any, say: Callable[[str], None], questions: Path
    ) -> None:
        self._task, self._tunable, self._marker, self._say = task, tunable, marker, say
        self._device, self._dtype = torch.device(task.device), getattr(torch, task.dtype)
        make_current(self._device)
        self._weights = ExpertWeights.random(task.spec, task.seed)
        self._uploaded: ExpertWeights | None = None
        self._questions = KeptQuestions(questions)
        self._generator = np.random.default_rng()
        self._proofs = Proofs(task.spec, self._weights, self._dtype, self._device)
        self._trusted: Trusted | None = None
        self._proven = False
        self.all: list[PreparedCase] = []

    def draw(self) -> None:
        """Draw routings and hidden states and put them on the device."""
        for case in self._task.cases():
            inputs = case.inputs()
            plan = make_plan(on_device(inputs.routing, self._device), case.spec)
            x = torch.from_numpy(inputs.x).to(self._device, self._dtype)
            self.all.append(PreparedCase(case, inputs.routing, x, plan))

    def prepare(self, candidate: Candidate) -> Layer | None:
        """The layer of a configuration; None where it cannot be prepared, and then the candidate has failed."""
        task = self._task
        if self._uploaded is None:
            self._uploaded = uploaded(self._weights, task.spec, self._device, self._dtype)
        try:
            return self._tunable.prepare_values(candidate.values, task.spec, self._uploaded, self._device, self._dtype)
        except Exception as error:  # whatever an implementation does becomes its trial's outcome
            self._fail(candidate, *status_of(error))
            return None

    def check(self, candidate: Candidate, layer: Layer | None, case: PreparedCase) -> str:
        """Put it through the gate; what was checked, in words.

        The numbers are drawn, and the reference asked, once for a study; every configuration gets them under signs of
        its own (`Placed.turned`), so that the answer of no earlier one is right.
        """
        if layer is None or candidate.status is not Status.PASSED:
            return ""
        self._say(f"{case.title}: checking")
        if case.question is None:
            case.question = self._questions.pose(
                self._task.spec, self._weights, case.routing, self._dtype, weights_seed=self._task.seed
            )
        proof = None if case.question.tokens is None else self._proof()
        asked = (case.asked or place(case.question, self._device)).turned(self._generator)
        result = answer(layer, asked, proof)
        case.asked = asked if result.passed else None
        if not result.passed:
            self._fail(candidate, result.status, f"{case.case.routing}: {result.reason}")
        return result.checked

    def raise_if_context_is_lost(self) -> None:
        """Raise ContextLostError where the device's context is broken."""
        error = context_error(self._device)
        if error is not None:
            raise ContextLostError(error)

    def _fail(self, candidate: Candidate, status: Status, reason: str) -> None:
        """A failed candidate may have overwritten anything on the device: what is shared there is uploaded again."""
        candidate.fail(status, reason)
        self._uploaded = None
        for case in self.all:
            case.asked = None
        if status is not Status.INCORRECT:
            self.raise_if_context_is_lost()

    def _proof(self) -> Trusted | None:
        """Another implementation, itself checked whole, for cases too large for the reference."""
        if not self._proven:
            self._proven, before = True, self._marker[0]
            self._marker[0] = NOBODY
            spec = self._task.spec
            for name in PROOF_IMPLEMENTATIONS:
                if load(name).supports(spec, self._dtype, self._device) is None:
                    layer = load(name).prepare(spec, self._weights, self._device, self._dtype)
                    result = self._proofs.prove(layer)
                    self._trusted = Trusted(name, layer, result) if proven(result) else None
                    break
            self._marker[0] = before
        return self._trusted
