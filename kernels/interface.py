"""What an implementation of the expert FFN is, and what a prepared layer can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from ..dispatch import DispatchPlan
    from ..reference import ExpertWeights, LayerSpec

PHASES = ("plan", "permute", "gemm1", "gemm2", "combine", "shared")


class Layer(Protocol):
    """An implementation with its weights repacked for one device and dtype."""

    def __call__(self, x: torch.Tensor, plan: DispatchPlan) -> torch.Tensor:
        """The layer, x [T, H] to y [T, H] on x's device in x's dtype: the timed call. No host synchronisation on a GPU
        unless the implementation's description says so.
        """
        ...

    def phases(self, x: torch.Tensor, plan: DispatchPlan) -> Mapping[str, Callable[[], Any]]:
        """The call cut into its phases, in order, under names from PHASES (a fused phase is left out; "plan" is
        the work list an implementation derives from the dispatch plan, "shared" the dense shared expert). Each callable
        can be repeated; run once in order they leave the same intermediates as the call.
        """
        ...

    def executed_flops(self, counts: NDArray[np.int64]) -> int:
        """The FLOPs the tiles and the padding really cost for rows per expert `counts` int[E] (host arithmetic)."""
        ...


class Implementation(Protocol):
    """One complete way to compute the layer."""

    @property
    def name(self) -> str:
        """The key in IMPLEMENTATIONS."""
        ...

    @property
    def description(self) -> str:
        """One line: how it works, what it shares with nobody, and whether a call waits for the GPU."""
        ...

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:
        """None, or the reason in one line why this implementation cannot run this case here. The one place where its
        constraints are stated; sweeps, tests and the dispatcher all ask it.
        """
        ...

    def prepare(self, spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype) -> Layer:
        """Move and repack the weights once; never inside a timed region. Raises ValueError with `supports`'s reason."""
        ...
