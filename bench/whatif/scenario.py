"""A scenario: everything that decides what a step takes, by name; and what its names stand for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache

from ...placement import Cluster, CostModel
from ...reference import LayerSpec
from ..workloads import INTERVAL, Workload


@dataclass(frozen=True)
class Scenario:
    """One point of the grid; the fields are those of `WhatIfRecord`, which says what they are."""

    spec: str
    tokens: int
    routing: str
    seed: int
    group_loss: float
    ranks: int
    cluster: str
    style: str
    replicas: int
    capacity: float | None
    policy: str

    def id(self, spec: LayerSpec) -> str:
        """16 hexadecimal digits, the same for the same scenario of the same layer in whichever run."""
        text = json.dumps(vars(self)) + _layer(spec)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache
def _layer(spec: LayerSpec) -> str:
    return json.dumps(spec.to_dict())


@dataclass(frozen=True)
class Materials:
    """What a scenario's names stand for, and what it is compared with. Can be sent to another process.

    spec:      the layer
    workload:  where its routings come from
    cluster:   the machines it names, of any number of ranks
    costs:     seconds of experts
    baseline:  the policy whose placement there is now, with one copy of each expert and no cap
    horizon:   steps until the next re-placement
    interval:  of the group loss
    """

    spec: LayerSpec
    workload: Workload
    cluster: Cluster
    costs: CostModel
    baseline: str = "aga"
    horizon: int = 1000
    interval: float = INTERVAL
