"""`mohge place`: put experts on ranks under one or all policies and say how far from the best each is."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer

from ...placement import AUTO, EXPORTS, FORMATS, POLICIES, Placement, policies_for
from ...reference import LayerSpec
from ..runner.grids import check_dtype
from ..runner.placing import place_loads, placement_row
from .options import SpecOption, resolve_spec
from .output import JsonOption, check_json, check_target, table, write_json, write_pieces

# Without a file of loads: one batch of the paper's size on one rank.
DEFAULT_TOKENS = 16384
EVERY = "all"


def place(
    spec: SpecOption = "mohge-3b",
    loads: Annotated[
        Path | None, typer.Option(help=f"Recorded routing in any of the formats {', '.join(FORMATS)}.")
    ] = None,
    format: Annotated[  # noqa: A002  (what it is called everywhere)
        str, typer.Option(help="The format of --loads; auto tells it by the file's ending and content.")
    ] = AUTO,
    ranks: Annotated[int, typer.Option(help="Expert-parallel ranks (GPUs).")] = 8,
    policy: Annotated[str, typer.Option(help=f"One of {', '.join(POLICIES)}, or all.")] = "all",
    domain: Annotated[
        str | None, typer.Option(help="Only this domain of the loads, or all: every domain added up.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Only this layer of the loads.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16, for the memory.")] = "bfloat16",
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the placement of every layer for a serving engine.")
    ] = None,
    export_format: Annotated[
        str, typer.Option(help="; ".join(f"{name}: {known.description}" for name, known in EXPORTS.items()))
    ] = "eplb",
    json: JsonOption = None,
) -> None:
    """Place the experts of a layer on ranks and show work, memory and the distance from a proven bound.

    Example: mohge place --spec mohge-3b --loads olmoe-1b-7b.counts.csv --ranks 8 --policy all

    For a serving engine: mohge place --loads expert_distribution_recorder.pt --policy lpt --export map.yaml
    --export-format trtllm
    """
    layer_spec = resolve_spec(spec)
    check_dtype(dtype, "cuda")
    check_json(json)
    if loads is None and (domain is not None or layer is not None or format != AUTO):
        raise ValueError("--domain, --layer and --format say what to take of --loads, and none was given")
    if export is not None:
        _check_export(export, export_format, policy)
    placed = [
        (domain_name, layer_number, placement)
        for domain_name, layer_number, counts in _cases(loads, format, layer_spec, domain, layer)
        for placement in place_loads(layer_spec, counts, ranks, _policies(policy, layer_spec, counts, ranks), dtype)
    ]
    rows = [{"domain": name, "layer": number, **placement_row(placement)} for name, number, placement in placed]
    if export is not None:
        _export(export, export_format, placed)
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


def _cases(
    path: Path | None,
    format: str,  # noqa: A002
    spec: LayerSpec,
    domain: str | None,
    layer: int | None,
) -> list[tuple[str, int, Any]]:
    """The load vectors to place: those of the file, or one seeded Zipf load when none is given."""
    from ..workloads import open_recorded, parse_routing, routing_counts

    if path is None:
        routing = parse_routing("zipf:1.0").routing(spec, DEFAULT_TOKENS)
        return [("zipf:1.0", 0, routing_counts(routing, spec.experts))]
    recorded = open_recorded(path, format, spec.experts)
    if domain == EVERY and EVERY not in recorded.domains:
        having = {number: [name for name, at in recorded.lines if at == number] for number in recorded.layers}
        chosen = [(names, number) for number, names in having.items() if layer in (None, number)]
        return [(EVERY, number, recorded.counts(names, number)) for names, number in chosen]
    chosen = [
        (name, number)
        for name, number in recorded.lines
        if (domain is None or name == domain) and (layer is None or number == layer)
    ]
    if not chosen:
        have = _first([f"{name} {number}" for name, number in recorded.lines])
        raise ValueError(f"{path}: nothing for domain {domain}, layer {layer}; it has {have}")
    return [(name, number, recorded.counts([name], number)) for name, number in chosen]


def _first(names: list[str], most: int = 12) -> str:
    """The names in one line, the first few of many."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"


def _check_export(path: Path, format: str, policy: str) -> None:  # noqa: A002
    """Raise ValueError before anything is placed."""
    if format not in EXPORTS:
        near = difflib.get_close_matches(format, EXPORTS, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown export format {format!r}{hint} Known: {', '.join(EXPORTS)}")
    if policy == "all":
        raise ValueError(
            f"--export writes the placements of one policy: expected --policy, one of {', '.join(POLICIES)}"
        )
    check_target("--export", str(path))


def _export(path: Path, format: str, placed: list[tuple[str, int, Placement]]) -> None:  # noqa: A002
    """Write one placement for each layer. Raises ValueError for loads of several domains."""
    domains = list(dict.fromkeys(name for name, _, _ in placed))
    if len(domains) > 1:
        raise ValueError(
            f"--export writes one placement a layer: expected --domain, {EVERY} or one of {_first(domains)}"
        )
    text = EXPORTS[format].write({number: placement for _, number, placement in placed})
    write_pieces("--export", str(path), [text])


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
