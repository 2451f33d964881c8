"""A question on a device: uploaded once, and put to any number of layers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ...dispatch import DispatchPlan, make_plan, on_device
from ...reference import LayerSpec, Routing
from ..records.status import status_of
from .question import Question
from .result import Trusted


@dataclass(frozen=True)
class Placed:
    """x [T, H] and its dispatch plan, those of the call before, and what trusted layers say to the same x.

    Layers get copies of x and of the plan, so that what one of them overwrites is not asked of the next.
    """

    question: Question
    x: torch.Tensor
    plan: DispatchPlan
    earlier_x: torch.Tensor
    earlier_plan: DispatchPlan
    _said: dict[str, torch.Tensor | str] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.x.device

    def said_by(self, trusted: Trusted) -> torch.Tensor | str:
        """What a trusted layer makes of x, or why it cannot in one line; it runs once for a question."""
        if trusted.name not in self._said:
            try:
                y = trusted.layer(self.x.clone(), copied(self.plan))
                self._said[trusted.name] = y.clone()  # a layer may use its output's memory again
            except Exception as error:  # the candidate is not to blame
                self._said[trusted.name] = status_of(error)[1]
        return self._said[trusted.name]

    def turned(self, generator: np.random.Generator) -> Placed:
        """The question with the combine weights of random tokens negated, and so its answers (`Question.turned`).

        What an earlier layer has left in memory does not answer it. x stays where it is; only the plan is made again.
        """
        question, signs = self.question.turned(generator)
        factors = torch.from_numpy(signs).to(self.device)[:, None]
        said = {name: y if isinstance(y, str) else y * factors.to(y) for name, y in self._said.items()}
        return replace(self, question=question, plan=_plan(question.routing, question.spec, self.device), _said=said)


def place(question: Question, device: torch.device | str) -> Placed:
    """Upload a question."""
    device = torch.device(device)
    return Placed(
        question=question,
        x=question.x.to(device),
        plan=_plan(question.routing, question.spec, device),
        earlier_x=question.earlier_x.to(device),
        earlier_plan=_plan(question.earlier_routing, question.spec, device),
    )


def copied(plan: DispatchPlan) -> DispatchPlan:
    """The same plan in memory of its own."""
    return replace(plan, **{name: value.clone() for name, value in vars(plan).items()})


def _plan(routing: Routing, spec: LayerSpec, device: torch.device) -> DispatchPlan:
    return make_plan(on_device(routing, device), spec)
