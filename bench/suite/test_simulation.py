"""The simulator by itself, on the host: a sweep over steps, layers and cases of 64 experts on 64 ranks.

`us_per_step` in the extra columns of the JSON is the time of one layer's step in one case. A sweep is timed when
one of its steps has the seconds that `simulate` gives.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mohge.bench.workloads import parse_routing
from mohge.placement import CLUSTERS, SimulationCase, allocate, cut, h200_roofline, simulate, sweep
from mohge.reference import LayerSpec

SPEC = LayerSpec.preset("mohge-3b")
RANKS, LAYERS = 64, 4
CLUSTER = CLUSTERS["h200x8-8nodes"]
# Steps of each batch: about as many rows in all.
STEPS = {64: 64, 256: 32, 1024: 16}


@pytest.mark.parametrize("cases", [1, 8])
@pytest.mark.parametrize("style", ["by_rank", "by_node"])
@pytest.mark.parametrize("tokens", STEPS)
def test_sweep(benchmark: Any, tokens: int, style: str, cases: int) -> None:
    """Decode and small prefill batches with a Zipf routing, placed layer by layer; cases differ in bytes sent."""
    routing = parse_routing("zipf:1.0").routing(SPEC, tokens * STEPS[tokens] * LAYERS)
    trace = np.asarray(routing.expert_ids).reshape(LAYERS, -1, SPEC.top_k).swapaxes(0, 1)
    steps = cut(trace, tokens)
    placements = [
        allocate("lpt", SPEC, np.bincount(steps[:, layer].ravel(), minlength=SPEC.experts), RANKS)
        for layer in range(LAYERS)
    ]
    first = SimulationCase("first", CLUSTER, h200_roofline(SPEC.hidden), style)
    every = [replace(first, name=str(at), dispatch_value_bytes=1.0 + at / 8) for at in range(cases)]
    one = simulate(placements[0], steps[0, 0], SPEC, CLUSTER, first.costs, style=style, dispatch_value_bytes=1.0)
    assert sweep(placements, steps, SPEC, every).makespan_s[0, 0, 0] == pytest.approx(one.makespan_s, rel=1e-9)
    benchmark.group = "simulation"
    benchmark.pedantic(sweep, (placements, steps, SPEC, every), rounds=5, warmup_rounds=1)
    if benchmark.stats is not None:  # None with --benchmark-disable
        simulated = STEPS[tokens] * LAYERS * cases
        benchmark.extra_info["us_per_step"] = benchmark.stats.stats.median / simulated * 1e6
