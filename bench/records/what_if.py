"""What `mohge what-if` leaves in a run: scenarios, simulated, and how plans hold on loads they were not made from."""

from __future__ import annotations

from dataclasses import dataclass, field

from .provenance import Provenance


@dataclass(frozen=True)
class WhatIfRecord:
    """One scenario of a study: a placement planned on one step's loads and simulated on the next step's routing.

    What was asked (the axes of the grid):
    number:      place in the grid, from 0; records stand in the order in which they were done
    id:          of the scenario: equal in whichever run when the same is asked
    spec, tokens, routing, seed: the layer's name, T of all ranks together, the routing's name, the seed of both
    group_loss:  how far the group loss has steered rows towards narrow groups: 0 not at all, 1 to where it rests
    ranks, policy, replicas: P, the policy's name, spare copies
    capacity:    most bytes of experts on a rank over an even share of all copies; None without a cap
    cluster, style: the cluster's name, and how vectors are sent
    status:      "possible", or "impossible" with the reason; then nothing of what follows is there

    What came out, of one layer's step:
    seconds:     until the last rank is done;  compute_s, dispatch_s, combine_s: of these phases, the slowest rank's
    memory:      bytes of experts and receive buffer on the fullest rank;  weights: of experts alone, on the fullest
    traffic:     bytes on all links, dispatch and combine together;  between: those of them between nodes
    fits:        whether memory fits the cluster's GPUs; None where nobody said how much they have
    rows_max_over_mean, work_max_over_mean, seconds_max_over_mean: largest over mean rank: rows, FLOPs, compute seconds
    work_over_bound: largest FLOPs over speed of a rank over a proven lower bound, on the loads it is scored on
    planned_over_bound: the same on the loads it was planned on, which flatter it
    straggler:   the rank that computes longest
    group_rows:  share of the rows in each group, in the order of groups;  flops: useful ones of the routed experts
    flops_saved: share of those that the group loss has saved against the same routing without it; 0 without it

    What changing to it from the study's baseline policy (one copy of each expert, no cap) would bring:
    saved_s:     seconds a step becomes quicker, below 0 when it becomes slower
    migration_bytes, migration_s: what has to travel, ranks relabelled so that least does, and how long that takes
    pays_after:  steps until it has paid; None when it never does
    net_s:       seconds gained within the study's horizon, below 0 when lost
    note:        what the policy had to bend

    provenance is simulated; where the seconds are from is in the run's notes: notes["what_if"], as `WhatIfStudy`.
    """

    number: int
    id: str
    spec: str
    tokens: int
    routing: str
    group_loss: float
    seed: int
    ranks: int
    policy: str
    replicas: int
    capacity: float | None
    cluster: str
    style: str
    provenance: Provenance
    status: str
    reason: str = ""
    seconds: float | None = None
    compute_s: float | None = None
    dispatch_s: float | None = None
    combine_s: float | None = None
    memory: int | None = None
    weights: int | None = None
    traffic: float | None = None
    between: float | None = None
    fits: bool | None = None
    rows_max_over_mean: float | None = None
    work_max_over_mean: float | None = None
    seconds_max_over_mean: float | None = None
    work_over_bound: float | None = None
    planned_over_bound: float | None = None
    straggler: int | None = None
    group_rows: list[float] = field(default_factory=list)
    flops: float | None = None
    flops_saved: float | None = None
    saved_s: float | None = None
    migration_bytes: float | None = None
    migration_s: float | None = None
    pays_after: float | None = None
    net_s: float | None = None
    note: str = ""

    @property
    def possible(self) -> bool:
        """Whether there is a result."""
        return self.status == POSSIBLE


POSSIBLE, IMPOSSIBLE = "possible", "impossible"


@dataclass(frozen=True)
class TransferRecord:
    """Plans made on each window of a recorded routing, scored on all: how much of a plan's balance is the window's own.

    spec, ranks, policy, replicas: what was planned
    trace:     the recording's name
    windows:   names of the windows, W of them: domains, or parts of the only one;  layers: L numbers of layers
    scores:    largest over mean work of a rank, [L][W][W]: layer, planned on, scored on
    on_own, on_others: means over plans scored where they were made, and where they were not
    status, reason: as in `WhatIfRecord`
    """

    spec: str
    ranks: int
    policy: str
    replicas: int
    trace: str
    windows: list[str]
    layers: list[int]
    provenance: Provenance
    status: str
    reason: str = ""
    scores: list[list[list[float]]] = field(default_factory=list)
    on_own: float | None = None
    on_others: float | None = None
