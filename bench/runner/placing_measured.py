"""Placements measured: every rank of each run one after another on one device, beside what the simulation says.

The ranks' layers and the tables the simulation interpolates go through the run's own worker, gate and timer and are
records of the same run; a placement refers to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...placement import (
    Cluster,
    CostModel,
    Link,
    Placement,
    Simulation,
    h200_roofline,
    simulate,
)
from ...placement.copies import holders
from ...reference import LayerSpec
from ..records import PlacementRecord, Provenance, RankTimes, Record, Run, Status, load_run
from ..workloads import Case
from .jobs import Job
from .placing import placement_row
from .rank_costs import measured_costs
from .rank_layers import RankLayer, rank_job, rank_layer, table_jobs

MEASURE, PREDICT = "measure", "predict"
# Exchanges are no part of what is measured; the simulation wants links all the same.
_NO_LINK = Link("not simulated", alpha_s=0.0, bytes_per_s=1.0, source="exchanges are left out")


@dataclass(frozen=True)
class Ranks:
    """A placement, and the layer of each of its ranks with the rows that the batch sends there."""

    placement: Placement
    layers: tuple[RankLayer, ...]


@dataclass(frozen=True)
class Measurement:
    """What is measured.

    case:        the layer and the batch
    expert_ids:  int[T, K], the batch's routing
    ranks:       its placements
    like:        device, dtype, implementations and limits of every job
    costs:       where the simulation's seconds are from: "measure" in this run, "predict", or another run's file
    """

    case: Case
    expert_ids: NDArray[np.int64]
    ranks: tuple[Ranks, ...]
    like: Job
    costs: str = MEASURE


def plan_measurement(
    case: Case, place: Callable[[NDArray[np.int64]], Sequence[Placement]], like: Job, costs: str = MEASURE
) -> Measurement:
    """Place the experts of a case by the rows of its own batch, and cut out every rank.

    place: rows per expert int[E] to placements, each of another policy. Raises ValueError for a batch without tokens, a
    rank without experts, and costs that are no run file.
    """
    if not case.tokens:
        raise ValueError("tokens: expected at least 1 to measure ranks, got 0")
    if costs not in (MEASURE, PREDICT):
        load_run(Path(costs))
    ids = np.asarray(case.workload.routing(case.spec, case.tokens, case.seed, case.step).expert_ids)
    placed = place(np.bincount(ids.ravel(), minlength=case.spec.experts))
    cut = tuple(Ranks(placement, _layers(case.spec, placement, ids)) for placement in placed)
    return Measurement(case, ids, cut, replace(like, spec=case.spec, cases=()), costs)


def jobs_of(asked: Measurement, folder: Path) -> list[Job]:
    """The jobs of the tables, then those of all ranks that have rows, whose loads are written below `folder`."""
    jobs = [
        rank_job(layer, folder / "ranks" / ranks.placement.policy, asked.like)
        for ranks in asked.ranks
        for layer in ranks.layers
        if layer.rows
    ]
    if asked.costs != MEASURE:
        return jobs
    layers = [layer for ranks in asked.ranks for layer in ranks.layers]
    counts = [int(count) for layer in layers for count in layer.counts]
    return table_jobs(asked.case.spec, counts, max(len(layer.experts) for layer in layers), asked.like) + jobs


def measured_records(asked: Measurement, run: Run, run_file: Path) -> list[PlacementRecord]:
    """One record for each placement and implementation, out of the records of the run that did the jobs.

    Where an implementation has no table (it may have failed on it), the record says so in its notes and is simulated
    with the labelled prediction. Raises ValueError when another run's costs cannot be read.
    """
    return [
        _record(asked, ranks, implementation, run, *_costs(asked, implementation, run, run_file))
        for implementation in asked.like.implementations
        for ranks in asked.ranks
    ]


def _simulated(spec: LayerSpec, placement: Placement, ids: NDArray[np.int64], costs: CostModel) -> Simulation:
    """The step under a placement; only its rows and its compute are meant, for the links are none, and all ranks are as
    fast as the one device they are measured on.
    """
    cluster = Cluster("one device, rank after rank", nodes=1, ranks_per_node=placement.ranks, inside=_NO_LINK)
    return simulate(placement, ids, spec, cluster, costs)


def _layers(spec: LayerSpec, placement: Placement, ids: NDArray[np.int64]) -> tuple[RankLayer, ...]:
    # The rows are the same whatever they cost.
    expert_rows = _simulated(spec, placement, ids, h200_roofline(spec.hidden)).traffic.expert_rows
    rows, held = np.rint(expert_rows).astype(np.int64), holders(placement)
    name = f"{spec.name}, {placement.policy}, rank {{}} of {placement.ranks}"
    return tuple(
        rank_layer(spec, rank, np.flatnonzero(held[:, rank]), rows[:, rank], name.format(rank))
        for rank in range(placement.ranks)
    )


def _costs(asked: Measurement, implementation: str, run: Run, run_file: Path) -> tuple[CostModel, str]:
    """The cost model, and a note: how far it is from points it was not told, or why it is a prediction."""
    roofline = h200_roofline(asked.case.spec.hidden)
    if asked.costs == PREDICT:
        return roofline, ""
    source = run_file if asked.costs == MEASURE else Path(asked.costs)
    records = run.records if asked.costs == MEASURE else load_run(source).records
    facts = asked.case.spec.hidden, asked.case.dtype, asked.case.device
    try:
        costs = measured_costs(records, implementation, *facts, f"{implementation} in {source}")
    except ValueError as error:
        return roofline, f"predicted: {error}"
    return costs.table, f"table of single experts: {costs.error}" if costs.error else ""


def _record(
    asked: Measurement, ranks: Ranks, implementation: str, run: Run, costs: CostModel, note: str
) -> PlacementRecord:
    found = {
        record.case.spec: record
        for record in run.records
        if record.implementation == implementation and record.provenance is Provenance.MEASURED
    }
    simulated = _simulated(asked.case.spec, ranks.placement, asked.expert_ids, costs)
    times = rank_times(implementation, simulated, [(layer, found.get(layer.spec.name)) for layer in ranks.layers])
    row = placement_row(ranks.placement)
    complete = times.makespan_s is not None
    row |= {"seconds": times.measured_s if complete else times.simulated_s, "measured": times}
    row["notes"] = {**row["notes"], **({"costs": note} if note else {})}
    provenance = Provenance.MEASURED if complete else Provenance.SIMULATED
    return PlacementRecord(case=asked.case.to_record(), provenance=provenance, **row)


def rank_times(
    implementation: str, simulated: Simulation, ranks: Sequence[tuple[RankLayer, Record | None]]
) -> RankTimes:
    """Measured beside simulated: the layer of every rank with its record, None where there is none."""
    model = [float(seconds) for seconds in simulated.phases["compute"]]
    measured, low, high = [], [], []
    reasons: dict[str, str] = {}
    for layer, record in ranks:
        times: tuple[float | None, ...] = (None, None, None)
        if not layer.rows:
            times = (0.0, 0.0, 0.0)
        elif record is not None and record.status is Status.PASSED and record.hot is not None:
            times = tuple(us * 1e-6 for us in (record.hot.median_us, record.hot.low_us, record.hot.high_us))
        else:
            reasons[str(layer.rank)] = f"{record.status}: {record.reason}" if record else "no record"
        for values, seconds in zip((measured, low, high), times, strict=True):
            values.append(seconds)
    makespan = None if reasons else max(seconds for seconds in measured if seconds is not None)
    return RankTimes(
        implementation=implementation,
        costs=simulated.cost_source,
        rows=[layer.rows for layer, _ in ranks],
        measured_s=measured,
        low_s=low,
        high_s=high,
        simulated_s=model,
        errors=[_error(*pair) for pair in zip(model, measured, strict=True)],
        simulated_makespan_s=max(model),
        makespan_s=makespan,
        makespan_error=_error(max(model), makespan),
        cases=[record.case.id if record else "" for _, record in ranks],
        reasons=reasons,
    )


def _error(simulated: float, measured: float | None) -> float | None:
    """Simulated over measured, minus 1; None where nothing was measured or there was nothing to do."""
    return simulated / measured - 1 if measured else None
