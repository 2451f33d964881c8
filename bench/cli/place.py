"""`mohge place`: put experts on ranks under one or all policies and say how far from the best each is."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer

from ...placement import AUTO, EXPORTS, FORMATS, POLICIES, Placement
from ...reference import LayerSpec
from ..runner.grids import check_dtype
from ..runner.jobs import Source, TimingLimits
from ..runner.placing import place_loads, place_under_all, placement_row
from ..workloads import first_of
from .measuring import LockOption, OutOption, TimeoutOption
from .options import SpecOption, TimerOption, resolve_spec
from .output import JsonOption, check_json, check_target, console, table, write_json, write_pieces
from .place_measure import (
    MEASURE,
    Batch,
    CostsOption,
    DeviceOption,
    How,
    ImplementationsOption,
    SecondsOption,
    check_not_measuring,
    measure_placements,
)
from .place_options import (
    ByOption,
    LimitOption,
    MemoryOption,
    ModeOption,
    NodesOption,
    ReplicasOption,
    SlotsOption,
    SolverOption,
    SpeedsOption,
    SwapsOption,
    problem_options,
)

# Without a file of loads: one batch of the paper's size on one rank.
DEFAULT_TOKENS = 16384
EVERY = "all"


def place(
    context: typer.Context,
    spec: SpecOption = "mohge-3b",
    loads: Annotated[
        Path | None, typer.Option(help=f"Recorded routing in any of the formats {', '.join(FORMATS)}.")
    ] = None,
    format: Annotated[  # noqa: A002  (what it is called everywhere)
        str, typer.Option(help="The format of --loads; auto tells it by the file's ending and content.")
    ] = AUTO,
    ranks: Annotated[int, typer.Option(help="Expert-parallel ranks (GPUs).")] = 8,
    policy: Annotated[
        str, typer.Option(help=f"One of {', '.join(POLICIES)}, or all: every one that takes no time, not exact.")
    ] = EVERY,
    replicas: ReplicasOption = 0,
    slots: SlotsOption = "even",
    speeds: SpeedsOption = None,
    memory_cap: MemoryOption = None,
    nodes: NodesOption = 1,
    by: ByOption = None,
    swaps: SwapsOption = False,
    mode: ModeOption = None,
    solver: SolverOption = None,
    time_limit: LimitOption = None,
    domain: Annotated[
        str | None, typer.Option(help="Only this domain of the loads, or all: every domain added up.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Only this layer of the loads.")] = None,
    dtype: Annotated[
        str, typer.Option(help="float32, float16 or bfloat16; auto is bfloat16, and on a CPU with --measure float32.")
    ] = "auto",
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the placement of every layer for a serving engine.")
    ] = None,
    export_format: Annotated[
        str, typer.Option(help="; ".join(f"{name}: {known.description}" for name, known in EXPORTS.items()))
    ] = "eplb",
    measure: Annotated[
        bool, typer.Option("--measure", help="Run each rank's experts on this device, one rank after another.")
    ] = False,
    tokens: Annotated[int, typer.Option(help="With --measure: tokens of the batch.", min=1)] = 4096,
    device: DeviceOption = "auto",
    implementations: ImplementationsOption = None,
    costs: CostsOption = MEASURE,
    seconds: SecondsOption = 1.0,
    timer: TimerOption = "auto",
    seed: Annotated[int, typer.Option(help="With --measure: seed of the batch, the weights and inputs.", min=0)] = 0,
    timeout: TimeoutOption = 180.0,
    out: OutOption = Path("runs"),
    lock: LockOption = True,
    json: JsonOption = None,
) -> int:
    """Place the experts of a layer on ranks and show work, memory and the distance from a proven bound.

    Example: mohge place --spec mohge-3b --loads olmoe-1b-7b.counts.csv --ranks 8 --policy all

    With replicas on ranks of two speeds: mohge place --policy eplb --ranks 4 --replicas 8 --speeds 1,1,0.5,0.5

    For a serving engine: mohge place --loads expert_distribution_recorder.pt --policy lpt --export map.yaml
    --export-format trtllm

    The simulation held against the device: mohge place --measure --ranks 8 --policy aga
    """
    layer_spec = resolve_spec(spec)
    check_json(json)
    if not measure:
        check_not_measuring(context)
    if loads is None and (domain is not None or layer is not None or format != AUTO):
        raise ValueError("--domain, --layer and --format say what to take of --loads, and none was given")
    _check_policy(policy)
    options = problem_options(replicas, slots, speeds, memory_cap, nodes)
    chosen = {"by": by, "swaps": swaps or None, "mode": mode, "solver": solver, "time_limit_s": time_limit}
    own = {name: value for name, value in chosen.items() if value is not None}

    def place_counts(counts: Any, kind: str) -> tuple[list[Placement], dict[str, str]]:
        if policy == EVERY:
            return place_under_all(layer_spec, counts, ranks, kind, own, **options)
        return place_loads(layer_spec, counts, ranks, [policy], kind, **options, **own), {}

    if measure:
        if export is not None:
            raise ValueError("--export writes placements of whole loads: expected it without --measure")
        chosen_domain = None if domain == EVERY else domain
        source = Source("zipf:1.0") if loads is None else Source("trace", str(loads), chosen_domain, layer)
        batch = Batch(layer_spec, source, format, tokens, seed, dtype, device)
        how = How(implementations, costs, TimingLimits(seconds, timer=timer), timeout, out, lock)
        return measure_placements(batch, place_counts, how, json)
    dtype = check_dtype(dtype, "cuda")
    if export is not None:
        _check_export(export, export_format, policy)
    placed: list[tuple[str, int, Placement]] = []
    refused: dict[str, str] = {}
    for domain_name, layer_number, counts in _cases(loads, format, layer_spec, domain, layer):
        placements, refusals = place_counts(counts, dtype)
        refused.update(refusals)
        placed += [(domain_name, layer_number, placement) for placement in placements]
    rows = [{"domain": name, "layer": number, **placement_row(placement)} for name, number, placement in placed]
    if export is not None:
        _export(export, export_format, placed)
    if not write_json(json, rows):
        _show(rows, layer_spec, ranks)
        _say([placement for _, _, placement in placed], refused)
    return 0


def _check_policy(policy: str) -> None:
    if policy != EVERY and policy not in POLICIES:
        near = difflib.get_close_matches(policy, [*POLICIES, EVERY], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown policy {policy!r}{hint} Known: {EVERY}, {', '.join(POLICIES)}")


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
        have = first_of([f"{name} {number}" for name, number in recorded.lines])
        raise ValueError(f"{path}: nothing for domain {domain}, layer {layer}; it has {have}")
    return [(name, number, recorded.counts([name], number)) for name, number in chosen]


def _check_export(path: Path, format: str, policy: str) -> None:  # noqa: A002
    """Raise ValueError before anything is placed."""
    if format not in EXPORTS:
        near = difflib.get_close_matches(format, EXPORTS, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown export format {format!r}{hint} Known: {', '.join(EXPORTS)}")
    if policy == EVERY:
        raise ValueError(
            f"--export writes the placements of one policy: expected --policy, one of {', '.join(POLICIES)}"
        )
    check_target("--export", str(path))


def _export(path: Path, format: str, placed: list[tuple[str, int, Placement]]) -> None:  # noqa: A002
    """Write one placement for each layer. Raises ValueError for loads of several domains."""
    domains = list(dict.fromkeys(name for name, _, _ in placed))
    if len(domains) > 1:
        raise ValueError(
            f"--export writes one placement a layer: expected --domain, {EVERY} or one of {first_of(domains)}"
        )
    text = EXPORTS[format].write({number: placement for _, number, placement in placed})
    write_pieces("--export", str(path), [text])


def _show(rows: list[dict[str, Any]], spec: LayerSpec, ranks: int) -> None:
    ratios = ("work_max_over_mean", "work_over_bound", "work_over_size_bound", "memory_max_over_mean")
    cells = [
        [
            *(str(row["domain"]), str(row["layer"]), row["policy"]),
            *("-" if row[ratio] is None else f"{row[ratio]:.3f}" for ratio in ratios),
            str(row["straggler"]),
        ]
        for row in rows
    ]
    numbers = ("work max/mean", "work/bound", "work/size bound", "memory max/mean", "straggler")
    table(f"{spec.name} on {ranks} ranks", ["domain", "layer", "policy", *numbers], cells, right=numbers)


def _say(placements: list[Placement], refused: dict[str, str]) -> None:
    """What had to be bent, what solvers said, and who refused, each line once."""
    lines = []
    for placement in placements:
        said = placement.solution
        if placement.note:
            lines.append(f"{placement.policy}: {placement.note}")
        if said is not None:
            lines.append(
                f"{placement.policy}: {said.solver}, {said.status}; at most {said.gap:.2%} above the best possible "
                f"{said.unit} (limit {said.time_limit_s:g} s)"
            )
    by_reason: dict[str, list[str]] = {}
    for name, reason in refused.items():
        by_reason.setdefault(reason, []).append(name)
    lines += [f"not placed by {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    for line in dict.fromkeys(lines):
        console.print(line, markup=False, highlight=False)
