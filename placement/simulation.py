"""One step of a layer on a cluster under a placement: rows, work, bytes, seconds and memory of every rank."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reference import LayerSpec, expert_parameters
from .checks import check_above_zero
from .cluster import Cluster
from .copies import assignment, holders
from .costs import CostModel
from .independence import expected_traffic
from .metrics import Balances, balances
from .step_costs import StepCosts
from .timeline import PHASES, Interval, lay_out
from .traffic import Traffic, count_traffic, homes


@dataclass(frozen=True)
class Simulation:
    """What a step costs every rank. P ranks; bytes are those on the wire.

    policy, spec, cluster:  names
    tokens:          T, of all ranks together
    rows:            float64[P]     rows the rank computes
    work:            float64[P]     their useful FLOPs
    phases:          for each of PHASES the seconds it takes on each rank, float64[P], were it not cut into chunks;
                     exchanges take the same on all ranks
    traffic:         the vectors exchanged
    dispatch_bytes:  float64[P, P]  line = sender, column = receiver
    combine_bytes:   float64[P, P]  the same way round
    weights:         int64[P]       bytes of resident experts, replicas included
    buffer:          int            bytes of the receive buffer, sized on every rank for the fullest
    makespan_s:      seconds until the last rank is done
    timeline:        who did what when
    balances:        the four measures on rows, FLOPs and seconds of compute
    provenance:      "simulated", always
    cost_source:     what the seconds of compute are from, with "measured" or "predicted"
    link_source:     the same of the exchanges
    memory_limit:    bytes of a GPU, or None
    """

    policy: str
    spec: str
    cluster: str
    tokens: int
    rows: NDArray[np.float64]
    work: NDArray[np.float64]
    phases: dict[str, NDArray[np.float64]]
    traffic: Traffic = field(repr=False)
    dispatch_bytes: NDArray[np.float64]
    combine_bytes: NDArray[np.float64]
    weights: NDArray[np.int64]
    buffer: int
    makespan_s: float
    timeline: tuple[Interval, ...] = field(repr=False)
    balances: Balances
    cost_source: str
    link_source: str
    memory_limit: int | None = None
    provenance: str = "simulated"

    @property
    def ranks(self) -> int:
        """P."""
        return len(self.rows)

    @property
    def straggler(self) -> int:
        """The rank that computes longest, the lowest of equals."""
        return int(np.argmax(self.phases["compute"]))

    @property
    def bytes_matrix(self) -> NDArray[np.float64]:
        """Bytes from each rank to each other in dispatch and combine together, float64[P, P]."""
        return self.dispatch_bytes + self.combine_bytes

    @property
    def memory(self) -> NDArray[np.int64]:
        """Bytes of experts and receive buffer on each rank, int64[P]."""
        return self.weights + self.buffer

    @property
    def fits(self) -> bool | None:
        """Whether every rank's experts and buffer fit its GPU; None where the cluster does not say how much that is."""
        return None if self.memory_limit is None else bool((self.memory <= self.memory_limit).all())

    @property
    def waiting_s(self) -> NDArray[np.float64]:
        """Seconds each rank neither computes nor exchanges before the step ends, float64[P]."""
        return self.makespan_s - np.array([_covered(self.timeline, rank) for rank in range(self.ranks)])

    @property
    def hidden_s(self) -> float:
        """Seconds that overlap saves against the phases one after another; below 0 where chunks cost more."""
        one_by_one = self.phases["route"] + self.phases["shared"]
        exchanges = self.phases["dispatch"].max() + self.phases["combine"].max()
        return float(one_by_one.max() + self.phases["compute"].max() + exchanges - self.makespan_s)


def simulate(
    placement: Any,
    routing: Any,
    spec: LayerSpec,
    cluster: Cluster,
    costs: CostModel,
    *,
    style: str = "by_rank",
    home: Any = None,
    dispatch_value_bytes: float = 2.0,
    combine_value_bytes: float = 2.0,
    weight_bytes: float = 2.0,
    route_s: Any = 0.0,
    chunks: int = 1,
) -> Simulation:
    """Simulate one step of the layer.

    placement:  of `allocate`, or anything `assignment` takes, on the cluster's ranks
    routing:    a Routing or int[T, K]: traffic is counted token by token; or rows per expert [E]: it is expected under
                independence
    costs:      seconds of experts; a rank's are divided by its speed
    style:      how vectors are sent (see `traffic`)
    home:       rank of every token int[T], None for equal runs of the batch; with rows per expert, tokens on each rank
    *_bytes:    bytes of a value in the dispatch, in the combine and in a weight
    route_s:    seconds of routing and planning on each rank, one number or [P]
    chunks:     parts the batch is cut into so that exchange and compute overlap; 1 is no overlap
    Raises ValueError.
    """
    check_above_zero(dispatch_value_bytes=dispatch_value_bytes, combine_value_bytes=combine_value_bytes)
    check_above_zero(weight_bytes=weight_bytes)
    shares = assignment(placement)
    if len(shares) != spec.experts:
        raise ValueError(f"placement: expected one of {spec.experts} experts, got {len(shares)}")
    traffic, tokens_of = _exchanged(routing, spec, shares, cluster, style, home)
    step = StepCosts(traffic, tokens_of, spec, cluster, costs, dispatch_value_bytes, combine_value_bytes)
    route, shared, compute = _route_seconds(route_s, cluster.ranks), step.shared(), step.compute()
    out, back = step.dispatch(), step.combine()
    if chunks == 1:
        timeline = lay_out(route, shared, lambda _: compute, lambda _: out, lambda _: back)
    else:
        timeline = lay_out(route, shared, step.compute, step.dispatch, step.combine, chunks)
    work = 2.0 * expert_parameters(spec) @ traffic.expert_rows
    phases = (route, shared, out, compute, back)
    return Simulation(
        policy=str(getattr(placement, "policy", "")),
        spec=spec.name,
        cluster=cluster.name,
        tokens=int(tokens_of.sum()),
        rows=traffic.rows,
        work=work,
        phases={name: np.broadcast_to(took, route.shape) for name, took in zip(PHASES, phases, strict=True)},
        traffic=traffic,
        dispatch_bytes=traffic.matrix * spec.hidden * dispatch_value_bytes,
        combine_bytes=traffic.matrix.T * spec.hidden * combine_value_bytes,
        weights=np.rint(expert_parameters(spec) * weight_bytes @ holders(placement)).astype(np.int64),
        buffer=int(np.ceil(traffic.received.max() * spec.hidden * dispatch_value_bytes)),
        makespan_s=max((interval.end_s for interval in timeline), default=0.0),
        timeline=timeline,
        balances=balances(traffic.rows, work, compute),
        cost_source=f"{costs.provenance}: {costs.source}",
        link_source=_link_source(cluster),
        memory_limit=cluster.memory_bytes,
    )


def _exchanged(
    routing: Any, spec: LayerSpec, shares: NDArray[np.float64], cluster: Cluster, style: str, home: Any
) -> tuple[Traffic, NDArray[np.int64]]:
    """The traffic, and how many tokens live on each rank, int64[P]."""
    given = np.asarray(getattr(routing, "expert_ids", routing))
    if given.ndim == 2:
        traffic = count_traffic(given, shares, cluster, style, home)
        lives = homes(len(given), cluster.ranks) if home is None else np.asarray(home)
        return traffic, np.bincount(lives, minlength=cluster.ranks)
    if given.ndim != 1:
        raise ValueError(f"routing: expected expert ids [tokens, top_k] or rows [experts], got {list(given.shape)}")
    traffic = expected_traffic(given, spec.top_k, shares, cluster, style, home)
    if home is not None:
        return traffic, np.asarray(home)
    return traffic, np.bincount(homes(round(given.sum() / spec.top_k), cluster.ranks), minlength=cluster.ranks)


def _route_seconds(route_s: Any, ranks: int) -> NDArray[np.float64]:
    route = np.asarray(route_s, dtype=np.float64)
    if route.shape not in ((), (ranks,)) or not (np.isfinite(route) & (route >= 0)).all():
        raise ValueError(f"route_s: expected seconds of at least 0, one number or {ranks}, got {route.tolist()}")
    return np.broadcast_to(route, (ranks,)).copy()


def _link_source(cluster: Cluster) -> str:
    links = [link for link in (cluster.inside, cluster.between if cluster.nodes > 1 else None) if link is not None]
    return "; ".join(f"{link.name}, {link.provenance}: {link.source}" for link in links)


def _covered(timeline: tuple[Interval, ...], rank: int) -> float:
    """Seconds in which the rank computes or exchanges, overlaps counted once."""
    total = end = 0.0
    for interval in sorted((own for own in timeline if own.rank == rank), key=lambda own: own.start_s):
        total += max(interval.end_s - max(interval.start_s, end), 0.0)
        end = max(end, interval.end_s)
    return total
