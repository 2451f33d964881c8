"""Scenarios solved together: what is sent to another process or machine, and what comes back."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from itertools import groupby

from ...placement import POLICIES, Cluster, CostModel
from ...reference import LayerSpec
from ..records import WhatIfRecord
from ..workloads import Workload
from .scenario import Materials, Scenario
from .solve import Solver
from .study import Study

# Scenarios of a batch: few enough that a kill costs a fraction of a second, many enough that they share placements.
TOGETHER = 64


@dataclass(frozen=True)
class Batch:
    """Scenarios of one layer and one steered routing, each with its number; the other fields as in `Materials`."""

    scenarios: tuple[tuple[int, Scenario], ...]
    spec: LayerSpec
    workload: Workload
    clusters: dict[str, Cluster]
    costs: CostModel
    baseline: str
    horizon: int


def batches_of(study: Study, done: Container[str] = ()) -> list[Batch]:
    """The study's scenarios whose ids are not among those done, in the order of their numbers."""
    left = [
        (number, scenario)
        for number, (scenario, key) in enumerate(zip(study.scenarios, study.ids, strict=True))
        if key not in done
    ]
    batches = []
    for (spec, routing, *_), same in groupby(left, key=_shared):
        of_group = list(same)
        size = TOGETHER if all(POLICIES[scenario.policy].quick for _, scenario in of_group) else 1
        for first in range(0, len(of_group), size):
            part = tuple(of_group[first : first + size])
            names = {scenario.cluster for _, scenario in part}
            batches.append(
                Batch(
                    scenarios=part,
                    spec=study.specs[spec],
                    workload=study.workloads[routing],
                    clusters={name: study.clusters[name] for name in names},
                    costs=study.costs[study.specs[spec].hidden],
                    baseline=study.wanted.baseline,
                    horizon=study.wanted.horizon,
                )
            )
    return batches


def _shared(entry: tuple[int, Scenario]) -> tuple[str, str, int, int, float]:
    """What a batch has in common; with the group loss, so that steering rows is not done in two processes."""
    scenario = entry[1]
    return scenario.spec, scenario.routing, scenario.tokens, scenario.seed, scenario.group_loss


def solve_batch(batch: Batch) -> list[WhatIfRecord]:
    """The records of a batch, in its order. Pure."""
    solver = Solver()
    records = []
    for number, scenario in batch.scenarios:
        cluster = batch.clusters[scenario.cluster]
        materials = Materials(
            batch.spec, batch.workload, cluster, batch.costs, baseline=batch.baseline, horizon=batch.horizon
        )
        records.append(solver.solve(scenario, materials, number))
    return records
