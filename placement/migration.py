"""Moving from one placement to another: which copies travel, what that takes, and after how many steps it has paid."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference import LayerSpec, expert_parameters
from .checks import check_above_zero
from .cluster import Cluster
from .copies import holders
from .step_costs import exchange_seconds


@dataclass(frozen=True)
class Migration:
    """Copies of experts that must travel.

    moves:         (expert, from rank, to rank) of each, in expert order
    bytes_matrix:  float64[P, P], line = sender, column = receiver
    seconds:       of the exchange, when nothing else runs; None where no cluster was given
    """

    moves: tuple[tuple[int, int, int], ...]
    bytes_matrix: NDArray[np.float64] = field(repr=False)
    seconds: float | None

    @property
    def bytes(self) -> float:
        """All bytes that travel."""
        return float(self.bytes_matrix.sum())


@dataclass(frozen=True)
class PayBack:
    """Whether a re-placement is worth it.

    saved_s:  seconds each step is quicker afterwards; below 0 when it is slower
    steps:    steps after which the migration has paid, 0 when it costs nothing; infinity when it never does
    net_s:    seconds gained after `horizon` steps, below 0 when lost
    horizon:  steps until the next re-placement
    """

    saved_s: float
    steps: float
    net_s: float
    horizon: int

    @property
    def worth(self) -> bool:
        """Whether anything is gained within the horizon."""
        return self.net_s > 0

    def __str__(self) -> str:
        """One sentence for people: is balancing worth it here?"""
        if self.saved_s <= 0:
            return f"not worth it: a step is not quicker afterwards ({-self.saved_s * 1e6:.1f} us slower)"
        verdict = "worth it" if self.worth else "not worth it"
        when = f"pays after {math.ceil(self.steps)} steps" if self.steps else "costs nothing to move"
        result = "gains" if self.net_s > 0 else "loses"
        return f"{verdict}: {when}, {result} {abs(self.net_s) * 1e3:.3g} ms in {self.horizon} steps"


def migration(
    old: Any, new: Any, spec: LayerSpec, *, parameter_bytes: float = 2.0, cluster: Cluster | None = None
) -> Migration:
    """What has to travel from placement `old` to `new`, both on the same ranks.

    parameter_bytes: bytes that travel for each parameter: 2 for bf16 weights; in training also the optimizer's state,
    for example 14 with float32 master weights and two moments. Each new copy comes from a rank that holds the expert:
    one of the same node before others, of these the one that has least to send. A rank that holds it already, gets
    nothing. Raises ValueError for placements of other experts or ranks.
    """
    before, after = holders(old), holders(new)
    if before.shape != after.shape or len(before) != spec.experts:
        raise ValueError(
            f"new: expected a placement of {spec.experts} experts on {before.shape[1]} ranks, got {len(after)} on "
            f"{after.shape[1]}"
        )
    ranks = before.shape[1]
    if cluster is not None and cluster.ranks != ranks:
        raise ValueError(f"cluster {cluster.name!r}: expected placements on {cluster.ranks} ranks, got {ranks}")
    check_above_zero(parameter_bytes=parameter_bytes)
    node_of = np.zeros(ranks, dtype=np.int64) if cluster is None else cluster.node_of
    sizes = expert_parameters(spec) * parameter_bytes
    matrix = np.zeros((ranks, ranks))
    expert, target = np.nonzero(after & ~before)
    if (before.sum(axis=1) == 1).all():  # nothing to choose
        source = before.argmax(axis=1)[expert]
        np.add.at(matrix, (source, target), sizes[expert])
    else:
        source = np.empty_like(target)
        for place, (moved, to) in enumerate(zip(expert, target, strict=True)):
            sources = np.flatnonzero(before[moved])
            near = sources[node_of[sources] == node_of[to]]
            sources = near if len(near) else sources
            source[place] = sources[np.argmin(matrix[sources].sum(axis=1))]
            matrix[source[place], to] += sizes[moved]
    moves = zip(expert.tolist(), source.tolist(), target.tolist(), strict=True)
    return Migration(tuple(moves), matrix, None if cluster is None else _seconds(matrix, cluster))


def closest_labels(old: Any, new: Any, spec: LayerSpec, nodes: int = 1) -> NDArray[np.int64]:
    """Which rank each rank of `new` should become so that the fewest bytes travel, int64[P].

    Ranks are alike, so a placement may be relabelled: within nodes of P/nodes ranks, and whole nodes among each other.
    Not for ranks of different speeds or memory. Raises ValueError for placements of other experts or ranks.
    """
    from scipy.optimize import linear_sum_assignment  # half a second to import, and only here

    before, after = holders(old), holders(new)
    ranks = before.shape[1]
    if before.shape != after.shape or len(before) != spec.experts:
        raise ValueError(f"new: expected a placement of {spec.experts} experts on {ranks} ranks, got {after.shape}")
    if nodes < 1 or ranks % nodes:
        raise ValueError(f"nodes: expected a divisor of {ranks} ranks, got {nodes}")
    width = ranks // nodes
    kept = (after * expert_parameters(spec)[:, None]).T @ before  # of new rank p's bytes, those on old rank q already
    best = np.zeros((nodes, nodes))
    inner: dict[tuple[int, int], NDArray[np.int64]] = {}
    for mine in range(nodes):
        for theirs in range(nodes):
            block = kept[mine * width : (mine + 1) * width, theirs * width : (theirs + 1) * width]
            lines, columns = linear_sum_assignment(block, maximize=True)
            best[mine, theirs] = block[lines, columns].sum()
            inner[mine, theirs] = columns
    labels = np.empty(ranks, dtype=np.int64)
    for mine, theirs in zip(*linear_sum_assignment(best, maximize=True), strict=True):
        labels[mine * width : (mine + 1) * width] = theirs * width + inner[int(mine), int(theirs)]
    return labels


def pay_back(migration_s: float, old_step_s: float, new_step_s: float, horizon: int) -> PayBack:
    """When a migration of `migration_s` seconds has paid, and what is left after `horizon` steps.

    old_step_s, new_step_s: seconds of a step, of all layers that migrate, under either placement, both scored on loads
    that the new placement was not made from: a placement scored on its own window looks better than it is.
    Raises ValueError.
    """
    for name, value in (("migration_s", migration_s), ("old_step_s", old_step_s), ("new_step_s", new_step_s)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: expected seconds of at least 0, got {value}")
    if isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1:
        raise ValueError(f"horizon: expected a whole number of steps of at least 1, got {horizon!r}")
    saved = old_step_s - new_step_s
    steps = 0.0 if migration_s == 0 and saved >= 0 else migration_s / saved if saved > 0 else math.inf
    return PayBack(saved, steps, saved * horizon - migration_s, int(horizon))


def _seconds(matrix: NDArray[np.float64], cluster: Cluster) -> float:
    same = cluster.node_of[:, None] == cluster.node_of
    return exchange_seconds(np.where(same, matrix, 0.0), np.where(same, 0.0, matrix), cluster)
