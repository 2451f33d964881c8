"""Plan on one part of a recorded routing, score on another: what a plan is worth on traffic it has not seen."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...placement import allocate, rescore, transfer
from ...reference import LayerSpec
from ..records import IMPOSSIBLE, POSSIBLE, Provenance, TransferRecord
from ..workloads import open_trace, trace_domains, trace_fits, trace_layers
from .grid import ALL, EACH, Grid
from .study import Study

Key = tuple[str, int, str, int]  # spec, ranks, policy, replicas


@dataclass(frozen=True)
class Plan:
    """What is planned on every window and scored on all. windows: by name rows of each expert, int64[L, E]."""

    spec: LayerSpec
    ranks: int
    policy: str
    replicas: int
    trace: str
    layers: tuple[int, ...]
    windows: dict[str, NDArray[np.int64]]

    @property
    def key(self) -> Key:
        """What tells it from the study's others."""
        return self.spec.name, self.ranks, self.policy, self.replicas


def plans_of(study: Study, done: Container[Key] = ()) -> list[Plan]:
    """The study's placements to be scored elsewhere; none without a recorded routing of two windows at least.

    Windows are domains, those of the grid or all; with one domain of a per-token trace the halves of its tokens.
    """
    trace = study.wanted.trace
    if trace is None:
        return []
    recorded: dict[str, tuple[tuple[int, ...], dict[str, NDArray[np.int64]]]] = {}
    plans: dict[Key, Plan] = {}
    for scenario in study.scenarios:
        spec = study.specs[scenario.spec]
        if scenario.spec not in recorded:
            recorded[spec.name] = _windows(trace, spec, Grid.from_dict(study.wanted.grid))
        layers, windows = recorded[spec.name]
        plan = Plan(spec, scenario.ranks, scenario.policy, scenario.replicas, Path(trace).stem, layers, windows)
        if len(windows) > 1 and plan.key not in done:
            plans.setdefault(plan.key, plan)
    return list(plans.values())


def scored(plan: Plan) -> TransferRecord:
    """The largest over mean work of a rank under every window's plan on every window. Pure."""
    asked: dict[str, Any] = {
        "spec": plan.spec.name,
        "ranks": plan.ranks,
        "policy": plan.policy,
        "replicas": plan.replicas,
        "trace": plan.trace,
        "windows": list(plan.windows),
        "layers": list(plan.layers),
        "provenance": Provenance.SIMULATED,
    }
    try:
        found = transfer(
            lambda loads: allocate(plan.policy, plan.spec, loads, plan.ranks, replicas=plan.replicas),
            lambda placement, loads: rescore(placement, loads).work_max_over_mean,
            plan.windows,
        )
    except ValueError as error:
        return TransferRecord(**asked, status=IMPOSSIBLE, reason=str(error))
    scores = found.scores.tolist()
    return TransferRecord(**asked, status=POSSIBLE, scores=scores, on_own=found.on_own, on_others=found.on_others)


def key_of(record: TransferRecord) -> Key:
    """The key of the plan a record is of."""
    return record.spec, record.ranks, record.policy, record.replicas


def _windows(trace: str, spec: LayerSpec, grid: Grid) -> tuple[tuple[int, ...], dict[str, NDArray[np.int64]]]:
    """The layers, and each window's rows in them; no windows for a layer that the trace does not fit."""
    if not trace_fits(trace, spec):
        return (), {}
    given = [layer for layer in grid["layer"] if layer != EACH] if grid.given("layer") else []
    layers = tuple(given or trace_layers(trace))
    domains = [domain for domain in grid["domain"] if domain not in (ALL, EACH)] or trace_domains(trace)
    if len(domains) > 1:
        windows = {
            domain: np.stack([open_trace(trace, domain, layer).counts(spec.experts) for layer in layers])
            for domain in domains
        }
    else:
        windows = _halves(trace, domains[0], layers, spec.experts)
    return layers, windows


def _halves(trace: str, domain: str, layers: tuple[int, ...], experts: int) -> dict[str, NDArray[np.int64]]:
    parts: tuple[list[Any], list[Any]] = [], []
    for layer in layers:
        ids = open_trace(trace, domain, layer).token_experts()
        if ids is None or len(ids) < 2:
            return {}
        for part, half in zip(parts, (ids[: len(ids) // 2], ids[len(ids) // 2 :]), strict=True):
            part.append(np.bincount(half.ravel(), minlength=experts))
    return {f"{name} half of {domain}": np.stack(part) for name, part in zip(("first", "second"), parts, strict=True)}


def means(record: TransferRecord) -> NDArray[np.float64]:
    """Mean scores over layers, float64[W, W]: line = planned on, column = scored on."""
    return np.asarray(record.scores, dtype=np.float64).mean(axis=0)


def best_elsewhere(records: list[TransferRecord]) -> Iterator[TransferRecord]:
    """For each layer and number of ranks the plan that is most even on windows it has not seen."""
    grouped: dict[tuple[str, int], list[TransferRecord]] = {}
    for record in records:
        if record.on_others is not None:
            grouped.setdefault((record.spec, record.ranks), []).append(record)
    for same in grouped.values():
        yield min(same, key=lambda record: record.on_others or 0.0)
