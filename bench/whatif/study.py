"""A study: the grid, what its names stand for, and the scenarios it comes to."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...placement import CLUSTERS, Cluster, CostModel, find_policy, h200_roofline
from ...reference import LayerSpec
from ..workloads import Workload, parse_routing, resolve_spec, trace_domains, trace_layers
from .costs import costs_of
from .grid import ALL, AUTO, EACH, Grid
from .scenario import Scenario

MOST_SCENARIOS = 1_000_000


@dataclass(frozen=True)
class Wanted:
    """What was asked for, as a run's notes keep it.

    grid:      axes and values, as `Grid.to_dict`
    trace:     file of the routing "trace", absolute, or None
    costs:     run whose measured times say what experts take, absolute; None for rates of a data sheet
    implementation: whose times these are, where the run has several
    baseline:  the policy whose placement there is now
    horizon:   steps until the next re-placement
    """

    grid: dict[str, list[Any]]
    trace: str | None = None
    costs: str | None = None
    implementation: str | None = None
    baseline: str = "aga"
    horizon: int = 1000


@dataclass(frozen=True)
class Study:
    """Scenarios in the order of their numbers, and what they name.

    scenarios:  the grid's points; ids: of each
    specs, clusters, workloads: by the names scenarios have; costs: by hidden width
    links:      source of each cluster's links, by its name, measured or predicted
    digest:     of everything that files said: specs, clusters, the trace
    """

    wanted: Wanted
    scenarios: tuple[Scenario, ...]
    ids: tuple[str, ...]
    specs: dict[str, LayerSpec]
    clusters: dict[str, Cluster]
    workloads: dict[str, Workload]
    costs: dict[int, CostModel]
    digest: str = ""
    notes: dict[str, Any] = field(default_factory=dict)


def make_study(wanted: Wanted) -> Study:
    """Read the files the grid names and lay out its scenarios. Raises ValueError."""
    find_policy(wanted.baseline)
    grid = Grid.from_dict(wanted.grid)
    specs = _by_name("spec", [resolve_spec(text) for text in grid["spec"]])
    workloads = _workloads(grid, wanted.trace)
    clusters = dict(CLUSTERS)
    named = [name if name == AUTO else _cluster(name) for name in grid["cluster"]]
    clusters |= _by_name("cluster", [cluster for cluster in named if isinstance(cluster, Cluster)])
    count = _count(grid, specs, workloads)
    if count > MOST_SCENARIOS:
        raise ValueError(f"--grid: expected at most {MOST_SCENARIOS} scenarios, got {count}")
    scenarios = tuple(dict.fromkeys(_points(grid, specs, workloads, named)))
    used = {scenario.cluster for scenario in scenarios}
    costs = _costs(wanted, specs)
    return Study(
        wanted=wanted,
        scenarios=scenarios,
        ids=tuple(scenario.id(specs[scenario.spec]) for scenario in scenarios),
        specs=specs,
        clusters={name: cluster for name, cluster in clusters.items() if name in used},
        workloads=workloads,
        costs=costs,
        digest=_digest([*specs.values(), *(clusters[name] for name in sorted(used))], wanted.trace),
        notes={
            "costs": {str(hidden): f"{model.provenance}: {model.source}" for hidden, model in costs.items()},
            "links": {name: _links(clusters[name]) for name in sorted(used)},
        },
    )


def _count(grid: Grid, specs: dict[str, LayerSpec], workloads: dict[str, Workload]) -> int:
    count = len(specs) * len(workloads)
    for axis in ("tokens", "seed", "group_loss", "ranks", "cluster", "style", "replicas", "capacity", "policy"):
        count *= len(grid[axis])
    return count


def _points(
    grid: Grid, specs: dict[str, LayerSpec], workloads: dict[str, Workload], clusters: Sequence[str | Cluster]
) -> list[Scenario]:
    """Neighbours share what takes longest to make: the routing first, the placement last."""
    axes: list[Any] = [specs, grid["tokens"], workloads, grid["seed"], grid["group_loss"], grid["ranks"], clusters]
    axes += [grid[name] for name in ("style", "replicas", "capacity", "policy")]
    points = []
    for spec, tokens, routing, seed, loss, ranks, cluster, *rest in itertools.product(*axes):
        name = cluster.name if isinstance(cluster, Cluster) else _smallest(ranks)
        points.append(Scenario(spec, tokens, routing, seed, loss, ranks, name, *rest))
    return points


def _smallest(ranks: int) -> str:
    """The preset with the fewest ranks that has as many, or the largest."""
    ordered = sorted(CLUSTERS.values(), key=lambda cluster: cluster.ranks)
    return next((cluster.name for cluster in ordered if cluster.ranks >= ranks), ordered[-1].name)


def _cluster(text: str) -> Cluster:
    return Cluster.from_toml(text) if text.endswith(".toml") or "/" in text else Cluster.preset(text)


def _by_name(axis: str, things: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for thing in things:
        if found.setdefault(thing.name, thing) != thing:
            raise ValueError(f"--grid {axis}: expected different names, got {thing.name!r} for two that differ")
    return found


def _workloads(grid: Grid, trace: str | None) -> dict[str, Workload]:
    """By name, in the order asked for. Raises ValueError."""
    asked = list(grid["routing"]) if grid.given("routing") else []
    asked += [f"zipf:{exponent:g}" for exponent in (grid["skew"] if grid.given("skew") else ())]
    asked = asked or (["trace"] if trace else list(grid["routing"]))
    if "trace" not in asked and (trace or grid.given("domain") or grid.given("layer")):
        raise ValueError("--trace, domain and layer: expected routing=trace among the routings, got none")
    found: list[Workload] = []
    for name in asked:
        found += _recorded(grid, trace) if name == "trace" else [parse_routing(name)]
    return {workload.name: workload for workload in found}


def _recorded(grid: Grid, trace: str | None) -> list[Workload]:
    if trace is None:
        raise ValueError("--grid routing: expected --trace FILE beside the routing trace, got none")
    domains = trace_domains(trace) if EACH in grid["domain"] else [None if d == ALL else d for d in grid["domain"]]
    chosen = grid["layer"] if grid.given("layer") else (trace_layers(trace)[0],)
    layers = trace_layers(trace) if EACH in chosen else chosen
    return [
        parse_routing("trace", trace=trace, domain=domain, layer=layer)
        for domain, layer in itertools.product(domains, layers)
    ]


def _costs(wanted: Wanted, specs: dict[str, LayerSpec]) -> dict[int, CostModel]:
    hidden = sorted({spec.hidden for spec in specs.values()})
    if wanted.costs is None:
        if wanted.implementation is not None:
            raise ValueError("--implementation: expected --costs RUN beside it, got none")
        return {width: h200_roofline(width) for width in hidden}
    return {width: costs_of(Path(wanted.costs), width, wanted.implementation) for width in hidden}


def _links(cluster: Cluster) -> str:
    links = [link for link in (cluster.inside, cluster.between) if link is not None]
    return "; ".join(f"{link.name}, {link.provenance}: {link.source}" for link in links)


def _digest(things: Sequence[Any], trace: str | None) -> str:
    """Of what files said, so that a study does not go on with others."""
    digest = hashlib.sha256()
    for thing in things:
        tables = (thing.inside, thing.between) if isinstance(thing, Cluster) else ()
        numbers = [(link.sizes.tolist(), link.seconds.tolist()) for link in tables if link is not None]
        digest.update(repr((thing, numbers)).encode())
    if trace is not None:
        files = sorted(Path(trace).iterdir()) if Path(trace).is_dir() else [Path(trace)]
        for file in files:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
