"""What a layer is asked, and the right answer: posed once for a case, put to every implementation of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...reference import ExpertWeights, LayerSpec, Routing, check_routing
from .compare import not_finite
from .expected import REFERENCE_FLOPS, choose_tokens, expected_output, layer_flops


@dataclass(frozen=True)
class Question:
    """Fresh inputs and the reference's output for them.

    routing:  expert_ids int[T, K], weights float32[T, K], NumPy
    x:        [T, H] in the dtype in question, on the CPU
    tokens:   which tokens `expected` is for, int64[S] ascending; None for all
    expected: float64[T, H] or [S, H], on the CPU
    earlier_routing, earlier_x: of the call made before, to leave wrong numbers in whatever a layer keeps
    seed:     gives the same question again
    shared:   the weights have a shared expert, which no combine weight scales
    """

    spec: LayerSpec
    routing: Routing
    x: torch.Tensor
    tokens: NDArray[np.int64] | None
    expected: torch.Tensor
    earlier_routing: Routing
    earlier_x: torch.Tensor
    seed: int
    shared: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of x, of the weights and of the output."""
        return self.x.dtype

    @property
    def checked(self) -> str:
        """What a comparison with `expected` covers, in words."""
        return f"all {len(self.x)} tokens" if self.tokens is None else f"{len(self.tokens)} sampled tokens"

    def turned(self, generator: np.random.Generator) -> tuple[Question, NDArray[np.float32]]:
        """Another question whose answer is known without the reference, and the factors 1 or -1 of every token.

        The combine weights of random tokens are negated. y_t is linear in those of its token, and negating is exact in
        every format, so that the expected output is negated with them, to the last bit, and no error grows or shrinks.
        Raises ValueError where a shared expert adds what they do not scale.
        """
        if self.shared:
            raise ValueError("turned: expected weights without a shared expert, whose part keeps its sign")
        signs = generator.choice(np.array([-1, 1], dtype=np.float32), size=len(self.x))
        routing = Routing(self.routing.expert_ids, self.routing.weights * signs[:, None])
        mine = signs if self.tokens is None else signs[self.tokens]
        return replace(self, routing=routing, expected=self.expected * torch.from_numpy(mine)[:, None]), signs


def pose(
    spec: LayerSpec,
    weights: ExpertWeights,
    routing: Routing,
    dtype: torch.dtype,
    *,
    seed: int | None = None,
    x: Any = None,
    reference_flops: float = REFERENCE_FLOPS,
) -> Question:
    """Draw x and compute the reference on the numbers that `dtype` leaves of x and the weights.

    routing: expert_ids int[T, K], weights float[T, K], NumPy or torch
    seed:    of x and of the sample; a new one each time when None
    x:       float[T, H] instead of a random one

    Where the reference would take more than `reference_flops`, only a sample of tokens is computed. Raises ValueError
    for a routing or an x that is not one: wrong shape, NaN or infinite (saying where), all zero.
    """
    routing = _host_routing(routing, spec)
    seed = secrets.randbits(32) if seed is None else seed
    generator = np.random.default_rng(seed)
    shape = (routing.tokens, spec.hidden)
    x = (_normal(shape, generator) if x is None else _given(x, shape)).to(dtype)
    tokens = None
    if layer_flops(routing, spec, weights) > reference_flops:
        tokens = choose_tokens(routing, spec, generator)
    return Question(
        spec=spec,
        routing=routing,
        x=x,
        tokens=tokens,
        expected=expected_output(x, weights, routing, spec, tokens),
        earlier_routing=mirrored(routing, spec),
        earlier_x=_normal(shape, generator).to(dtype),
        seed=seed,
        shared=weights.shared is not None,
    )


def mirrored(routing: Routing, spec: LayerSpec) -> Routing:
    """Every expert with another number of rows, and every token with other experts."""
    return Routing(spec.experts - 1 - routing.expert_ids[::-1].copy(), routing.weights[::-1].copy())


def _host_routing(routing: Routing, spec: LayerSpec) -> Routing:
    """The routing as NumPy, its weights as float32 like a plan's. Raises ValueError."""
    arrays = [a.cpu().numpy() if isinstance(a, torch.Tensor) else a for a in (routing.expert_ids, routing.weights)]
    routing = Routing(np.asarray(arrays[0]), np.asarray(arrays[1]).astype(np.float32))
    check_routing(routing, spec)
    return routing


def _normal(shape: tuple[int, int], generator: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def _given(x: Any, shape: tuple[int, int]) -> torch.Tensor:
    """The caller's x as a contiguous CPU tensor. Raises ValueError."""
    x = x.detach().cpu().contiguous() if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))
    if tuple(x.shape) != shape:
        raise ValueError(f"x: expected shape {list(shape)}, got {list(x.shape)}")
    bad = not_finite(x)
    if bad is not None:
        count, (token, column) = bad
        raise ValueError(
            f"x: expected finite numbers, got {float(x[token, column])} at token {token}, column {column} "
            f"({count} of {x.numel()} are not finite)"
        )
    if x.numel() and not x.any():
        raise ValueError("x: expected numbers that are not all zero, which would hide most errors")
    return x
