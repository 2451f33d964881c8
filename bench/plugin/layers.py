"""Implementations of the layer made ready for a suite: prepared once, and judged by the gate before they are timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from ...dispatch import DispatchPlan, make_plan, on_device
from ...kernels import Layer
from ...reference import ExpertWeights, LayerSpec, expert_flops
from ..gate import GateResult, Trusted, answer, context_error, make_current, place, pose
from ..peers import CONTESTANTS
from ..records import status_of
from ..runner.proof import PROOF_IMPLEMENTATIONS, Proofs, proven
from ..runner.stand_ins import stood_in
from ..runner.uploads import uploaded
from ..workloads import Case, Inputs, routing_counts


class LayerBench:
    """The layers of one spec at a time on one device in one dtype, and what the gate says of them.

    Cases come ordered by spec: the weights of one are let go when the next is asked for. What belongs to a single case
    (its inputs, its phases) is kept until the next case.
    """

    def __init__(self, device: str, dtype: str, seed: int = 0) -> None:
        self._device, self._dtype, self._seed = torch.device(device), getattr(torch, dtype), seed
        make_current(self._device)
        self._spec: LayerSpec | None = None
        self._weights: ExpertWeights | None = None
        self._uploaded: ExpertWeights | None = None
        self._proofs: Proofs | None = None
        self._layers: dict[str, Layer | GateResult] = {}
        self._trusted: dict[str, Trusted | None] = {}
        self._verdicts: dict[tuple[str, str], GateResult] = {}
        self._case = ""
        self._inputs: Inputs | None = None
        self._placed: tuple[torch.Tensor, DispatchPlan] | None = None
        self._phases: dict[str, dict[str, Callable[[], Any]]] = {}

    def unsupported(self, spec: LayerSpec, name: str) -> str | None:
        """None, or the reason why this implementation has no time for this spec here."""
        reason = CONTESTANTS[name].supports(spec, self._dtype, self._device)
        if reason is None and self._device.type == "cpu":
            reason = stood_in(name)
        return reason

    def verdicts(self, case: Case, names: Sequence[str]) -> dict[str, GateResult]:
        """What the gate says of each implementation that supports the case, asked once for all of them."""
        names = [name for name in names if self.unsupported(case.spec, name) is None]
        missing = [name for name in names if (case.case_id, name) not in self._verdicts]
        if missing:
            self._judge(case, missing)
        return {name: self._verdicts[case.case_id, name] for name in names}

    def mistake(self, case: Case, name: str, names: Sequence[str]) -> str | None:
        """What the gate has against one of the implementations `names`, in one line, or None."""
        verdict = self.verdicts(case, names)[name]
        return None if verdict.passed else f"{verdict.status}: {verdict.reason}"

    def call(self, case: Case, name: str) -> Callable[[], Any]:
        """The whole layer as a call without arguments. Raises ValueError unless it has passed the gate."""
        x, plan = self._turn_to(case)
        layer = self._passed(case, name)
        return lambda: layer(x, plan)

    def phase(self, case: Case, name: str, phase: str) -> Callable[[], Any] | None:
        """One phase, ready to be repeated; None where the implementation has no such phase of its own. Raises
        ValueError unless the layer has passed the gate.
        """
        x, plan = self._turn_to(case)
        if name not in self._phases:
            phases = dict(self._passed(case, name).phases(x, plan))
            for part in phases.values():
                part()  # leaves what the next one starts from
            self._phases[name] = phases
        return self._phases[name].get(phase)

    def flops(self, case: Case) -> int:
        """What the mathematics needs for this case."""
        return int(expert_flops(routing_counts(self._drawn(case).routing, case.spec.experts), case.spec).sum())

    def _judge(self, case: Case, names: Sequence[str]) -> None:
        x, _ = self._turn_to(case)
        assert self._weights is not None
        question = pose(case.spec, self._weights, self._drawn(case).routing, x.dtype)
        asked = place(question, self._device)
        for name in names:
            layer = self._layer(name)
            if not isinstance(layer, GateResult):
                proof = None if question.tokens is None else self._prove(name)
                layer = answer(layer, asked, proof)
            self._verdicts[case.case_id, name] = layer
            if not layer.passed:
                _end_if_context_is_lost(self._device, name)
                asked = place(question, self._device)  # a wrong layer may have written where it should not

    def _prove(self, candidate: str) -> Trusted | None:
        """Another implementation, checked whole on a small case, for cases too large for the reference."""
        spec, proofs = self._spec, self._proofs
        assert spec is not None
        assert proofs is not None
        names = (name for name in PROOF_IMPLEMENTATIONS if name != candidate and self.unsupported(spec, name) is None)
        name = next(names, None)
        if name is None:
            return None
        if name not in self._trusted:
            layer = self._layer(name)
            if isinstance(layer, GateResult):
                return None
            result = proofs.prove(layer)
            self._trusted[name] = Trusted(name, layer, result) if proven(result) else None
        return self._trusted[name]

    def _layer(self, name: str) -> Layer | GateResult:
        """The prepared layer, or why it could not be prepared."""
        if name not in self._layers:
            assert self._spec is not None
            assert self._uploaded is not None
            try:
                made = CONTESTANTS[name].prepare(self._spec, self._uploaded, self._device, self._dtype)
            except Exception as error:  # one implementation's failure is its own
                made = GateResult(*status_of(error))
            self._layers[name] = made
        return self._layers[name]

    def _passed(self, case: Case, name: str) -> Layer:
        layer = self._layer(name)
        verdict = self.verdicts(case, [name]).get(name)
        if isinstance(layer, GateResult) or verdict is None or not verdict.passed:
            raise ValueError(
                f"{name}: expected an implementation that passed the gate for {case.case_id}, got {verdict}"
            )
        return layer

    def _turn_to(self, case: Case) -> tuple[torch.Tensor, DispatchPlan]:
        """The inputs of a case on the device: x [T, H] and the dispatch plan."""
        if case.spec != self._spec:
            self._layers, self._trusted = {}, {}
            self._weights = self._uploaded = self._proofs = None
            self._spec, self._weights = case.spec, ExpertWeights.random(case.spec, self._seed)
            self._uploaded = uploaded(self._weights, case.spec, self._device, self._dtype)
            self._proofs = Proofs(case.spec, self._weights, self._dtype, self._device, self._seed)
        inputs = self._drawn(case)
        if self._placed is None:
            x = torch.from_numpy(inputs.x).to(self._device, self._dtype)
            self._placed = x, make_plan(on_device(inputs.routing, self._device), case.spec)
        return self._placed

    def _drawn(self, case: Case) -> Inputs:
        """Hidden states and routing; what belonged to another case is let go."""
        if self._inputs is None or self._case != case.case_id:
            self._inputs, self._placed, self._phases = None, None, {}
            self._inputs, self._case = case.inputs(), case.case_id
        return self._inputs


def _end_if_context_is_lost(device: torch.device, name: str) -> None:
    """End the session when an error has broken the CUDA context: everything after it would fail in the same way."""
    error = context_error(device)
    if error is not None:
        pytest.exit(f"{name} has broken the CUDA context: {error}", returncode=3)
