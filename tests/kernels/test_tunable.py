"""What a tuner asks of triton, cupy and numba, and that launches really are what the values and the table say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mohge.dispatch import DispatchPlan, make_plan
from mohge.kernels import load
from mohge.kernels.cupy.implementation import CupyImplementation
from mohge.kernels.tunable import Tunable, for_routing
from mohge.kernels.tuned import TunedRow, spec_class, write_table
from mohge.kernels.values import Value
from mohge.reference import DenseExpert, ExpertWeights, LayerSpec, Routing, expert_ffn

NAMES = ("triton", "cupy", "numba")
SPEC = LayerSpec("three widths", 40, (8, 24, 17), 2, 2, 3)
LARGE_SPEC = LayerSpec.preset("mohge-3b")
DTYPES = ("bfloat16", "float16", "float32")
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3}

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="interprets, simulates and executes on the host")

# Valid everywhere, and unlike every built-in choice.
SMALL_VALUES: dict[str, dict[str, Value]] = {
    "triton": {
        "fc1_block_m": 16, "fc1_block_n": 32, "fc1_block_k": 16, "fc1_num_warps": 4, "fc1_num_stages": 2,
        "fc1_band": 2, "fc1_blocks_per_sm": 1,
        "fc2_block_m": 32, "fc2_block_n": 16, "fc2_block_k": 32, "fc2_num_warps": 2, "fc2_num_stages": 3,
        "fc2_band": 1, "fc2_blocks_per_sm": 2,
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
}  # fmt: skip
CHANGED: dict[str, dict[str, Value]] = {
    "triton": {"fc1_block_n": 64, "fc2_block_m": 16},
    "cupy": {"fc1_block_n": 64},
    "numba": {"fc1_block_n": 4, "fc2_block_m": 4, "fc2_thread_m": 2},
}
TOKENS = 12  # few, because one Python thread simulates one CUDA thread


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


def problem(spec: LayerSpec, tokens: int, dtype: torch.dtype, used: int | None = None) -> Problem:
    """Experts below `used` get all rows."""
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
            def launch(self, name: str, grid: Any, block: Any, args: Any, shared_bytes: int = 0) -> None:
                seen.append(Launch(name, grid[0], block[0], {**defines, "shared_bytes": shared_bytes}))
                engine.load(source_file, defines).launch(name, grid, block, args, shared_bytes)

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


def check_launches(name: str, values: dict[str, Value], seen: list[Launch], works: list[Any]) -> None:
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


# ---- spaces and rules


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_current_values_are_in_the_space_and_break_no_rule(name: str, dtype: str) -> None:
    implementation = load(name)
    assert isinstance(implementation, Tunable)
    space = implementation.space(LARGE_SPEC, dtype)
    for parameter, choices in space.items():
        assert len(set(choices)) == len(choices) > 0
        assert list(choices) == sorted(choices), parameter
    for rows in (0, 6, 16384 * 6):
        values = implementation.current_values(LARGE_SPEC, rows, dtype)
        assert implementation.check_values(values, LARGE_SPEC, dtype) is None
        simulated = name == "numba"  # whose simulator gets blocks of fewer threads than a GPU ever should
        assert simulated or all(value in space[parameter] for parameter, value in values.items())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"fc1_block_m": 24}, r"fc1: .*(power of two|warp tiles in multiples of 16 x 16)"),
        ({"fc2_block_k": 4096}, r"fc2: "),
        ({"fc2_blocks_per_sm": 0}, r"fc2: blocks_per_sm: expected at least 1, got 0"),
        ({"fc1_block_n": "64"}, r"fc1_block_n: expected a whole number, got '64'"),
        ({"fc1_band": True}, r"fc1_band: expected a whole number, got True"),
        ({"fc3_block_m": 16}, r"fc3_block_m: no such parameter; expected fc1_block_m"),
        ({"fc2_block_m": None}, r"fc2_block_m: expected a value, got none"),
    ],
    ids=str,
)
def test_a_broken_rule_is_said_in_one_line_everywhere(name: str, change: dict[str, Any], rule: str) -> None:
    implementation: Any = load(name)
    values = {key: value for key, value in {**SMALL_VALUES[name], **change}.items() if value is not None}
    said = implementation.check_values(values, SPEC, "float16")
    assert said is not None
    assert "\n" not in said
    counts = np.ones(SPEC.experts, dtype=np.int64)
    for ask in (
        lambda: implementation.gemm_work(values, counts, SPEC, "float16"),
        lambda: implementation.compile_values(values, SPEC, "float16"),
        lambda: implementation.prepare_values(values, SPEC, ExpertWeights.random(SPEC), "cpu", torch.float16),
    ):
        with pytest.raises(ValueError, match=rule) as caught:
            ask()
        assert str(caught.value) == said


def test_cuda_cpp_offers_the_versions_that_can_run_a_layer() -> None:
    cupy = load("cupy")
    assert isinstance(cupy, Tunable)
    assert cupy.space(LARGE_SPEC, "bfloat16")["version"] == ("mma", "tile")
    assert "fc1_thread_m" in cupy.space(LARGE_SPEC, "bfloat16")
    for spec, dtype in ((LARGE_SPEC, "float32"), (replace(LARGE_SPEC, hidden=1028), "bfloat16")):
        space = cupy.space(spec, dtype)
        assert space["version"] == ("tile",)
        assert "fc1_stages" not in space
        assert "version: its tensor-core kernel" in (cupy.check_values(SMALL_VALUES["cupy"], spec, dtype) or "")
    both = {**SMALL_VALUES["cupy"], "fc1_thread_m": 3}  # of the other version: may be there, means nothing
    assert cupy.check_values(both, LARGE_SPEC, "float16") is None
    assert "version: expected one of tile, mma, got 'wmma'" in (
        cupy.check_values({**both, "version": "wmma"}, LARGE_SPEC, "float16") or ""
    )


# ---- work


@pytest.mark.parametrize("name", NAMES)
def test_work_is_that_of_the_real_work_lists(name: str, launches: Callable[[str], Any]) -> None:
    """Tile by tile in launch order, against the lists that a layer makes on the device."""
    implementation, _ = launches(name)
    values = SMALL_VALUES[name]
    dtype = torch.float16
    this = problem(SPEC, 40, dtype, used=4)
    layer = implementation.prepare_values(values, SPEC, this.weights, "cpu", dtype)
    works = implementation.gemm_work(values, this.counts, SPEC, "float16")
    phase = layer.phases(this.x, this.plan)["plan"]()
    schedules = phase if isinstance(phase, tuple) else (phase.fc1, phase.fc2)
    for gemm, work, schedule in zip(("fc1", "fc2"), works, schedules, strict=True):
        expert = schedule.expert[: int(schedule.count)].numpy()
        block_m, block_n, block_k = (int(values[f"{gemm}_block_{side}"]) for side in "mnk")
        inner = np.full(SPEC.experts, SPEC.hidden) if gemm == "fc1" else SPEC.expert_widths
        # A tensor-core tile of CUDA C++ has the gate and the up columns within its block_n.
        outputs = 2 if gemm == "fc1" and name != "cupy" else 1
        flops = 2 * outputs * block_m * block_n * (-(-inner // block_k) * block_k)
        np.testing.assert_array_equal(work.tile_flops, flops[expert])
        assert work.least_bytes <= work.bytes
    assert layer.executed_flops(this.counts) == sum(work.tile_flops.sum() for work in works)


def test_work_counted_by_hand() -> None:
    """H 40; experts 0 and 1 are 8 wide, 2 and 3 are 24, 4 and 5 are 17; 3 rows on expert 1 and 17 on expert 2."""
    implementation: Any = load("triton")
    fc1, fc2 = implementation.gemm_work(SMALL_VALUES["triton"], np.array([0, 3, 17, 0, 0, 0]), SPEC, "float16")
    # fc1, 16 x 32 tiles, 48 deep with padding: two row blocks of the wider expert come first, then one.
    assert fc1.tile_flops.tolist() == [2 * 2 * 16 * 32 * 48] * 3
    # fc2, 32 x 16 tiles, 32 deep: one row block and three column blocks each.
    assert fc2.tile_flops.tolist() == [2 * 32 * 16 * 32] * 6
    assert (fc1.kernel, fc1.threads, fc2.kernel, fc2.threads) == ("gate_up", 128, "down", 64)
    # fc1 reads 20 rows of x, gate and up once a row block, and writes n_e W_e; x [10, 40] exists once.
    written = 3 * 8 + 17 * 24
    assert fc1.bytes == 2 * (20 * 40 + 2 * 40 * (8 + 2 * 24) + written)
    assert fc1.least_bytes == 2 * (10 * 40 + 2 * 40 * (8 + 24) + written)
    # fc2 reads the activation once for each of three column blocks.
    assert fc2.bytes == 2 * (3 * written + 40 * (8 + 24) + 20 * 40)
    assert fc2.least_bytes == 2 * (written + 40 * (8 + 24) + 20 * 40)
    nothing = implementation.gemm_work(SMALL_VALUES["triton"], np.zeros(6, dtype=np.int64), SPEC, "float16")
    assert [(len(work.tile_flops), work.bytes) for work in nothing] == [(0, 0)] * 2
    with pytest.raises(ValueError, match="counts: expected 6 whole numbers of rows"):
        implementation.gemm_work(SMALL_VALUES["triton"], np.ones(5, dtype=np.int64), SPEC, "float16")


# ---- launches


def write_row(path: Path, name: str, values: dict[str, Value], **changes: Any) -> None:
    row = TunedRow(name, "cpu", spec_class(SPEC), 64, "any", "float16", values, "synthetic", "none")
    write_table([replace(row, **changes)], path)


@pytest.mark.parametrize("name", NAMES)
def test_a_launch_is_what_the_table_says_and_changes_with_it(
    name: str, launches: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    implementation, seen = launches(name)
    table = tmp_path / "table.json"
    monkeypatch.setenv("MOHGE_TUNED", str(table))
    this = problem(SPEC, TOKENS, torch.float16)
    first = SMALL_VALUES[name]
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
    name: str, launches: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    implementation, seen = launches(name)
    table = tmp_path / "table.json"
    monkeypatch.setenv("MOHGE_TUNED", str(table))
    spec = replace(SPEC, shared_width=8)
    write_row(table, name, SMALL_VALUES[name], routing_class="skewed")
    this = problem(SPEC, TOKENS, torch.float16, used=3)
    shared = DenseExpert(np.zeros((8, 40)), np.zeros((8, 40)), np.zeros((40, 8)))
    layer = implementation.prepare(spec, replace(this.weights, shared=shared), "cpu", torch.float16)
    works = implementation.gemm_work(SMALL_VALUES[name], this.counts, SPEC, "float16")
    shared_flops = 6 * 8 * 40 * TOKENS
    assert layer.executed_flops(this.counts) != sum(work.tile_flops.sum() for work in works) + shared_flops
    told = for_routing(layer, "skewed")
    assert told.executed_flops(this.counts) == sum(work.tile_flops.sum() for work in works) + shared_flops
    assert this.error(told) < TOLERANCE[torch.float16]
    check_launches(name, SMALL_VALUES[name], seen, works)
    with pytest.raises(ValueError, match="routing_class: expected one of any, balanced, skewed, got 'hot'"):
        for_routing(layer, "hot")
    with pytest.raises(ValueError, match="routing_class: expected one of any, balanced, skewed, got 'hot'"):
        implementation.prepare(SPEC, this.weights, "cpu", torch.float16, routing_class="hot")


def test_a_layer_that_is_not_tuned_by_routing_stays_as_it_is() -> None:
    layer = load("torch_loop").prepare(SPEC, ExpertWeights.random(SPEC), "cpu", torch.float32)
    assert for_routing(layer, "skewed") is layer


@pytest.mark.parametrize("name", NAMES)
def test_a_row_that_breaks_a_rule_is_named_when_a_layer_is_prepared(
    name: str, launches: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    implementation, _ = launches(name)
    monkeypatch.setenv("MOHGE_TUNED", str(tmp_path / "table.json"))
    write_row(tmp_path / "table.json", name, {**SMALL_VALUES[name], "fc1_block_m": 24})
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
    name: str, dtype: torch.dtype, version: str | None, launches: Callable[[str], Any]
) -> None:
    """Drawn from the space, its tiles replaced by small ones; what breaks a rule is drawn again."""
    implementation, seen = launches(name)
    generator = np.random.default_rng(11)
    kind = str(dtype).removeprefix("torch.")
    space = implementation.space(SPEC, kind)
    small = {key: TINY[name].get(key.partition("_")[2], choices) for key, choices in space.items()}
    if version:
        small["version"] = (version,)
    this = problem(SPEC, TOKENS, dtype)
    for _ in range(3 if name == "triton" else 1):
        values: dict[str, Value] = {}
        while implementation.check_values(values, SPEC, kind) is not None:
            values = {key: choices[generator.integers(len(choices))] for key, choices in small.items()}
        seen.clear()
        assert this.error(implementation.prepare_values(values, SPEC, this.weights, "cpu", dtype)) < TOLERANCE[dtype]
        works = implementation.gemm_work(values, this.counts, SPEC, kind)
        assert [(launch.kernel, launch.threads) for launch in seen] == [(work.kernel, work.threads) for work in works]
