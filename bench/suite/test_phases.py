"""The layer's phases one by one: plan, permute, GEMM 1, GEMM 2, combine, shared expert.

An implementation that fuses two phases has one name for both, so a phase is not the same work everywhere.
"""

from __future__ import annotations

from typing import Any

from mohge.bench.plugin.layers import LayerBench


def test_phase(contest: Any, layers: LayerBench, case: str, phase: str, implementation: str) -> None:
    """The same phase of all implementations that have it, measured against each other."""
    contest.run_layer(layers, lambda name: layers.phase(contest.case, name, phase))
