"""Many steps of many layers: a recorded trace cut into batches, simulated one by one and summed up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference import LayerSpec
from .checks import checked_trace
from .cluster import Cluster
from .costs import CostModel
from .metrics import Balances, balances
from .simulation import Simulation, simulate


@dataclass(frozen=True)
class Batch:
    """What one layer routes in one step: expert_ids int64[T, K]."""

    step: int
    layer: int
    expert_ids: NDArray[np.int64]


@dataclass(frozen=True)
class LayerStep:
    """The simulation of one batch."""

    step: int
    layer: int
    simulation: Simulation


@dataclass(frozen=True)
class Summary:
    """Steps of all layers together.

    steps, layers:  how many of each
    step_s:         float64[S]     seconds of each step, its layers one after another
    rank_s:         float64[S, P]  seconds each rank computes in each step
    straggler_of:   int64[S]       the rank that computes longest in each step
    bytes_a_step:   mean bytes on all links in a step
    balances:       the four measures over all layers of all steps
    """

    steps: int
    layers: int
    step_s: NDArray[np.float64]
    rank_s: NDArray[np.float64]
    straggler_of: NDArray[np.int64]
    bytes_a_step: float
    balances: Balances


def batches(trace: Any, tokens: int, *, drop_last: bool = True) -> Iterator[Batch]:
    """Cut a trace int[T, L, K], or [T, K] of one layer, into steps of `tokens` tokens, layer by layer.

    drop_last leaves out a last step with fewer tokens. Raises ValueError, at once, for another shape or fewer tokens
    than one step.
    """
    trace = checked_trace(trace)
    if isinstance(tokens, bool) or not isinstance(tokens, int | np.integer) or tokens < 1:
        raise ValueError(f"tokens: expected a whole number of at least 1, got {tokens!r}")
    if len(trace) < tokens:
        raise ValueError(f"trace: expected at least the {tokens} tokens of one step, got {len(trace)}")
    return _cut(trace, int(tokens), len(trace) // tokens if drop_last else -(-len(trace) // tokens))


def simulate_steps(
    placements: Any | Sequence[Any],
    steps: Iterable[Batch],
    spec: LayerSpec,
    cluster: Cluster,
    costs: CostModel,
    **options: Any,
) -> Iterator[LayerStep]:
    """Simulate batch after batch. placements: one for all layers, or a list with one for each layer.

    options: those of `simulate`. Raises ValueError as it does, and for a layer without a placement.
    """
    several = list(placements) if isinstance(placements, list | tuple) else None
    for batch in steps:
        if several is not None and batch.layer >= len(several):
            raise ValueError(f"placements: expected one for layer {batch.layer}, got {len(several)}")
        placement = placements if several is None else several[batch.layer]
        yield LayerStep(batch.step, batch.layer, simulate(placement, batch.expert_ids, spec, cluster, costs, **options))


def summarize(results: Iterable[LayerStep]) -> Summary:
    """Sum up simulated layers of steps. Raises ValueError for none, and for steps whose layers differ."""
    by_step: dict[int, dict[int, Simulation]] = {}
    for result in results:
        by_step.setdefault(result.step, {})[result.layer] = result.simulation
    if not by_step:
        raise ValueError("results: expected at least one simulated step, got none")
    layers = set(next(iter(by_step.values())))
    for step, of_step in by_step.items():
        if set(of_step) != layers:
            raise ValueError(
                f"results: expected layers {sorted(layers)} in every step, got {sorted(of_step)} in {step}"
            )
    every = [of_layer for of_step in by_step.values() for of_layer in of_step.values()]
    rank_s = np.array(
        [sum(of_layer.phases["compute"] for of_layer in of_step.values()) for of_step in by_step.values()]
    )
    return Summary(
        steps=len(by_step),
        layers=len(layers),
        step_s=np.array([sum(of_layer.makespan_s for of_layer in of_step.values()) for of_step in by_step.values()]),
        rank_s=rank_s,
        straggler_of=np.argmax(rank_s, axis=1),
        bytes_a_step=float(sum(of_layer.bytes_matrix.sum() for of_layer in every)) / len(by_step),
        balances=balances(
            [of_layer.rows for of_layer in every],
            [of_layer.work for of_layer in every],
            [of_layer.phases["compute"] for of_layer in every],
        ),
    )


def _cut(trace: NDArray[Any], tokens: int, steps: int) -> Iterator[Batch]:
    for step in range(steps):
        window = trace[step * tokens : (step + 1) * tokens]
        for layer in range(trace.shape[1]):
            yield Batch(step, layer, window[:, layer].astype(np.int64))
