"""Many steps of many layers in many cases at once: the seconds of `simulate`, in arrays instead of objects.

What a step sends and computes is counted once per placement and way of sending, and costed in every case. There is
no timeline and no matrix of bytes: `simulate` the steps that turn out to matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference import LayerSpec, expert_parameters
from .checks import check_above_zero, checked_trace
from .cluster import Cluster
from .copies import assignment
from .costs import CostModel
from .sweep_traffic import Copies, Exchanged, exchanged
from .timeline import check_chunks
from .traffic import check_ranks, check_style, homes

# Rows looked at in one go, so that the arrays made on the way stay in the caches.
_ROWS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class SimulationCase:
    """One way a step may be run; the fields are options of `simulate`, route_s being the same on all ranks.

    name: what reports call it
    """

    name: str
    cluster: Cluster
    costs: CostModel
    style: str = "by_rank"
    dispatch_value_bytes: float = 2.0
    combine_value_bytes: float = 2.0
    route_s: float = 0.0
    chunks: int = 1

    def __post_init__(self) -> None:
        check_style(self.style)
        check_chunks(self.chunks)
        check_above_zero(dispatch_value_bytes=self.dispatch_value_bytes, combine_value_bytes=self.combine_value_bytes)
        if not (np.isfinite(self.route_s) and self.route_s >= 0):
            raise ValueError(f"route_s: expected seconds of at least 0, got {self.route_s}")


@dataclass(frozen=True)
class Sweep:
    """C cases, S steps, L layers, P ranks.

    cases:       their names
    makespan_s:  float64[C, S, L]     seconds of a layer's step
    compute_s:   float64[C, S, L, P]  seconds each rank's experts take, were the batch not cut into chunks
    dispatch_s, combine_s: float64[C, S, L], the same of the exchanges
    rows:        int64[S, L, P]       rows each rank computes
    work:        float64[S, L, P]     their useful FLOPs
    provenance:  "simulated", always
    """

    cases: tuple[str, ...]
    makespan_s: NDArray[np.float64]
    compute_s: NDArray[np.float64]
    dispatch_s: NDArray[np.float64]
    combine_s: NDArray[np.float64]
    rows: NDArray[np.int64]
    work: NDArray[np.float64]
    provenance: str = "simulated"

    @property
    def step_s(self) -> NDArray[np.float64]:
        """Seconds of every step, its layers one after another, float64[C, S]."""
        return self.makespan_s.sum(axis=2)

    @property
    def straggler(self) -> NDArray[np.int64]:
        """The rank that computes longest, the lowest of equals, int64[C, S, L]."""
        return np.argmax(self.compute_s, axis=3)


def cut(trace: Any, tokens: int) -> NDArray[np.int64]:
    """A trace int[T, L, K], or [T, K] of one layer, as whole steps int64[S, L, tokens, K]. Raises ValueError."""
    trace = checked_trace(trace)
    if isinstance(tokens, bool) or not isinstance(tokens, int | np.integer) or not 1 <= tokens <= len(trace):
        raise ValueError(f"tokens: expected a whole number from 1 to the trace's {len(trace)}, got {tokens!r}")
    steps = len(trace) // int(tokens)
    whole = trace[: steps * tokens].reshape(steps, tokens, *trace.shape[1:])
    return np.ascontiguousarray(whole.swapaxes(1, 2).astype(np.int64))


def sweep(placements: Any | Sequence[Any], steps: Any, spec: LayerSpec, cases: Sequence[SimulationCase]) -> Sweep:
    """Simulate every step of every layer in every case; the numbers are those of `simulate`, tokens at home in
    equal runs of the batch.

    placements: one for all layers, or a list with one for each;  steps: int[S, L, T, K], as `cut` gives it;
    cases: on clusters of as many ranks as the placements have. Raises ValueError.
    """
    ids = _checked_steps(steps, spec)
    layers = ids.shape[1]
    several = list(placements) if isinstance(placements, list | tuple) else [placements] * layers
    if len(several) != layers or not cases:
        raise ValueError(
            f"sweep: expected a placement for each of {layers} layers and at least one case, got {len(several)} "
            f"and {len(cases)}"
        )
    parts = [_layer(placement, ids[:, layer], spec, cases) for layer, placement in enumerate(several)]
    makespan, compute, dispatch, combine = (np.stack([part[at] for part in parts], axis=2) for at in range(4))
    rows, work = (np.stack([part[at] for part in parts], axis=1) for at in (4, 5))
    return Sweep(tuple(case.name for case in cases), makespan, compute, dispatch, combine, rows, work)


def _checked_steps(steps: Any, spec: LayerSpec) -> NDArray[np.int64]:
    ids = np.asarray(steps)
    if ids.ndim != 4 or not np.issubdtype(ids.dtype, np.integer) or not ids.shape[0] or not ids.shape[1]:
        raise ValueError(
            f"steps: expected whole numbers [steps, layers, tokens, top_k], got {ids.dtype} {list(ids.shape)}"
        )
    if ids.size and not 0 <= ids.min() <= ids.max() < spec.experts:
        raise ValueError(f"steps: expected expert ids 0 to {spec.experts - 1}, got {ids.min()} to {ids.max()}")
    return ids.astype(np.int64, copy=False)


def _layer(
    placement: Any, ids: NDArray[np.int64], spec: LayerSpec, cases: Sequence[SimulationCase]
) -> tuple[NDArray[Any], ...]:
    """One layer, ids [S, T, K]: makespan [C, S], compute [C, S, P], dispatch and combine [C, S]; rows, work [S, P]."""
    shares = assignment(placement)
    if len(shares) != spec.experts:
        raise ValueError(f"placement: expected one of {spec.experts} experts, got {len(shares)}")
    for case in cases:
        check_ranks(shares, case.cluster)
    copies = Copies.of(shares)
    steps, at_once = len(ids), max(1, _ROWS_AT_ONCE // max(ids[0].size, 1))
    blocks = [_counted(copies, ids[first : first + at_once], cases) for first in range(0, steps, at_once)]
    rows = np.concatenate([block[0] for block in blocks])
    vectors = {
        way: Exchanged(*(np.concatenate(parts) for parts in zip(*(block[1][way] for block in blocks), strict=True)))
        for way in blocks[0][1]
    }
    computing = _Computing(rows, copies, spec)
    timed = [_times(case, vectors[_sending(case)], computing, ids.shape[1]) for case in cases]
    stacked = (np.stack([times[at] for times in timed]) for at in range(4))
    work = (rows * (2.0 * expert_parameters(spec)[copies.expert])) @ computing.on_rank
    return (*stacked, (rows @ computing.on_rank).astype(np.int64), work)


def _counted(
    copies: Copies, ids: NDArray[np.int64], cases: Sequence[SimulationCase]
) -> tuple[NDArray[np.int64], dict[Any, Exchanged]]:
    """Rows of every copy [S, C], and the vectors for every way of sending among the cases."""
    ids_by_slot = np.ascontiguousarray(ids.transpose(2, 0, 1), dtype=np.int32)
    destinations = copies.destinations(ids_by_slot)
    ways = {_sending(case): case for case in cases}
    return copies.rows(ids_by_slot, destinations), {
        way: exchanged(destinations, case.cluster, case.style) for way, case in ways.items()
    }


def _sending(case: SimulationCase) -> tuple[str, int]:
    """What of a case decides which vectors are sent."""
    return case.style, case.cluster.ranks_per_node


class _Computing:
    """Seconds of every rank's experts under several cost models, each asked once.

    rows:     int64[S, C] of each copy;  on_rank: float64[C, P], 1 where a copy is on a rank
    """

    def __init__(self, rows: NDArray[np.int64], copies: Copies, spec: LayerSpec) -> None:
        self.spec, self._rows = spec, rows
        self.on_rank = np.zeros((len(copies.rank), copies.shares.shape[1]))
        self.on_rank[np.arange(len(copies.rank)), copies.rank] = 1.0
        self._busy = (rows @ self.on_rank) > 0
        self._widths = spec.expert_widths[copies.expert]
        self._known: dict[tuple[int, int], NDArray[np.float64]] = {}

    def seconds(self, costs: CostModel, parts: int) -> NDArray[np.float64]:
        """Of an equal part of the batch at speed 1, float64[S, P], as `rank_seconds` adds them up."""
        key = id(costs), parts
        if key not in self._known:
            alone = costs.expert_seconds(self._rows / parts, self._widths)
            beyond = np.where(self._rows > 0, alone - costs.overhead_s, 0.0)
            self._known[key] = np.where(self._busy, costs.overhead_s + beyond @ self.on_rank, 0.0)
        return self._known[key]


def _times(case: SimulationCase, vectors: Exchanged, computing: _Computing, tokens: int) -> tuple[NDArray[Any], ...]:
    """Makespan [S], compute [S, P], dispatch and combine [S] of one layer in one case."""
    cluster, costs, spec = case.cluster, case.costs, computing.spec
    shared = np.zeros(cluster.ranks)
    if spec.shared_width:
        lives = np.bincount(homes(tokens, cluster.ranks), minlength=cluster.ranks)
        shared = costs.expert_seconds(lives, spec.shared_width) / cluster.speed_of

    def exchange(value_bytes: float, parts: int) -> NDArray[np.float64]:
        vector = spec.hidden * value_bytes / parts
        seconds = cluster.inside.times(vectors.inside * vector)
        if cluster.between is not None:
            seconds = np.maximum(seconds, cluster.between.times(vectors.between * vector))
        return seconds

    def phases(parts: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        return (
            computing.seconds(costs, parts) / cluster.speed_of,
            exchange(case.dispatch_value_bytes, parts),
            exchange(case.combine_value_bytes, parts),
        )

    whole = phases(1)
    parts = whole if case.chunks == 1 else phases(case.chunks)
    return _makespan(case.route_s, shared, *parts, case.chunks), *whole


def _makespan(
    route_s: float,
    shared: NDArray[np.float64],
    compute: NDArray[np.float64],
    dispatch: NDArray[np.float64],
    combine: NDArray[np.float64],
    chunks: int,
) -> NDArray[np.float64]:
    """When the last rank is done, float64[S]: `lay_out` for all steps at once, compute [S, P], exchanges [S]."""
    begun = route_s + (shared.max() if chunks == 1 else 0.0)
    busy = np.broadcast_to(route_s + shared, compute.shape)
    free = np.zeros(len(compute))
    done: list[NDArray[np.float64]] = []
    for chunk in range(chunks):
        free = np.maximum(begun, free) + dispatch
        arrived = free
        if chunk:
            free = np.maximum(done[-1], free) + combine
        busy = np.maximum(busy, arrived[:, None]) + compute
        done.append(busy.max(axis=1))
    return np.maximum(done[-1], free) + combine
