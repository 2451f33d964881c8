"""A scenario's record against the placement and simulation it is made of, and what makes it impossible."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from mohge.bench.records import WhatIfRecord
from mohge.bench.records.codec import decode, plain
from mohge.bench.whatif import Materials, Scenario, Solver, solve
from mohge.bench.workloads import parse_routing, routing_counts, steer
from mohge.bench.workloads.seeds import generator_for
from mohge.placement import Cluster, Link, Roofline, allocate, migration, rescore, simulate
from mohge.reference import LayerSpec, expert_flops

SPEC = LayerSpec("four", hidden=64, widths=(256, 512, 1024, 2048), experts_per_group=4, top_k=3, top_groups=2)
CLUSTER = Cluster("two", 2, 4, Link("in", 1e-6, 1e11), Link("out", 5e-6, 1e10), memory_bytes=10**7)
COSTS = Roofline(64, 1e13, 1e12, 2e-6)
WORKLOAD = parse_routing("zipf:1.2")
MATERIALS = Materials(SPEC, WORKLOAD, CLUSTER, COSTS, horizon=100)
SCENARIO = Scenario("four", 512, "zipf:1.2", 0, 0.0, 8, "two", "by_rank", 0, None, "lpt")


def test_a_record_is_what_its_parts_say() -> None:
    record = solve(SCENARIO, MATERIALS, number=7)
    first, second = (WORKLOAD.routing(SPEC, 512, step=step) for step in (0, 1))
    placement = allocate("lpt", SPEC, routing_counts(first, 16), 8, nodes=2)
    whole = simulate(placement, second, SPEC, CLUSTER, COSTS)
    scored = rescore(placement, routing_counts(second, 16))
    assert (record.number, record.status, record.provenance) == (7, "possible", "simulated")
    assert record.seconds == whole.makespan_s
    assert record.compute_s == whole.phases["compute"].max()
    assert record.memory == whole.memory.max()
    assert record.weights == placement.memory.max()
    assert record.traffic == whole.bytes_matrix.sum()
    assert record.between == pytest.approx(2 * whole.traffic.between.sum() * 64 * 2)
    assert record.work_over_bound == scored.work_over_bound
    assert record.planned_over_bound == placement.work_over_bound
    assert record.straggler == whole.straggler
    assert record.fits is True
    assert record.flops == expert_flops(routing_counts(second, 16), SPEC).sum()
    assert sum(record.group_rows) == pytest.approx(1)


def test_what_changing_to_it_brings() -> None:
    aga = solve(replace(SCENARIO, policy="aga"), MATERIALS)
    lpt = solve(SCENARIO, MATERIALS)
    assert (aga.saved_s, aga.migration_bytes, aga.net_s, aga.pays_after) == (0, 0, 0, 0)
    assert aga.seconds is not None
    assert lpt.seconds is not None
    assert lpt.saved_s == pytest.approx(aga.seconds - lpt.seconds)
    loads = routing_counts(WORKLOAD.routing(SPEC, 512), 16)
    straight = migration(allocate("aga", SPEC, loads, 8), allocate("lpt", SPEC, loads, 8, nodes=2), SPEC)
    assert 0 < lpt.migration_bytes <= straight.bytes  # type: ignore[operator]
    assert lpt.net_s == pytest.approx(100 * lpt.saved_s - lpt.migration_s)  # type: ignore[operator]
    uniform = replace(MATERIALS, workload=parse_routing("uniform"))
    never = solve(replace(SCENARIO, policy="contiguous", routing="uniform"), uniform)
    assert never.saved_s is not None
    assert never.saved_s <= 0
    assert never.pays_after is None


def test_the_group_loss_shifts_work() -> None:
    plain_one, steered = (solve(replace(SCENARIO, group_loss=strength), MATERIALS) for strength in (0.0, 1.0))
    assert plain_one.flops_saved == 0
    assert steered.flops_saved == pytest.approx(1 - steered.flops / plain_one.flops)  # type: ignore[operator]
    generator = generator_for("group_loss", "zipf:1.2", 0, 1, 512)
    ids = steer(WORKLOAD.routing(SPEC, 512, step=1).expert_ids, SPEC, 1.0, generator)
    assert steered.flops == expert_flops(np.bincount(ids.ravel(), minlength=16), SPEC).sum()
    assert steered.group_rows[0] > steered.group_rows[-1]


def test_sharing_changes_nothing() -> None:
    solver = Solver()
    for policy in ("lpt", "aga", "eplb"):
        for style in ("by_rank", "by_node"):
            for replicas in (0, 4):
                scenario = replace(SCENARIO, policy=policy, style=style, replicas=replicas)
                assert plain(solver.solve(scenario, MATERIALS)) == plain(solve(scenario, MATERIALS))


IMPOSSIBLE = {
    "replicas where a policy places once": ({"replicas": 4}, "policy 'lpt' places every expert once"),
    "ranks that fill no node": ({"ranks": 6}, "ranks: expected whole nodes of 4 ranks, got 6"),
    "more ranks than experts": ({"ranks": 32}, "ranks: expected at most 16"),
    "a cap nothing can keep": ({"capacity": 0.5}, "memory_cap: expected room for every expert"),
    "a strength above 1": ({"group_loss": 2.0}, "group_loss: expected a strength from 0 to 1, got 2"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_says_why(name: str) -> None:
    changes, words = IMPOSSIBLE[name]
    record = solve(replace(SCENARIO, **changes), MATERIALS)
    assert record.status == "impossible"
    assert words in record.reason
    assert record.seconds is None


def test_a_cap_is_a_multiple_of_an_even_share() -> None:
    record = solve(replace(SCENARIO, capacity=1.5), MATERIALS)
    assert record.weights is not None
    assert record.weights <= 1.5 * 3 * 64 * 2 * sum(SPEC.widths) * 4 / 8


def test_ids_tell_scenarios_apart_and_records_read_back() -> None:
    others = [replace(SCENARIO, ranks=4), replace(SCENARIO, capacity=1.0), replace(SCENARIO, group_loss=0.5)]
    wider = replace(SPEC, widths=(256, 512, 1024, 4096))
    ids = {SCENARIO.id(SPEC), SCENARIO.id(wider), *(other.id(SPEC) for other in others)}
    assert len(ids) == 5
    assert pickle.loads(pickle.dumps((SCENARIO, MATERIALS))) == (SCENARIO, MATERIALS)
    record = solve(SCENARIO, MATERIALS)
    assert decode(WhatIfRecord, plain(record), "record") == record
