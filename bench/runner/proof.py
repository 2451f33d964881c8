"""Proving an implementation that others are then compared with, for cases too large for the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...kernels import Layer
from ...reference import ExpertWeights, LayerSpec
from ..gate import GateResult, check
from ..workloads import parse_routing

if TYPE_CHECKING:
    import torch

# Who may be trusted once proven, in the order they are asked; and on how many tokens they are checked whole.
PROOF_IMPLEMENTATIONS, PROOF_TOKENS = ("torch_loop", "torch_grouped_mm", "padded_bmm"), 64


def prove(
    layer: Layer, spec: LayerSpec, weights: ExpertWeights, dtype: torch.dtype, device: torch.device, seed: int = 0
) -> GateResult:
    """The layer checked on a uniform routing that is small enough for every element to be compared."""
    routing = parse_routing("uniform").routing(spec, PROOF_TOKENS, seed)
    return check(layer, spec, weights, routing, dtype=dtype, device=device)


def proven(result: GateResult) -> bool:
    """Whether that makes it one to compare others with."""
    return result.passed and result.whole
