"""The CUDA C++ kernels, end to end, executed on the host against the reference; and faults planted in their sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mohge.dispatch import DispatchPlan, make_plan
from mohge.kernels.cupy import launch
from mohge.kernels.cupy.config import Config, MmaConfig, TileConfig
from mohge.kernels.cupy.implementation import CupyImplementation
from mohge.kernels.cupy.shipped import MMA_CONFIGS, TILE_CONFIGS
from mohge.reference import DenseExpert, ExpertWeights, LayerSpec, Routing, expert_ffn
from tests.kernels.planted import Fault, PatchedEngine

TILE = TileConfig(block_m=16, block_n=16, block_k=4, thread_m=4, thread_n=2)
MMA = MmaConfig(block_m=32, block_n=32, block_k=16, stages=3, warps_m=2, warps_n=2)
LIMIT = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}  # relative Frobenius error


@dataclass(frozen=True)
class Case:
    """expert_ids(generator) gives int[T, K] for a layer of these widths, two experts a group."""

    name: str
    hidden: int
    widths: tuple[int, ...]
    top_k: int
    expert_ids: Callable[[np.random.Generator], Any]

    @property
    def spec(self) -> LayerSpec:
        return LayerSpec(self.name, self.hidden, self.widths, 2, self.top_k, len(self.widths))

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def random_ids(tokens: int, experts: list[int], top_k: int) -> Callable[[np.random.Generator], Any]:
    def draw(generator: np.random.Generator) -> Any:
        rows = [generator.permutation(experts)[:top_k] for _ in range(tokens)]
        return np.array(rows, dtype=np.int64).reshape(tokens, top_k)

    return draw


EVERYTHING = Case("uneven counts and widths", 24, (8, 40, 17), 2, random_ids(23, list(range(6)), 2))
ROUTINGS = [
    EVERYTHING,
    Case("zero tokens", 24, (8, 16), 2, random_ids(0, [0, 1, 2, 3], 2)),
    Case("one token", 24, (8, 16), 3, random_ids(1, [0, 1, 2, 3], 3)),
    Case("all tokens on one expert", 24, (8, 24), 1, random_ids(37, [2], 1)),
    Case("empty experts first, between and last", 24, (8, 16, 24), 2, random_ids(17, [1, 3, 4], 2)),
    Case("rows fill tiles exactly", 16, (16, 32), 2, random_ids(32, [1, 2], 2)),
    Case("several column blocks and long inner dimension", 136, (48, 120), 2, random_ids(9, [0, 1, 2, 3], 2)),
    Case("width one and two", 16, (1, 2), 2, random_ids(11, [0, 1, 2, 3], 2)),
]
ODD_HIDDEN = Case("odd hidden and widths", 13, (7, 19, 33), 2, random_ids(15, list(range(6)), 2))


@dataclass(frozen=True)
class Problem:
    """A case with numbers: float32 weights and x, and the routing as NumPy and in float32."""

    spec: LayerSpec
    weights: ExpertWeights
    x: torch.Tensor
    routing: Routing

    @classmethod
    def of(cls, case: Case, seed: int = 0) -> Problem:
        generator = np.random.default_rng(seed)
        ids = case.expert_ids(generator)
        x = generator.standard_normal((len(ids), case.hidden), dtype=np.float32)
        routing = Routing(ids, generator.random(ids.shape).astype(np.float32))
        return cls(case.spec, ExpertWeights.random(case.spec, seed), torch.from_numpy(x), routing)

    def plan(self) -> DispatchPlan:
        return make_plan(
            Routing(torch.from_numpy(self.routing.expert_ids), torch.from_numpy(self.routing.weights)), self.spec
        )

    def run(self, implementation: CupyImplementation, dtype: torch.dtype) -> torch.Tensor:
        layer = implementation.prepare(self.spec, self.weights, "cpu", dtype)
        return layer(self.x.to(dtype), self.plan())

    def expected(self, dtype: torch.dtype) -> np.ndarray:
        """The reference on weights and x rounded to `dtype`."""

        def rounded(matrix: Any) -> np.ndarray:
            return torch.as_tensor(matrix).to(dtype).double().numpy()

        gate, up, down = ([rounded(m) for m in getattr(self.weights, name)] for name in ("gate", "up", "down"))
        shared = self.weights.shared
        if shared is not None:
            shared = DenseExpert(*(rounded(m) for m in (shared.gate, shared.up, shared.down)))
        return expert_ffn(rounded(self.x), ExpertWeights(gate, up, down, shared), self.routing, self.spec)

    def error(self, y: torch.Tensor) -> float:
        """Relative Frobenius error; NaN counts as infinite."""
        expected = self.expected(y.dtype)
        assert tuple(y.shape) == expected.shape
        difference = np.linalg.norm(y.double().numpy() - expected)
        return float(np.nan_to_num(difference / max(np.linalg.norm(expected), 1e-30), nan=np.inf))


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """torch.empty holds NaN, so that an element nobody wrote shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(1).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", LIMIT, ids=str)
@pytest.mark.parametrize("case", [*ROUTINGS, ODD_HIDDEN], ids=str)
def test_tile_matches_the_reference(case: Case, dtype: torch.dtype, host_engine: Any) -> None:
    problem = Problem.of(case)
    y = problem.run(CupyImplementation("tile", host_engine, TILE), dtype)
    assert y.dtype == dtype
    assert problem.error(y) < LIMIT[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", ROUTINGS, ids=str)
def test_mma_matches_the_reference(case: Case, dtype: torch.dtype, host_engine: Any) -> None:
    problem = Problem.of(case)
    y = problem.run(CupyImplementation("mma", host_engine, MMA), dtype)
    assert y.dtype == dtype
    assert problem.error(y) < LIMIT[dtype]


SHIPPED = [("tile", config) for config in TILE_CONFIGS.values()] + [("mma", config) for config in MMA_CONFIGS.values()]
ODD_SHAPES = [
    ("mma", MmaConfig(block_m=16, block_n=16, block_k=16, stages=2, warps_m=1, warps_n=1)),
    ("mma", MmaConfig(block_m=48, block_n=64, block_k=128, stages=2, warps_m=3, warps_n=1)),
]


@pytest.mark.parametrize(("version", "config"), [*SHIPPED, *ODD_SHAPES])
def test_every_configuration_computes_the_same(version: str, config: Config, host_engine: Any) -> None:
    problem = Problem.of(Case("wide", 136, (72, 160), 2, random_ids(41, [0, 1, 2, 3], 2)))
    y = problem.run(CupyImplementation(version, host_engine, config), torch.float16)
    assert problem.error(y) < LIMIT[torch.float16]


def test_auto_takes_tensor_cores_where_they_can_be_used(host_engine: Any) -> None:
    implementation = CupyImplementation("auto", host_engine)
    for case, dtype, version in (
        (EVERYTHING, torch.float16, "swapped"),
        (EVERYTHING, torch.float32, "tile"),
        (ODD_HIDDEN, torch.float16, "tile"),
    ):
        problem = Problem.of(case)
        layer = implementation.prepare(problem.spec, problem.weights, "cpu", dtype)
        assert isinstance(layer, launch.CupyLayer)
        assert layer.choices.of(15, "any").version == version
        assert problem.error(problem.run(implementation, dtype)) < LIMIT[dtype]


def test_x_that_starts_off_16_bytes(host_engine: Any) -> None:
    problem = Problem.of(EVERYTHING)
    implementation = CupyImplementation("mma", host_engine, MMA)
    layer = implementation.prepare(problem.spec, problem.weights, "cpu", torch.float16)
    plan = make_plan(
        Routing(*map(torch.from_numpy, (problem.routing.expert_ids, problem.routing.weights))), problem.spec
    )
    room = torch.zeros(problem.x.numel() + 1, dtype=torch.float16)
    shifted = room[1:].view_as(problem.x).copy_(problem.x)
    assert shifted.data_ptr() % 16
    assert torch.equal(layer(shifted, plan), layer(problem.x.half(), plan))


def test_shared_expert_is_added(host_engine: Any) -> None:
    spec = LayerSpec("shared", 16, (8, 16), 2, 2, 2, shared_width=24)
    ids = random_ids(5, [0, 1, 2, 3], 2)(np.random.default_rng(1))
    problem = Problem(
        spec,
        ExpertWeights.random(spec, shared=True),
        torch.randn(5, 16, generator=torch.manual_seed(0)),
        Routing(ids, np.full(ids.shape, 0.5, np.float32)),
    )
    assert (
        problem.error(problem.run(CupyImplementation("tile", host_engine, TILE), torch.float32)) < LIMIT[torch.float32]
    )


def test_phases_in_order_give_the_result_of_the_call_and_repeat(host_engine: Any) -> None:
    problem = Problem.of(EVERYTHING)
    layer = CupyImplementation("mma", host_engine, MMA).prepare(problem.spec, problem.weights, "cpu", torch.float16)
    plan = make_plan(
        Routing(*map(torch.from_numpy, (problem.routing.expert_ids, problem.routing.weights))), problem.spec
    )
    phases = layer.phases(problem.x.half(), plan)
    assert list(phases) == ["plan", "gemm1", "gemm2", "combine"]
    for _ in range(2):
        results = [phase() for phase in phases.values()]
        assert torch.equal(results[-1], layer(problem.x.half(), plan))


# ---- faults: a line of the sources replaced by a wrong one must be noticed


WAIT = "chip::cp_async_wait<STAGES - 2>();"
BARRIER = "chip::block_barrier();  // slice `step`"
END = "deposit(buffer);\n        chip::block_barrier();"
TOKEN = "slice_line(i) < tile.rows ? row_token[tile.first_row + slice_line(i)] : -1"
WRONG = {"error", "out_of_bounds"}
MMA_FAULTS = [
    Fault("waits for one stage too few", "mma_tile.cuh", WAIT, WAIT.replace("2", "1"), {"in_flight"}),
    Fault("no barrier before a stage", "mma_tile.cuh", BARRIER, "// ", {"race", "in_flight"}),
    Fault("no barrier between tiles", "mma_tile.cuh", "    }\n    chip::block_barrier();", "    }\n", {"race"}),
    Fault("swaps gate and up", "mma.cu", "swiglu(gate[0], up[0])", "swiglu(up[0], gate[0])", {"error"}),
    Fault("stores columns past the last", "mma.cu", "if (column < hidden) store", "store", {"race", *WRONG}),
    Fault("ignores where an expert ends", "work.cuh", "left < block_rows ?", "left < 0 ?", {"out_of_bounds"}),
]
TILE_FAULTS = [
    Fault("no barrier after depositing", "tile.cu", END, "deposit(buffer);", {"race", "unwritten"}),
    Fault("does not gather", "tile.cu", TOKEN, TOKEN.replace("row_token[", "(").replace("]", ")"), WRONG),
    Fault("skips tiles", "tile.cu", "entry += gridDim.x", "entry += 2 * gridDim.x", {"error"}),
]


def run_with_fault(fault: Fault, version: str, config: Config, engine: Any, folder: Path) -> None:
    fault.plant(folder)
    problem = Problem.of(Case("faulty", 40, (8, 33), 2, random_ids(45, [0, 1, 2, 3], 2)))
    implementation = CupyImplementation(version, PatchedEngine(engine, folder), config)
    if problem.error(problem.run(implementation, torch.float16)) > LIMIT[torch.float16]:
        raise WrongResult("error")


class WrongResult(Exception):  # noqa: N818
    """The kernels ran and their result is wrong."""

    kind = "error"


@pytest.mark.parametrize("fault", [*MMA_FAULTS, *TILE_FAULTS], ids=str)
def test_planted_fault_is_noticed(fault: Fault, host_engine: Any, tmp_path: Path) -> None:
    version, config = ("mma", MMA) if fault in MMA_FAULTS else ("tile", TILE)
    with pytest.raises((RuntimeError, WrongResult)) as caught:
        run_with_fault(fault, version, config, host_engine, tmp_path)
    assert getattr(caught.value, "kind", None) in fault.kinds, caught.value
