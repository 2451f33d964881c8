"""Many steps at once: the same seconds, rows and work as `simulate` gives them one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mohge.placement import (
    CLUSTERS,
    STYLES,
    Cluster,
    Link,
    Roofline,
    SimulationCase,
    allocate,
    batches,
    cost_table,
    cut,
    simulate,
    sweep,
    table_link,
)
from mohge.reference import LayerSpec

SPEC = LayerSpec("twelve", hidden=8, widths=(3, 5, 9), experts_per_group=4, top_k=3, top_groups=2, shared_width=6)
MODEL = Roofline(8, flops_per_s=1e6, bytes_per_s=1e7, overhead_s=1e-4)
TABLE = cost_table([1, 4, 9] * 2, [4] * 3 + [8] * 3, [2e-4, 3e-4, 5e-4, 2e-4, 5e-4, 9e-4], "the test")
WIRE = Link("wire", alpha_s=1e-5, bytes_per_s=1e6)
MEASURED = table_link("table", [64, 256, 1024], [1e-5, 3e-5, 2e-4], "the test")
ONE = Cluster("one node", 1, 4, WIRE, speeds=(1.0, 0.5, 2.0, 1.0))
TWO = Cluster("two nodes", 2, 2, MEASURED, Link("far", alpha_s=2e-5, bytes_per_s=3e5))
CASES = [
    SimulationCase(
        f"{cluster.name} {style} {chunks}",
        cluster,
        costs,
        style,
        dispatch_value_bytes=1.0,
        route_s=route_s,
        chunks=chunks,
    )
    for cluster, costs, route_s in ((ONE, MODEL, 0.0), (TWO, TABLE, 3e-5))
    for style in STYLES
    for chunks in (1, 2, 3)
]
# Expert 0 is on three ranks with uneven shares, expert 5 on two.
COPIES = SimpleNamespace(
    ranks=4,
    replicas=[(0, 2, 3), (1,), (1,), (2,), (3,), (0, 1), (2,), (3,), (0,), (1,), (2,), (3,)],
    shares=[(0.5, 0.3, 0.2), *[(1.0,)] * 4, (0.5, 0.5), *[(1.0,)] * 6],
)


def trace(tokens: int, layers: int, seed: int = 0) -> Any:
    """Distinct experts, some far more popular than others; the last expert is never used."""
    generator = np.random.default_rng(seed)
    chances = np.append(1 / np.arange(1, 12), 0.0)
    chances /= chances.sum()
    return np.array([[generator.choice(12, 3, replace=False, p=chances) for _ in range(layers)] for _ in range(tokens)])


@pytest.mark.parametrize("placement", ["aga", "contiguous", "copies"])
@pytest.mark.parametrize("tokens", [1, 7, 16])
def test_the_same_numbers_as_one_by_one(placement: str, tokens: int) -> None:
    recorded = trace(3 * tokens + 1, layers=2)
    loads = np.arange(1, 13)
    placements = [
        COPIES if placement == "copies" else allocate(placement, SPEC, loads, 4),
        allocate("lpt", SPEC, loads, 4),
    ]
    found = sweep(placements, cut(recorded, tokens), SPEC, CASES)
    assert found.makespan_s.shape == (len(CASES), len(recorded) // tokens, 2)
    for batch in batches(recorded, tokens):
        for at, case in enumerate(CASES):
            one = simulate(
                placements[batch.layer],
                batch.expert_ids,
                SPEC,
                case.cluster,
                case.costs,
                style=case.style,
                dispatch_value_bytes=case.dispatch_value_bytes,
                route_s=case.route_s,
                chunks=case.chunks,
            )
            here = at, batch.step, batch.layer
            assert found.makespan_s[here] == pytest.approx(one.makespan_s, rel=1e-12), case.name
            np.testing.assert_allclose(found.compute_s[here], one.phases["compute"], rtol=1e-12)
            assert found.dispatch_s[here] == pytest.approx(one.phases["dispatch"][0], rel=1e-12)
            assert found.combine_s[here] == pytest.approx(one.phases["combine"][0], rel=1e-12)
            assert found.straggler[here] == one.straggler
            np.testing.assert_array_equal(found.rows[here[1:]], one.rows)
            np.testing.assert_allclose(found.work[here[1:]], one.work, rtol=1e-12)
    np.testing.assert_allclose(found.step_s, found.makespan_s.sum(axis=2))
    assert (found.provenance, found.cases[0]) == ("simulated", "one node nccl 1")


def test_steps_are_cut_like_batches_and_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = trace(11, layers=2)
    steps = cut(recorded, 3)
    for batch in batches(recorded, 3):
        np.testing.assert_array_equal(steps[batch.step, batch.layer], batch.expert_ids)
    assert cut(recorded[:, 0], 5).shape == (2, 1, 5, 3)
    placement = allocate("lpt", SPEC, np.arange(1, 13), 4)
    at_once = sweep(placement, steps, SPEC, CASES)
    monkeypatch.setattr("mohge.placement.sweeps._ROWS_AT_ONCE", 10)
    np.testing.assert_array_equal(sweep(placement, steps, SPEC, CASES).makespan_s, at_once.makespan_s)


def test_no_tokens_and_one_expert_a_rank() -> None:
    spec = LayerSpec("four", hidden=8, widths=(3, 5), experts_per_group=2, top_k=1, top_groups=1)
    placement = allocate("round_robin", spec, [1, 1, 1, 1], 4)
    everything_on_one = np.zeros((1, 1, 8, 1), dtype=np.int64)
    found = sweep(placement, everything_on_one, spec, [SimulationCase("one", ONE, MODEL)])
    assert found.rows.tolist() == [[[8, 0, 0, 0]]]
    assert (found.compute_s[0, 0, 0, 1:] == 0).all()
    empty = sweep(placement, everything_on_one[:, :, :0], spec, [SimulationCase("one", ONE, MODEL)])
    assert empty.makespan_s.tolist() == [[[0.0]]]


def test_presets_are_cases() -> None:
    cases = [SimulationCase(name, cluster.of(8), MODEL) for name, cluster in CLUSTERS.items() if cluster.nodes == 1]
    placement = allocate("aga", SPEC, np.ones(12), 8)
    assert (sweep(placement, cut(trace(8, 1), 4), SPEC, cases).step_s > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"steps": np.zeros((2, 3))},
            r"steps: expected whole numbers \[steps, layers, tokens, top_k\], got float64 \[2, 3\]",
        ),
        ({"steps": np.full((1, 1, 2, 3), 12)}, "steps: expected expert ids 0 to 11, got 12 to 12"),
        ({"cases": []}, "at least one case, got 1 and 0"),
        ({"placements": [COPIES] * 2}, "a placement for each of 1 layers and at least one case, got 2 and 18"),
        ({"placements": SimpleNamespace(ranks=4, rank_of=[0, 1])}, "placement: expected one of 12 experts, got 2"),
        ({"placements": allocate("aga", SPEC, np.ones(12), 3)}, "expected a placement on its 4 ranks, got 3"),
    ],
)
def test_what_is_no_sweep(changes: dict[str, Any], message: str) -> None:
    given = {"placements": COPIES, "steps": cut(trace(4, 1), 2), "spec": SPEC, "cases": CASES, **changes}
    with pytest.raises(ValueError, match=message):
        sweep(**given)


def test_what_is_no_case_or_trace() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"style": "rings"}, "style: expected one of"),
        ({"chunks": 0}, "chunks: expected a whole number of at least 1, got 0"),
        ({"combine_value_bytes": 0}, "combine_value_bytes: expected a number above 0, got 0"),
        ({"route_s": -1.0}, "route_s: expected seconds of at least 0, got -1.0"),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=message):
            SimulationCase("bad", ONE, MODEL, **changes)
    with pytest.raises(ValueError, match="tokens: expected a whole number from 1 to the trace's 4, got 5"):
        cut(trace(4, 1), 5)
    with pytest.raises(ValueError, match=r"trace: expected whole numbers \[tokens, layers, top_k\], got float64 \[3\]"):
        cut(np.zeros(3), 1)
