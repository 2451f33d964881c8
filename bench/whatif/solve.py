"""From a scenario to its record: route two steps, place on the first, simulate the second.

A placement that is scored on the loads it was made from looks better than it is, so the step it is scored on is the one
after. Whatever scenarios share (routings, placements, the baseline) is made once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...placement import (
    Cluster,
    Migration,
    Placement,
    Simulation,
    closest_labels,
    make_problem,
    migration,
    pay_back,
    place,
    rescore,
    simulate,
)
from ...reference import LayerSpec, expert_flops, expert_parameters, per_group
from ..records import IMPOSSIBLE, POSSIBLE, Provenance, WhatIfRecord
from ..workloads import Workload, steer
from ..workloads.seeds import generator_for
from .scenario import Materials, Scenario

WEIGHT_BYTES = 2  # bfloat16, on the wire as well
PLANNED, SCORED = 0, 1  # the steps


@dataclass(frozen=True)
class Step:
    """What one step routes: expert_ids int[T, K] and the rows of every expert, int64[E]."""

    expert_ids: NDArray[np.int64]
    counts: NDArray[np.int64]


def solve(scenario: Scenario, materials: Materials, number: int = 0) -> WhatIfRecord:
    """The record of one scenario. Pure: the same scenario and materials give the same record."""
    return Solver().solve(scenario, materials, number)


@dataclass
class Solver:
    """Solves scenarios one after another, and keeps what the next may share; for a batch, then thrown away.

    placed:    placements, or the words of why there is none, by what they depend on
    scored:    how far from the bound each placement is on the next step
    baselines: the present placement and its step, by what they depend on
    moves:     what has to travel from one placement to another, by cluster
    """

    placed: dict[Any, Placement | str] = field(default_factory=dict)
    scored: dict[int, float] = field(default_factory=dict)
    baselines: dict[Any, tuple[Placement, Simulation]] = field(default_factory=dict)
    moves: dict[tuple[int, int, Cluster], Migration] = field(default_factory=dict)

    def solve(self, scenario: Scenario, materials: Materials, number: int = 0) -> WhatIfRecord:
        """As the function of that name."""
        asked = {
            **vars(scenario),
            "number": number,
            "id": scenario.id(materials.spec),
            "provenance": Provenance.SIMULATED,
        }
        try:
            return WhatIfRecord(**asked, status=POSSIBLE, **self._solved(scenario, materials))
        except ValueError as error:
            return WhatIfRecord(**asked, status=IMPOSSIBLE, reason=str(error))

    def _solved(self, scenario: Scenario, materials: Materials) -> dict[str, Any]:
        """The results. Raises ValueError saying why there are none."""
        cluster = materials.cluster.of(scenario.ranks)
        plain = _step(scenario, materials, SCORED, 0.0)
        step = _step(scenario, materials, SCORED, scenario.group_loss)
        placement = self._placement(scenario, materials, cluster)
        now = replace(scenario, policy=materials.baseline, replicas=0, capacity=None)
        if scenario == now:
            placement, simulation = self._baseline(now, materials, cluster)
        else:
            simulation = _simulated(placement, step, scenario, materials, cluster)
        flops = float(expert_flops(step.counts, materials.spec).sum())
        before = float(expert_flops(plain.counts, materials.spec).sum())
        rows = per_group(step.counts, materials.spec)
        return {
            **_step_results(simulation),
            "work_over_bound": self._over_bound(placement, step),
            "planned_over_bound": placement.work_over_bound,
            "group_rows": (rows / rows.sum()).tolist(),
            "flops": flops,
            "flops_saved": 1 - flops / before if scenario.group_loss else 0.0,
            **self._change(now, materials, cluster, placement, simulation),
            "note": placement.note,
        }

    def simulated(
        self, scenario: Scenario, materials: Materials, cluster: Cluster
    ) -> tuple[Placement, Step, Simulation]:
        """The placement planned on the first step, the second step, and what that takes. Raises ValueError."""
        step = _step(scenario, materials, SCORED, scenario.group_loss)
        placement = self._placement(scenario, materials, cluster)
        return placement, step, _simulated(placement, step, scenario, materials, cluster)

    def _placement(self, scenario: Scenario, materials: Materials, cluster: Cluster) -> Placement:
        """The placement planned on the first step's loads. Raises ValueError."""
        step = (
            materials.spec,
            materials.workload,
            scenario.tokens,
            scenario.seed,
            scenario.group_loss,
            materials.interval,
        )
        asked = (scenario.ranks, scenario.policy, scenario.replicas, scenario.capacity, cluster.nodes, cluster.speeds)
        key = (*step, *asked)
        if key not in self.placed:
            try:
                counts = _step(scenario, materials, PLANNED, scenario.group_loss).counts
                self.placed[key] = _placed(scenario, materials.spec, counts, cluster)
            except ValueError as error:
                self.placed[key] = str(error)
        found = self.placed[key]
        if isinstance(found, str):
            raise ValueError(found)
        return found

    def _over_bound(self, placement: Placement, step: Step) -> float:
        key = id(placement)  # which `placed` keeps alive, and which is planned on the step before this one
        if key not in self.scored:
            self.scored[key] = rescore(placement, step.counts).work_over_bound
        return self.scored[key]

    def _baseline(self, now: Scenario, materials: Materials, cluster: Cluster) -> tuple[Placement, Simulation]:
        """The present placement and its step. Raises ValueError."""
        key = now, materials.spec, materials.workload, materials.interval, cluster, id(materials.costs)
        if key not in self.baselines:
            present = self._placement(now, materials, cluster)
            step = _step(now, materials, SCORED, now.group_loss)
            self.baselines[key] = present, _simulated(present, step, now, materials, cluster)
        return self.baselines[key]

    def _change(
        self, now: Scenario, materials: Materials, cluster: Cluster, placement: Placement, simulation: Simulation
    ) -> dict[str, Any]:
        """What changing from the baseline brings; nothing where the baseline cannot be placed."""
        try:
            present, before = self._baseline(now, materials, cluster)
        except ValueError:
            return {}
        pair = id(present), id(placement), cluster
        if pair not in self.moves:
            self.moves[pair] = _moved(present, placement, materials.spec, cluster)
        moved = self.moves[pair]
        seconds = moved.seconds or 0.0
        paid = pay_back(seconds, before.makespan_s, simulation.makespan_s, materials.horizon)
        return {
            "saved_s": paid.saved_s,
            "migration_bytes": moved.bytes,
            "migration_s": seconds,
            "pays_after": paid.steps if np.isfinite(paid.steps) else None,
            "net_s": paid.net_s,
        }


@dataclass(frozen=True)
class _Relabelled:
    """A placement under other numbers of its ranks."""

    ranks: int
    replicas: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float, ...], ...]


def _moved(present: Placement, new: Placement, spec: LayerSpec, cluster: Cluster) -> Migration:
    """What has to travel; ranks that are alike first take the numbers under which least does."""
    target: Any = new
    if len(set(cluster.speeds)) <= 1:
        labels = closest_labels(present, new, spec, cluster.nodes)
        target = _Relabelled(
            new.ranks, tuple(tuple(int(labels[rank]) for rank in ranks) for ranks in new.replicas), new.shares
        )
    return migration(present, target, spec, parameter_bytes=WEIGHT_BYTES, cluster=cluster)


@lru_cache(maxsize=64)
def routed(
    workload: Workload, spec: LayerSpec, tokens: int, seed: int, step: int, group_loss: float, interval: float
) -> Step:
    """One step's routing, kept for the next scenarios with the same one. Raises ValueError."""
    if group_loss:
        plain = routed(workload, spec, tokens, seed, step, 0.0, interval).expert_ids
        generator = generator_for("group_loss", workload.name, seed, step, tokens)
        ids = steer(plain, spec, group_loss, generator, interval)
    else:
        ids = np.asarray(workload.routing(spec, tokens, seed, step).expert_ids)
    return Step(ids, np.bincount(ids.ravel(), minlength=spec.experts))


def _step(scenario: Scenario, materials: Materials, step: int, group_loss: float) -> Step:
    return routed(
        materials.workload, materials.spec, scenario.tokens, scenario.seed, step, group_loss, materials.interval
    )


def _placed(scenario: Scenario, spec: LayerSpec, counts: NDArray[np.int64], cluster: Cluster) -> Placement:
    cap = None
    if scenario.capacity is not None:
        copies = spec.experts + scenario.replicas
        even = float(expert_parameters(spec).sum()) * WEIGHT_BYTES * copies / spec.experts / scenario.ranks
        cap = scenario.capacity * even
    problem = make_problem(
        spec,
        counts,
        scenario.ranks,
        dtype_bytes=WEIGHT_BYTES,
        replicas=scenario.replicas,
        speeds=cluster.speeds or None,
        memory_cap=cap,
        nodes=cluster.nodes,
    )
    return place(scenario.policy, problem)


def _simulated(
    placement: Placement, step: Step, scenario: Scenario, materials: Materials, cluster: Cluster
) -> Simulation:
    return simulate(
        placement,
        step.expert_ids,
        materials.spec,
        cluster,
        materials.costs,
        style=scenario.style,
        weight_bytes=WEIGHT_BYTES,
    )


def _step_results(simulation: Simulation) -> dict[str, Any]:
    balances = simulation.balances
    vectors = float(simulation.bytes_matrix.sum())
    between = float(simulation.traffic.between.sum()) / max(simulation.traffic.total, 1.0) * vectors
    return {
        "seconds": simulation.makespan_s,
        **{f"{name}_s": float(simulation.phases[name].max()) for name in ("compute", "dispatch", "combine")},
        "memory": int(simulation.memory.max()),
        "weights": int(simulation.weights.max()),
        "traffic": vectors,
        "between": between,
        "fits": simulation.fits,
        "rows_max_over_mean": balances.rows.max_over_mean,
        "work_max_over_mean": balances.flops.max_over_mean,
        "seconds_max_over_mean": balances.seconds.max_over_mean,
        "straggler": simulation.straggler,
    }
