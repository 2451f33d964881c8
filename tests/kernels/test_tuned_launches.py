"""Launches of triton, cupy and numba really are what a tuner's values and the table of tuned configurations say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mohge.kernels import load
from mohge.kernels.tunable import for_routing
from mohge.kernels.tuned import TunedRow, spec_class, write_table
from mohge.kernels.values import Value
from mohge.reference import DenseExpert, ExpertWeights, LayerSpec

NAMES = ("triton", "cupy", "numba")
SPEC = LayerSpec("three widths", 40, (8, 24, 17), 2, 2, 3)
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3}
TOKENS = 12  # few, because one Python thread simulates one CUDA thread

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="interprets, simulates and executes on the host")

CHANGED: dict[str, dict[str, Value]] = {
    "triton": {"fc1_block_n": 64, "fc2_block_m": 16},
    "cupy": {"fc1_block_n": 64},
    "numba": {"fc1_block_n": 4, "fc2_block_m": 4, "fc2_thread_m": 2},
}


def check_launches(name: str, values: dict[str, Value], seen: list[Any], works: list[Any]) -> None:
    """Both launches had the blocks, threads and grids of `values`."""
    assert [launch.kernel for launch in seen] == [work.kernel for work in works]
    for gemm, launch, work in zip(("fc1", "fc2"), seen, works, strict=True):
        assert launch.threads == work.threads
        constants = {key.lower(): str(value) for key, value in launch.constants.items()}
        fields = {key.removeprefix(f"{gemm}_"): value for key, value in values.items() if key.startswith(gemm)}
        for field in fields.keys() & constants.keys():
            assert constants[field] == str(fields[field]), (gemm, field)
        assert {"block_m", "block_n", "block_k"} <= fields.keys() & constants.keys()
        # Interpreter and host have three processors, the simulator takes two blocks; there are tiles enough for them.
        blocks = 2 if name == "numba" else 3 * int(fields["blocks_per_sm"])
        assert launch.grid == blocks <= len(work.tile_flops)


def write_row(path: Path, name: str, values: dict[str, Value], **changes: Any) -> None:
    row = TunedRow(name, "cpu", spec_class(SPEC), 64, "any", "float16", values, "synthetic", "none")
    write_table([replace(row, **changes)], path)


@pytest.mark.parametrize("name", NAMES)
def test_a_launch_is_what_the_table_says_and_changes_with_it(
    name: str,
    launches: Callable[[str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_values: dict[str, dict[str, Value]],
    make_problem: Callable[..., Any],
) -> None:
    implementation, seen = launches(name)
    table = tmp_path / "table.json"
    monkeypatch.setenv("MOHGE_TUNED", str(table))
    this = make_problem(SPEC, TOKENS, torch.float16)
    first = small_values[name]
    second = {**first, **CHANGED[name]}
    for values in (first, second):
        write_row(table, name, values)
        assert implementation.current_values(SPEC, TOKENS * SPEC.top_k, "float16") == values
        layer = implementation.prepare(SPEC, this.weights, "cpu", torch.float16)
        seen.clear()
        assert this.error(layer) < TOLERANCE[torch.float16]
        check_launches(name, values, seen, implementation.gemm_work(values, this.counts, SPEC, "float16"))
    write_row(table, name, first, dtype="float32")  # for something else: the built-in choice
    assert implementation.current_values(SPEC, TOKENS * SPEC.top_k, "float16") not in (first, second)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_told_its_routing_launches_the_row_of_that_class(
    name: str,
    launches: Callable[[str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_values: dict[str, dict[str, Value]],
    make_problem: Callable[..., Any],
) -> None:
    implementation, seen = launches(name)
    table = tmp_path / "table.json"
    monkeypatch.setenv("MOHGE_TUNED", str(table))
    spec = replace(SPEC, shared_width=8)
    write_row(table, name, small_values[name], routing_class="skewed")
    this = make_problem(SPEC, TOKENS, torch.float16, used=3)
    shared = DenseExpert(np.zeros((8, 40)), np.zeros((8, 40)), np.zeros((40, 8)))
    layer = implementation.prepare(spec, replace(this.weights, shared=shared), "cpu", torch.float16)
    works = implementation.gemm_work(small_values[name], this.counts, SPEC, "float16")
    shared_flops = 6 * 8 * 40 * TOKENS
    assert layer.executed_flops(this.counts) != sum(work.tile_flops.sum() for work in works) + shared_flops
    told = for_routing(layer, "skewed")
    assert told.executed_flops(this.counts) == sum(work.tile_flops.sum() for work in works) + shared_flops
    assert this.error(told) < TOLERANCE[torch.float16]
    check_launches(name, small_values[name], seen, works)
    with pytest.raises(ValueError, match="routing_class: expected one of any, balanced, skewed, got 'hot'"):
        for_routing(layer, "hot")
    with pytest.raises(ValueError, match="routing_class: expected one of any, balanced, skewed, got 'hot'"):
        implementation.prepare(SPEC, this.weights, "cpu", torch.float16, routing_class="hot")


def test_a_layer_that_is_not_tuned_by_routing_stays_as_it_is() -> None:
    layer = load("torch_loop").prepare(SPEC, ExpertWeights.random(SPEC), "cpu", torch.float32)
    assert for_routing(layer, "skewed") is layer


@pytest.mark.parametrize("name", NAMES)
def test_a_row_that_breaks_a_rule_is_named_when_a_layer_is_prepared(
    name: str,
    launches: Callable[[str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_values: dict[str, dict[str, Value]],
) -> None:
    implementation, _ = launches(name)
    monkeypatch.setenv("MOHGE_TUNED", str(tmp_path / "table.json"))
    write_row(tmp_path / "table.json", name, {**small_values[name], "fc1_block_m": 24})
    where = rf"tuned table .*table.json: {name} on cpu, h40-w8..*, any at \d+ tokens: fc1: "
    with pytest.raises(ValueError, match=where):
        implementation.prepare(SPEC, ExpertWeights.random(SPEC), "cpu", torch.float16)


# Of each space, what makes tiles small enough to run here.
TINY = {
    "triton": {"block_m": (16, 32), "block_n": (16, 32, 64), "block_k": (16, 32, 64), "num_warps": (1, 4)},
    "cupy": {"block_m": (16, 32), "block_n": (32, 64), "block_k": (16, 32), "thread_m": (2, 4), "thread_n": (2, 4)},
    "numba": {"block_m": (2, 4), "block_n": (2, 4), "block_k": (2, 4), "thread_m": (1, 2), "thread_n": (1, 2)},
}


@pytest.mark.parametrize(
    ("name", "dtype", "version"),
    [
        ("triton", torch.float16, None),
        ("triton", torch.float32, None),
        ("cupy", torch.float16, "mma"),
        ("cupy", torch.float32, "tile"),
        ("numba", torch.float16, None),
    ],
    ids=str,
)
def test_random_configurations_compute_the_same(
    name: str, dtype: torch.dtype, version: str | None, launches: Callable[[str], Any], make_problem: Callable[..., Any]
) -> None:
    """Drawn from the space, its tiles replaced by small ones; what breaks a rule is drawn again."""
    implementation, seen = launches(name)
    generator = np.random.default_rng(11)
    kind = str(dtype).removeprefix("torch.")
    space = implementation.space(SPEC, kind)
    small = {key: TINY[name].get(key.partition("_")[2], choices) for key, choices in space.items()}
    if version:
        small["version"] = (version,)
    this = make_problem(SPEC, TOKENS, dtype)
    for _ in range(3 if name == "triton" else 1):
        values: dict[str, Value] = {}
        while implementation.check_values(values, SPEC, kind) is not None:
            values = {key: choices[generator.integers(len(choices))] for key, choices in small.items()}
        seen.clear()
        assert this.error(implementation.prepare_values(values, SPEC, this.weights, "cpu", dtype)) < TOLERANCE[dtype]
        works = implementation.gemm_work(values, this.counts, SPEC, kind)
        assert [(launch.kernel, launch.threads) for launch in seen] == [(work.kernel, work.threads) for work in works]
