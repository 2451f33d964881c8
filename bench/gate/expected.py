"""What the reference says: float64, on the numbers that dtype leaves, for all tokens or a sample of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...kernels.packing import as_tensor
from ...reference import DenseExpert, ExpertWeights, LayerSpec, Routing, expert_ffn
from ..workloads import routing_counts

# About one to two seconds of NumPy float64 on two CPU cores (47 GFLOP/s measured, some of it for tanh).
REFERENCE_FLOPS = 3e10
SAMPLED_TOKENS = 32


@dataclass(frozen=True)
class Rounded:
    """A matrix whose numbers are rounded to `dtype` whenever NumPy asks for them, so that no rounded copy is kept."""

    matrix: Any
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The matrix's shape."""
        return tuple(self.matrix.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The rounded numbers, float64 unless asked otherwise; always a fresh array."""
        del copy
        tensor = as_tensor(self.matrix).detach().to(self.dtype).cpu().double()
        return tensor.numpy().astype(dtype or np.float64, copy=False)


def rounded_weights(weights: ExpertWeights, dtype: torch.dtype) -> ExpertWeights:
    """The weights an implementation prepared for `dtype` computes with."""
    lists = {name: [Rounded(m, dtype) for m in getattr(weights, name)] for name in ("gate", "up", "down")}
    shared = weights.shared
    if shared is not None:
        shared = DenseExpert(*(Rounded(m, dtype) for m in (shared.gate, shared.up, shared.down)))
    return ExpertWeights(**lists, shared=shared)


def layer_flops(routing: Routing, spec: LayerSpec, weights: ExpertWeights) -> int:
    """What the reference has to compute: Σ n_e · 6 · H · W_e, and the shared expert for every token."""
    counts = routing_counts(routing, spec.experts)
    shared_width = 0 if weights.shared is None else spec.shared_width
    return 6 * spec.hidden * (int(counts @ spec.expert_widths) + routing.tokens * shared_width)


def choose_tokens(routing: Routing, spec: LayerSpec, generator: np.random.Generator) -> NDArray[np.int64]:
    """A sorted sample of tokens: about SAMPLED_TOKENS random ones that include the places where kernels go wrong.

    Those are the first and the last token, and the first and the last row of the fullest and of the emptiest expert
    that has rows. routing has at least one token.
    """
    ids = routing.expert_ids
    counts = routing_counts(routing, spec.experts)
    emptiest = int(np.argmin(np.where(counts > 0, counts, np.iinfo(counts.dtype).max)))
    chosen = {0, routing.tokens - 1}
    for expert in (int(np.argmax(counts)), emptiest):
        users = np.flatnonzero((ids == expert).any(axis=1))
        chosen |= {int(users[0]), int(users[-1])}
    others = np.setdiff1d(np.arange(routing.tokens), list(chosen))
    extra = generator.permutation(others)[: max(0, SAMPLED_TOKENS - len(chosen))]
    return np.sort(np.concatenate([np.fromiter(chosen, dtype=np.int64), extra]))


def expected_output(
    x: torch.Tensor, weights: ExpertWeights, routing: Routing, spec: LayerSpec, tokens: NDArray[np.int64] | None
) -> torch.Tensor:
    """The reference for x [T, H] as it is in its dtype: float64[T, H] on the CPU, or only the rows `tokens`."""
    if tokens is not None:
        routing = Routing(routing.expert_ids[tokens], routing.weights[tokens])
        x = x[torch.from_numpy(tokens).to(x.device)]
    y = expert_ffn(x.cpu().double().numpy(), rounded_weights(weights, x.dtype), routing, spec)
    return torch.from_numpy(y)
