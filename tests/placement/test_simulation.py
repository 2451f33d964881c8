from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mohge.placement import (
    STYLES,
    Cluster,
    Link,
    Roofline,
    allocate,
    batches,
    h200_roofline,
    simulate,
    simulate_steps,
    summarize,
)
from mohge.placement.timeline import PHASES
from mohge.reference import LayerSpec, Routing

SPEC = LayerSpec("tiny", hidden=2, widths=(3, 5), experts_per_group=2, top_k=2, top_groups=2)
WIRE = Link("wire", alpha_s=1.0, bytes_per_s=4.0, source="the test")
PAIR = Cluster("pair", 1, 2, WIRE, memory_bytes=200)
# Bytes take no time: seconds are start-up and FLOPs.
FLOPS = Roofline(2, flops_per_s=36.0, bytes_per_s=1e12, overhead_s=1.0)
IDS = np.array([[0, 1], [0, 2], [0, 3], [1, 2]])
CONTIGUOUS = allocate("contiguous", SPEC, [3, 2, 2, 1], 2)


def test_a_step_by_hand() -> None:
    found = simulate(CONTIGUOUS, IDS, SPEC, PAIR, FLOPS, route_s=[0.5, 0.25])
    # Experts 0 and 1 on rank 0, 2 and 3 on rank 1; tokens 0 and 1 at home on rank 0, 2 and 3 on rank 1.
    assert found.rows.tolist() == [5, 3]
    assert found.work.tolist() == [5 * 36, 3 * 60]
    assert found.traffic.matrix.tolist() == [[0, 1], [2, 0]]  # token 1 to rank 1, tokens 2 and 3 to rank 0
    assert found.dispatch_bytes.tolist() == [[0, 4], [8, 0]]
    assert found.combine_bytes.tolist() == [[0, 8], [4, 0]]
    assert found.bytes_matrix.tolist() == [[0, 12], [12, 0]]
    assert list(found.phases) == list(PHASES)
    assert found.phases["dispatch"].tolist() == [3, 3]  # 1 s and 8 bytes at 4 bytes a second
    assert found.phases["compute"] == pytest.approx([1 + 5, 1 + 5], rel=1e-6)
    assert found.makespan_s == pytest.approx(0.5 + 3 + 6 + 3, rel=1e-6)
    assert found.weights.tolist() == [2 * 36, 2 * 60]
    assert found.buffer == 8
    assert found.memory.tolist() == [80, 128]
    assert found.fits is True
    assert found.waiting_s == pytest.approx([0, 0.25], abs=1e-6)
    assert found.hidden_s == pytest.approx(0, abs=1e-9)
    assert found.balances.rows.max_over_mean == 1.25
    assert found.balances.flops.max_over_mean == 1.0
    assert (found.policy, found.spec, found.cluster, found.tokens) == ("contiguous", "tiny", "pair", 4)


def test_what_it_is_and_where_its_numbers_are_from_is_said() -> None:
    found = simulate(CONTIGUOUS, IDS, SPEC, PAIR, FLOPS)
    assert found.provenance == "simulated"
    assert found.cost_source == "predicted: given by the user"
    assert found.link_source == "wire, predicted: the test"
    assert found.traffic.provenance == "co-activation"
    assert simulate(CONTIGUOUS, [3, 2, 2, 1], SPEC, PAIR, FLOPS).traffic.provenance == "independence"


def test_a_routing_and_its_ids_are_the_same_and_loads_keep_rows_and_work() -> None:
    by_ids = simulate(CONTIGUOUS, IDS, SPEC, PAIR, FLOPS)
    by_routing = simulate(CONTIGUOUS, Routing(IDS, np.full(IDS.shape, 0.5)), SPEC, PAIR, FLOPS)
    by_loads = simulate(CONTIGUOUS, [3, 2, 2, 1], SPEC, PAIR, FLOPS)
    assert by_ids.makespan_s == by_routing.makespan_s
    assert by_loads.rows.tolist() == by_ids.rows.tolist()
    assert by_loads.work.tolist() == by_ids.work.tolist()
    assert by_loads.tokens == by_ids.tokens


def test_slow_ranks_take_longer_and_become_the_straggler() -> None:
    slow = simulate(CONTIGUOUS, IDS, SPEC, replace(PAIR, speeds=(1.0, 0.5)), FLOPS)
    assert slow.straggler == 1
    assert slow.phases["compute"] == pytest.approx([6, 12], rel=1e-6)


def test_replicas_share_rows_and_are_resident_twice() -> None:
    both = SimpleNamespace(ranks=2, replicas=[(0, 1), (0,), (1,), (1,)], shares=[(0.5, 0.5), (1,), (1,), (1,)])
    found = simulate(both, IDS, SPEC, PAIR, FLOPS)
    assert found.traffic.expert_rows[0].tolist() == [2, 1]
    assert found.weights.tolist() == [2 * 36, 2 * (60 + 18)]
    assert found.rows.sum() == IDS.size


@pytest.mark.parametrize("memory", [127, 128, None])
def test_memory_fits_or_not_or_nobody_knows(memory: int | None) -> None:
    found = simulate(CONTIGUOUS, IDS, SPEC, replace(PAIR, memory_bytes=memory), FLOPS)
    assert found.fits is (None if memory is None else memory >= 128)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("policy", ["aga", "lpt"])
def test_a_placement_and_its_simulation_agree_on_two_nodes(policy: str, style: str) -> None:
    spec, cluster = LayerSpec.preset("mohge-3b"), Cluster.preset("h200x8-2nodes")
    ids = np.argsort(np.random.default_rng(5).gumbel(size=(512, 64)), axis=1)[:, :6]
    loads = np.bincount(ids.ravel(), minlength=64)
    placement = allocate(policy, spec, loads, 16)
    whole = simulate(placement, ids, spec, cluster, h200_roofline(spec.hidden), style=style)
    assert whole.rows == pytest.approx(placement.rows)
    assert whole.work == pytest.approx(placement.work)
    assert whole.weights.tolist() == placement.memory.tolist()
    assert whole.makespan_s == pytest.approx(sum(took.max() for took in whole.phases.values()))
    cut = simulate(placement, ids, spec, cluster, h200_roofline(spec.hidden), style=style, chunks=2)
    assert cut.bytes_matrix.tolist() == whole.bytes_matrix.tolist()
    assert cut.makespan_s == pytest.approx(whole.makespan_s - cut.hidden_s)


def test_chunks_hide_long_exchanges_and_cost_short_ones() -> None:
    spec, cluster = LayerSpec.preset("mohge-3b"), Cluster.preset("h200x8")
    roof = h200_roofline(spec.hidden)
    for tokens, gains in ((8, False), (32768, True)):
        ids = np.argsort(np.random.default_rng(5).gumbel(size=(tokens, 64)), axis=1)[:, :6]
        placement = allocate("aga", spec, np.bincount(ids.ravel(), minlength=64), 8)
        assert (simulate(placement, ids, spec, cluster, roof, chunks=2).hidden_s > 0) == gains


@pytest.mark.parametrize("tokens", [0, 1])
def test_hardly_any_tokens(tokens: int) -> None:
    found = simulate(CONTIGUOUS, IDS[:tokens], SPEC, PAIR, FLOPS)
    assert found.rows.sum() == 2 * tokens
    assert (found.makespan_s == 0) == (tokens == 0)
    assert found.balances.rows.excess >= 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"routing": np.zeros((1, 1, 1), dtype=int)}, "routing: expected expert ids"),
        ({"routing": [3, 2, 2]}, "loads: expected one number for each of 4 experts"),
        ({"placement": SimpleNamespace(ranks=2, rank_of=np.array([0, 1]))}, "placement: expected one of 4 experts"),
        ({"cluster": Cluster("three", 1, 3, WIRE)}, "cluster 'three': expected a placement on its 3 ranks, got 2"),
        ({"route_s": [1.0, 2.0, 3.0]}, "route_s: expected seconds of at least 0, one number or 2"),
        ({"route_s": -1.0}, "route_s: expected seconds of at least 0"),
        ({"weight_bytes": 0}, "weight_bytes: expected a number above 0, got 0"),
        ({"chunks": 0}, "chunks: expected a whole number"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "placement": CONTIGUOUS, "routing": IDS, "spec": SPEC, "cluster": PAIR, "costs": FLOPS, **change
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        simulate(**arguments)


def test_steps_of_a_trace_are_cut_simulated_and_summed() -> None:
    trace = np.stack([IDS, IDS[::-1]], axis=1).repeat(2, axis=0)[:7]  # 7 tokens, 2 layers
    cut = list(batches(trace, 3))
    assert [(batch.step, batch.layer, len(batch.expert_ids)) for batch in cut] == [
        (0, 0, 3), (0, 1, 3), (1, 0, 3), (1, 1, 3)
    ]  # fmt: skip
    assert [len(batch.expert_ids) for batch in batches(trace, 3, drop_last=False)][-1] == 1
    results = list(simulate_steps([CONTIGUOUS, CONTIGUOUS], cut, SPEC, PAIR, FLOPS))
    summary = summarize(results)
    assert (summary.steps, summary.layers) == (2, 2)
    assert summary.step_s[0] == sum(result.simulation.makespan_s for result in results if result.step == 0)
    assert summary.rank_s.shape == (2, 2)
    assert summary.bytes_a_step * 2 == sum(result.simulation.bytes_matrix.sum() for result in results)
    every = [result.simulation.balances.rows.max_over_mean for result in results]
    assert summary.balances.rows.max_over_mean == pytest.approx(np.mean(every))


def test_bad_traces_are_named() -> None:
    with pytest.raises(ValueError, match="trace: expected at least the 9 tokens of one step, got 4"):
        batches(IDS, 9)
    with pytest.raises(ValueError, match="trace: expected whole numbers"):
        batches(IDS / 2, 1)
    with pytest.raises(ValueError, match="tokens: expected a whole number"):
        batches(IDS, 0)
    with pytest.raises(ValueError, match="placements: expected one for layer 1, got 1"):
        list(simulate_steps([CONTIGUOUS], batches(np.stack([IDS, IDS], axis=1), 4), SPEC, PAIR, FLOPS))
    with pytest.raises(ValueError, match="results: expected at least one"):
        summarize([])
    uneven = list(simulate_steps(CONTIGUOUS, batches(np.stack([IDS, IDS], axis=1), 2), SPEC, PAIR, FLOPS))[:3]
    with pytest.raises(ValueError, match=r"expected layers \[0, 1\] in every step, got \[0\] in 1"):
        summarize(uneven)


def test_large_layers_do_not_need_a_loop_over_tokens() -> None:
    """256 experts on 64 ranks, 8192 tokens: counted per token, with every row and byte accounted for."""
    spec, cluster = LayerSpec.preset("deepseek-v3"), Cluster.preset("h200x8-8nodes")
    ids = np.argsort(np.random.default_rng(1).random((8192, 256)), axis=1)[:, :8]
    placement = allocate("contiguous", spec, np.bincount(ids.ravel(), minlength=256), 64)
    found = simulate(placement, ids, spec, cluster, h200_roofline(spec.hidden), style="by_node")
    assert found.rows.sum() == ids.size
    assert found.traffic.between.sum() == pytest.approx(8192 * found.traffic.nodes_token * 7 / 8, rel=0.02)
