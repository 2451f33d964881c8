"""`mohge place`: put experts on ranks under one or all policies and say how far from the best each is."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer

from ...placement import POLICIES, policies_for, read_loads
from ...reference import LayerSpec
from ..runner.grids import check_dtype
from ..runner.placing import place_loads
from .options import SpecOption, resolve_spec
from .output import JsonOption, check_json, table, write_json

# Without a file of loads: one batch of the paper's size on one rank.
DEFAULT_TOKENS = 16384


def place(
    spec: SpecOption = "mohge-3b",
    loads: Annotated[
        Path | None, typer.Option(help="CSV of counts: domain, layer, then the rows of every expert.")
    ] = None,
    ranks: Annotated[int, typer.Option(help="Expert-parallel ranks (GPUs).")] = 8,
    policy: Annotated[str, typer.Option(help=f"One of {', '.join(POLICIES)}, or all.")] = "all",
    domain: Annotated[str | None, typer.Option(help="Only this domain of the loads.")] = None,
    layer: Annotated[int | None, typer.Option(help="Only this layer of the loads.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16, for the memory.")] = "bfloat16",
    json: JsonOption = None,
) -> None:
    """Place the experts of a layer on ranks and show work, memory and the distance from a proven bound.

    Example: mohge place --spec mohge-3b --loads olmoe-1b-7b.counts.csv --ranks 8 --policy all
    """
    layer_spec = resolve_spec(spec)
    check_dtype(dtype, "cuda")
    check_json(json)
    if loads is None and (domain is not None or layer is not None):
        raise ValueError("--domain and --layer choose lines of --loads, and none was given")
    rows = [
        {"domain": domain_name, "layer": layer_number, **row}
        for domain_name, layer_number, counts in _cases(loads, layer_spec, domain, layer)
        for row in place_loads(layer_spec, counts, ranks, _policies(policy, layer_spec, counts, ranks), dtype)
    ]
    if write_json(json, rows):
        return
    _show(rows, layer_spec, ranks)


def _policies(policy: str, spec: LayerSpec, counts: Any, ranks: int) -> list[str]:
    if policy == "all":
        return policies_for(spec, counts, ranks)
    if policy not in POLICIES:
        near = difflib.get_close_matches(policy, [*POLICIES, "all"], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown policy {policy!r}{hint} Known: all, {', '.join(POLICIES)}")
    return [policy]


def _cases(path: Path | None, spec: LayerSpec, domain: str | None, layer: int | None) -> list[tuple[str, int, Any]]:
    """The load vectors to place: those of the CSV, or one seeded Zipf load when none is given."""
    from ..workloads import parse_routing, routing_counts

    if path is None:
        routing = parse_routing("zipf:1.0").routing(spec, DEFAULT_TOKENS)
        return [("zipf:1.0", 0, routing_counts(routing, spec.experts))]
    cases = [
        (entry.domain, entry.layer, entry.counts)
        for entry in read_loads(path, spec.experts)
        if (domain is None or entry.domain == domain) and (layer is None or entry.layer == layer)
    ]
    if not cases:
        known = sorted({(entry.domain, entry.layer) for entry in read_loads(path, spec.experts)})
        raise ValueError(
            f"{path}: nothing for domain {domain}, layer {layer}; it has {', '.join(f'{d} {n}' for d, n in known)}"
        )
    return cases


def _show(rows: list[dict[str, Any]], spec: LayerSpec, ranks: int) -> None:
    cells = [
        [
            str(row["domain"]),
            str(row["layer"]),
            row["policy"],
            f"{row['work_max_over_mean']:.3f}",
            f"{row['work_over_bound']:.3f}",
            f"{row['memory_max_over_mean']:.3f}",
            str(row["straggler"]),
        ]
        for row in rows
    ]
    numbers = ("work max/mean", "work/bound", "memory max/mean", "straggler")
    table(f"{spec.name} on {ranks} ranks", ["domain", "layer", "policy", *numbers], cells, right=numbers)
