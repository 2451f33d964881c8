"""Proving implementations that others are then compared with, for cases too large for the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...kernels import Layer
from ...reference import ExpertWeights, LayerSpec
from ..gate import GateResult, Placed, answer, place, pose
from ..workloads import parse_routing

if TYPE_CHECKING:
    import torch

# Who may be trusted once proven, in the order they are asked; and on how many tokens they are checked whole.
PROOF_IMPLEMENTATIONS, PROOF_TOKENS = ("torch_loop", "torch_grouped_mm", "padded_bmm"), 64


@dataclass
class Proofs:
    """Layers with these weights, checked on a uniform routing that is small enough for every element to be compared.

    The question is posed when the first layer is to be proven, and put to all of them.
    """

    spec: LayerSpec
    weights: ExpertWeights
    dtype: torch.dtype
    device: torch.device
    seed: int = 0
    _asked: Placed | None = field(default=None, init=False)

    def prove(self, layer: Layer) -> GateResult:
        """The gate's verdict on a layer prepared from the weights."""
        if self._asked is None:
            routing = parse_routing("uniform").routing(self.spec, PROOF_TOKENS, self.seed)
            self._asked = place(pose(self.spec, self.weights, routing, self.dtype), self.device)
        return answer(layer, self._asked)


def proven(result: GateResult) -> bool:
    """Whether that makes it one to compare others with."""
    return result.passed and result.whole
