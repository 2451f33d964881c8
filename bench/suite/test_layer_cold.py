"""The whole layer after the caches were flushed, as between two layers of a model: all implementations."""

from __future__ import annotations

from typing import Any

from mohge.bench.plugin.fixture import Work
from mohge.bench.plugin.layers import LayerBench


def test_layer_cold(contest: Any, layers: LayerBench, case: str, implementation: str) -> None:
    """TFLOP/s are useful ones: what the mathematics needs, over the median."""
    work = Work(flops=layers.flops(contest.case))
    contest.run_layer(layers, lambda name: layers.call(contest.case, name), work=work, cold=True)
