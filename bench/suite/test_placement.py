"""Placing all layers of a model at once, against one layer after another: 58 layers of 256 experts on 32 ranks.

On the host, whatever the suite's device is. Both ways must give the same placements before they are timed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mohge.placement import rebalance, stratify
from mohge.reference import LayerSpec

LAYERS, EXPERTS, RANKS, REPLICAS = 58, 256, 32, 32
WIDTHS = tuple(range(512, 1536, 128))
SPEC = LayerSpec("eight widths", 1024, WIDTHS, EXPERTS // len(WIDTHS), 8, 4)
WAYS = ("all_at_once", "layer_by_layer")


@lru_cache(maxsize=1)
def loads() -> NDArray[np.float64]:
    """Rows of every expert, skewed as routers are, float64[layers, experts]."""
    return np.random.default_rng(0).lognormal(0, 1, (LAYERS, EXPERTS)) * 1000


def policies() -> dict[str, Callable[[NDArray[np.float64]], NDArray[np.int64]]]:
    """What is timed, from the costs of some layers to their placement."""
    work = SPEC.expert_widths.astype(np.float64)
    return {
        "eplb_global": partial(rebalance, replicas=REPLICAS, ranks=RANKS),
        "eplb_hierarchical": partial(rebalance, replicas=REPLICAS, ranks=RANKS, groups=8, nodes=4),
        "stratified": lambda costs: stratify(costs * work, SPEC, RANKS),
    }


@lru_cache
def calls(policy: str) -> dict[str, Callable[[], Any]]:
    """Both ways. Raises AssertionError where they differ."""
    place = policies()[policy]
    ways = {
        "all_at_once": lambda: place(loads()),
        "layer_by_layer": lambda: np.stack([place(layer[None])[0] for layer in loads()]),
    }
    np.testing.assert_array_equal(ways["all_at_once"](), ways["layer_by_layer"]())
    return ways


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("policy", list(policies()))
@pytest.mark.benchmark(group="placement of 58 layers")
def test_placement(gpu_benchmark: Any, grid: Any, policy: str, way: str) -> None:
    """One policy one way, measured against the other way."""
    case = f"{policy}: {LAYERS} layers, {EXPERTS} experts, {RANKS} ranks"
    gpu_benchmark.interleaved(calls(policy), way, case=case, device="cpu", seconds=grid.seconds)
