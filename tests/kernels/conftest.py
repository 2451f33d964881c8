"""What the tests of tuned launches share: small configurations, problems with answers, and kernels that are watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mohge.dispatch import DispatchPlan, make_plan
from mohge.kernels import load
from mohge.kernels.cupy.implementation import CupyImplementation
from mohge.kernels.values import Value
from mohge.reference import ExpertWeights, LayerSpec, Routing, expert_ffn

# Valid everywhere, and unlike every built-in choice.
SMALL_VALUES: dict[str, dict[str, Value]] = {
    "triton": {
        "fc1_block_m": 16, "fc1_block_n": 32, "fc1_block_k": 16, "fc1_num_warps": 4, "fc1_num_stages": 2,
        "fc1_band": 2, "fc1_blocks_per_sm": 1, "fc1_descriptors": 1, "fc1_swap": 1, "fc1_split_k": 1,
        "fc1_loop": 0, "fc1_epilogue": 2,
        "fc2_block_m": 32, "fc2_block_n": 16, "fc2_block_k": 32, "fc2_num_warps": 2, "fc2_num_stages": 3,
        "fc2_band": 1, "fc2_blocks_per_sm": 2, "fc2_descriptors": 0, "fc2_swap": 0, "fc2_split_k": 2,
        "fc2_loop": 0, "fc2_epilogue": 2,
    },
    "cupy": {
        "version": "mma",
        "fc1_block_m": 16, "fc1_block_n": 32, "fc1_block_k": 16, "fc1_blocks_per_sm": 1, "fc1_band": 2,
        "fc1_stages": 2, "fc1_warps_m": 1, "fc1_warps_n": 2,
        "fc2_block_m": 32, "fc2_block_n": 32, "fc2_block_k": 32, "fc2_blocks_per_sm": 1, "fc2_band": 1,
        "fc2_stages": 3, "fc2_warps_m": 2, "fc2_warps_n": 1,
    },
    "numba": {
        "fc1_block_m": 4, "fc1_block_n": 2, "fc1_block_k": 4, "fc1_thread_m": 2, "fc1_thread_n": 1,
        "fc1_band": 2, "fc1_blocks_per_sm": 1,
        "fc2_block_m": 8, "fc2_block_n": 4, "fc2_block_k": 4, "fc2_thread_m": 4, "fc2_thread_n": 2,
        "fc2_band": 1, "fc2_blocks_per_sm": 2,
    },
    "numba_mma": {
        "fc1_block_m": 16, "fc1_block_n": 16, "fc1_block_k": 16, "fc1_warps_m": 1, "fc1_warps_n": 1,
        "fc1_stages": 2, "fc1_band": 2, "fc1_blocks_per_sm": 1,
        "fc2_block_m": 16, "fc2_block_n": 16, "fc2_block_k": 16, "fc2_warps_m": 1, "fc2_warps_n": 1,
        "fc2_stages": 3, "fc2_band": 1, "fc2_blocks_per_sm": 2,
    },
}  # fmt: skip


@pytest.fixture
def small_values() -> dict[str, dict[str, Value]]:
    """By implementation: a configuration that is valid everywhere and unlike every built-in choice."""
    return SMALL_VALUES


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    """A layer with inputs for (spec, tokens, dtype, used): experts below `used` get all rows."""
    return _problem


@dataclass(frozen=True)
class Problem:
    """A layer, x and a routing with numbers, and what the reference says."""

    spec: LayerSpec
    weights: ExpertWeights
    x: torch.Tensor
    plan: DispatchPlan
    counts: np.ndarray
    expected: np.ndarray

    def error(self, layer: Any) -> float:
        y = layer(self.x, self.plan).double().numpy()
        return float(np.nan_to_num(np.linalg.norm(y - self.expected) / np.linalg.norm(self.expected), nan=np.inf))


def _problem(spec: LayerSpec, tokens: int, dtype: torch.dtype, used: int | None = None) -> Problem:
    """Experts below `used` get all rows; all experts where it is None."""
    generator = np.random.default_rng(7)

    def rounded(matrix: np.ndarray) -> np.ndarray:
        return torch.from_numpy(matrix).to(dtype).double().numpy()

    random = ExpertWeights.random(spec, 1)
    gate, up, down = ([rounded(m) for m in matrices] for matrices in (random.gate, random.up, random.down))
    weights = ExpertWeights(gate, up, down)
    ids = np.argsort(generator.random((tokens, used or spec.experts)), axis=1)[:, : spec.top_k]
    routing = Routing(ids, generator.random(ids.shape).astype(np.float32))
    x = rounded(generator.standard_normal((tokens, spec.hidden)))
    return Problem(
        spec=spec,
        weights=weights,
        x=torch.from_numpy(x).to(dtype),
        plan=make_plan(Routing(torch.from_numpy(ids), torch.from_numpy(routing.weights)), spec),
        counts=np.bincount(ids.reshape(-1), minlength=spec.experts),
        expected=expert_ffn(x, weights, routing, spec),
    )


@dataclass(frozen=True)
class Launch:
    """What one GEMM launch was asked for, as far as it depends on the configuration."""

    kernel: str
    grid: int
    threads: int
    constants: dict[str, Any]


class Spy:
    """A kernel that notes its launches and then does them."""

    def __init__(self, kernel: Any, name: str, seen: list[Launch]) -> None:
        self.kernel, self.name, self.seen = kernel, name, seen

    def __getitem__(self, grid: tuple[int]) -> Callable[..., Any]:
        def launch(*arguments: Any, **constants: Any) -> Any:
            self.seen.append(Launch(self.name, grid[0], 32 * constants["num_warps"], constants))
            return self.kernel[grid](*arguments, **constants)

        return launch


class SpyEngine:
    """The host's engine, noting what is loaded and launched."""

    def __init__(self, engine: Any, seen: list[Launch]) -> None:
        self.engine, self.seen = engine, seen

    def load(self, source_file: Path, defines: Mapping[str, int | str]) -> Any:
        engine, seen = self.engine, self.seen

        class Module:
            def launch(self, name: str, grid: Any, block: Any, args: Any, shared_bytes: int = 0, **how: bool) -> None:
                seen.append(Launch(name, grid[0], block[0], {**defines, "shared_bytes": shared_bytes}))
                engine.load(source_file, defines).launch(name, grid, block, args, shared_bytes, **how)

        return Module()


@pytest.fixture
def launches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Gives an implementation that runs on this CPU, and the list that its GEMM launches are noted in."""
    seen: list[Launch] = []

    def spied(name: str) -> tuple[Any, list[Launch]]:
        if name == "triton":
            from mohge.kernels.triton import layer as triton_layer

            for kernel in ("gate_up", "down"):
                spy = Spy(getattr(triton_layer, f"{kernel}_kernel"), kernel, seen)
                monkeypatch.setattr(triton_layer, f"{kernel}_kernel", spy)
        if name == "numba":
            _spy_on_numba(monkeypatch, seen)
        if name == "cupy":
            return CupyImplementation(engine=SpyEngine(request.getfixturevalue("host_engine"), seen)), seen
        return load(name), seen

    return spied


def _spy_on_numba(monkeypatch: pytest.MonkeyPatch, seen: list[Launch]) -> None:
    from mohge.kernels.numba import layer as numba_layer

    tiles: dict[Any, tuple[str, Any]] = {}
    for name in ("gate_up", "down"):
        make = getattr(numba_layer, f"{name}_kernel")

        def made(tile: Any, dtype: Any, name: str = name, make: Any = make) -> Any:
            kernel = make(tile, dtype)
            tiles[id(kernel)] = (name, tile)
            return kernel

        monkeypatch.setattr(numba_layer, f"{name}_kernel", made)
    launch = numba_layer.launch

    def noted(kernel: Any, grid: int, block: Any, *rest: Any) -> None:
        if id(kernel) in tiles:
            name, tile = tiles[id(kernel)]
            seen.append(Launch(name, grid, block[0] * block[1], vars(tile)))
        launch(kernel, grid, block, *rest)

    monkeypatch.setattr(numba_layer, "launch", noted)
