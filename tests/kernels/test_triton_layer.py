"""The Triton layer against the float64 reference: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from mohge.dispatch import DispatchPlan, make_plan
from mohge.kernels.triton import IMPLEMENTATION
from mohge.kernels.triton.blocks import tile_of, turns
from mohge.kernels.triton.config import LARGE, LARGE_FLOAT32, MEDIUM, SMALL, TINY, Configuration
from mohge.kernels.triton.tile import FLATTENED, SPECIALISED, Tile
from mohge.reference import DenseExpert, ExpertWeights, LayerSpec, Routing, expert_ffn

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Relative Frobenius error. Half precision rounds the activation, the rows and y once each.
TOLERANCE = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


@dataclass(frozen=True)
class Case:
    """A layer and a routing: `allowed` are the experts tokens may use, all of them when None."""

    intent: str
    tokens: int
    hidden: int
    widths: tuple[int, ...]
    experts_per_group: int = 2
    top_k: int = 1
    allowed: tuple[int, ...] | None = None

    @property
    def spec(self) -> LayerSpec:
        groups = len(self.widths)
        return LayerSpec(self.intent, self.hidden, self.widths, self.experts_per_group, self.top_k, groups)

    def routing(self, seed: int = 0) -> Routing:
        generator = np.random.default_rng(seed)
        allowed = np.arange(self.spec.experts) if self.allowed is None else np.array(self.allowed)
        picks = [generator.permutation(allowed)[: self.top_k] for _ in range(self.tokens)]
        ids = np.array(picks, dtype=np.int64).reshape(self.tokens, self.top_k)
        return Routing(ids, generator.random((self.tokens, self.top_k)))


CASES = [
    Case("zero tokens", 0, 16, (16, 32)),
    Case("one token", 1, 16, (16, 32), top_k=2),
    Case("every size is one", 3, 1, (1, 1)),
    Case("odd widths and odd hidden", 11, 29, (7, 33), top_k=3),
    Case("empty experts, the first and the last too", 13, 40, (24, 8, 17), top_k=2, allowed=(1, 3, 4)),
    Case("all on one expert, more row blocks than a band", 139, 32, (16, 48), allowed=(2,)),
    Case("several column blocks in both GEMMs", 4, 140, (70, 40), experts_per_group=1, top_k=2),
    Case("nothing to mask but rows", 8, 128, (128, 64), experts_per_group=1, top_k=2),
    Case("one width, as in uniform models", 9, 48, (32,), experts_per_group=5, top_k=2),
    Case("aligned widths that no K step divides", 6, 144, (80, 16), experts_per_group=1, top_k=2),
]
OTHER_TILES = [
    pytest.param(TINY, torch.float16, id="tiny"),
    pytest.param(MEDIUM, torch.float16, id="medium"),
    pytest.param(LARGE, torch.float16, id="large"),
    pytest.param(LARGE_FLOAT32, torch.float32, id="large_float32"),
]
OTHER_TILE_CASES = [
    Case("odd, several row blocks of an expert", 131, 40, (20, 131), 1, 2),
    Case("even, several row blocks of an expert", 131, 64, (64,), 2, 2),
]

# Every choice of how a tile is loaded, multiplied and stored, beside those of the built-in ones; 32 x 32 x 16 tiles.
FC1 = Tile(32, 32, 16, num_warps=4, num_stages=2, outputs=2)
FC2 = Tile(32, 32, 16, num_warps=4, num_stages=2)
SPECIALISED_FC2 = Tile(64, 32, 16, num_warps=4, num_stages=2, descriptors=2, loop=SPECIALISED)
WAYS = [
    pytest.param(FC1, FC2, torch.float16, id="pointers"),
    pytest.param(replace(FC1, descriptors=1), replace(FC2, descriptors=1), torch.float16, id="weights by descriptor"),
    pytest.param(replace(FC1, loop=FLATTENED), replace(FC2, descriptors=2), torch.float16, id="both by descriptor"),
    pytest.param(replace(FC1, swap=1), replace(FC2, swap=1), torch.float16, id="swapped"),
    pytest.param(replace(FC1, split_k=4), replace(FC2, split_k=4), torch.float16, id="split"),
    pytest.param(replace(FC1, split_k=2), replace(FC2, split_k=2), torch.float32, id="split float32"),
    pytest.param(
        replace(FC1, descriptors=1, swap=1, split_k=2, epilogue=2),
        replace(FC2, descriptors=2, swap=1, split_k=2, epilogue=2),
        torch.float16,
        id="everything",
    ),
    pytest.param(FC1, SPECIALISED_FC2, torch.float16, id="specialised"),
]
WAY_CASES = [
    Case("odd sizes", 40, 41, (7, 33), top_k=2),
    Case("descriptors for both GEMMs, the last expert empty", 40, 72, (48, 16), top_k=2, allowed=(0, 1, 2)),
]


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fresh tensors hold NaN, or the largest integer, so that reading what nothing wrote shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)  # noqa: B010 (a property of a module)
    yield
    torch.use_deterministic_algorithms(False)


@dataclass(frozen=True)
class Problem:
    """One case on the device, its weights rounded to the dtype, and what the reference says."""

    spec: LayerSpec
    weights: ExpertWeights
    x: torch.Tensor
    plan: DispatchPlan
    counts: np.ndarray
    expected: np.ndarray


def rounded(matrix: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(matrix).to(dtype)


def problem(case: Case, dtype: torch.dtype, *, shared_width: int = 0) -> Problem:
    spec = case.spec
    random = ExpertWeights.random(spec, seed=1)
    generator = np.random.default_rng(2)
    dense = None
    if shared_width:
        spec = LayerSpec.from_dict({**spec.to_dict(), "shared_width": shared_width})
        shapes = ((shared_width, spec.hidden), (shared_width, spec.hidden), (spec.hidden, shared_width))
        dense = DenseExpert(*(rounded(generator.standard_normal(shape) * 0.1, dtype) for shape in shapes))
    weights = ExpertWeights(
        *([rounded(matrix, dtype) for matrix in matrices] for matrices in (random.gate, random.up, random.down)),
        shared=dense,
    )
    as_double = ExpertWeights(
        *([matrix.double().numpy() for matrix in matrices] for matrices in (weights.gate, weights.up, weights.down)),
        shared=dense and DenseExpert(*(m.double().numpy() for m in (dense.gate, dense.up, dense.down))),
    )
    # NaN follows the last token, so that a main loop that reads past H shows.
    buffer = torch.full((case.tokens + 1, case.hidden), torch.nan, dtype=dtype, device=DEVICE)
    x = rounded(generator.standard_normal((case.tokens, case.hidden)), dtype)
    buffer[:-1] = x
    routing = case.routing()
    on_device = Routing(*(torch.from_numpy(array).to(DEVICE) for array in (routing.expert_ids, routing.weights)))
    return Problem(
        spec=spec,
        weights=weights,
        x=buffer[:-1],
        plan=make_plan(on_device, spec),
        counts=np.bincount(routing.expert_ids.reshape(-1), minlength=spec.experts),
        expected=expert_ffn(x.double().numpy(), as_double, routing, spec),
    )


def relative_error(y: torch.Tensor, expected: np.ndarray) -> float:
    got = y.double().cpu().numpy()
    assert got.shape == expected.shape
    assert np.isfinite(got).all()
    return float(np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-30))


def check(case: Case, dtype: torch.dtype, configuration: Configuration | None = None) -> None:
    this = problem(case, dtype)
    layer = IMPLEMENTATION.prepare(this.spec, this.weights, DEVICE, dtype, configuration)
    y = layer(this.x, this.plan)
    assert (y.dtype, y.device) == (dtype, this.x.device)
    assert relative_error(y, this.expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.intent)
def test_layer_equals_the_reference(case: Case, dtype: torch.dtype) -> None:
    check(case, dtype)


@pytest.mark.parametrize(("configuration", "dtype"), OTHER_TILES)
@pytest.mark.parametrize("case", OTHER_TILE_CASES, ids=lambda case: case.intent)
def test_every_tile_shape_equals_the_reference(case: Case, configuration: Configuration, dtype: torch.dtype) -> None:
    check(case, dtype, configuration)


@pytest.mark.parametrize(("fc1", "fc2", "dtype"), WAYS)
@pytest.mark.parametrize("case", WAY_CASES, ids=lambda case: case.intent)
def test_every_way_to_load_multiply_and_store_equals_the_reference(
    case: Case, fc1: Tile, fc2: Tile, dtype: torch.dtype
) -> None:
    check(case, dtype, Configuration("way", fc1, fc2))


def test_weights_that_are_not_finite_stay_with_their_expert() -> None:
    """Blocks reach past the end of an expert's rows and weights: what lies there must not be multiplied in."""
    case = Case("spoilt neighbours", 20, 40, (24, 40, 16), experts_per_group=1, allowed=(1,))
    this = problem(case, torch.float16)
    for matrices in (this.weights.gate, this.weights.up, this.weights.down):
        for expert in (0, 2):
            matrices[expert].fill_(torch.nan)
    for tiles in (TINY, SMALL, Configuration("pointers", FC1, FC2)):
        layer = IMPLEMENTATION.prepare(this.spec, this.weights, DEVICE, torch.float16, tiles)
        assert relative_error(layer(this.x, this.plan), this.expected) < TOLERANCE[torch.float16]


@pytest.mark.parametrize("configuration", [None, TINY, Configuration("split", replace(FC1, split_k=4), FC2)])
def test_two_calls_give_the_same_bits(configuration: Configuration | None) -> None:
    this = problem(CASES[4], torch.float16)
    layer = IMPLEMENTATION.prepare(this.spec, this.weights, DEVICE, torch.float16, configuration)
    assert torch.equal(layer(this.x, this.plan), layer(this.x, this.plan))


def test_phases_in_order_and_repeated_end_in_the_same_output() -> None:
    this = problem(CASES[3], torch.float32)
    layer = IMPLEMENTATION.prepare(this.spec, this.weights, DEVICE, torch.float32)
    phases = layer.phases(this.x, this.plan)
    assert list(phases) == ["plan", "gemm1", "gemm2", "combine"]
    y = None
    for phase in phases.values():
        for _ in range(2):
            y = phase()
    assert y is not None
    assert torch.equal(y, layer(this.x, this.plan))


def test_shared_expert_is_added() -> None:
    this = problem(CASES[3], torch.float32, shared_width=20)
    layer = IMPLEMENTATION.prepare(this.spec, this.weights, DEVICE, torch.float32)
    assert relative_error(layer(this.x, this.plan), this.expected) < TOLERANCE[torch.float32]


@triton.jit
def deal_kernel(done_ptr, count, programs):
    for turn in range(turns(count)):
        tl.store(done_ptr + tile_of(turn) * programs + tl.program_id(0), turn + 1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 6, 7, 12, 13])
def test_every_tile_is_dealt_once_forward_and_backward_in_turn(count: int) -> None:
    programs = 3
    done = torch.zeros(count + 1, programs, dtype=torch.int32, device=DEVICE)
    deal_kernel[(programs,)](done, count, programs)  # pyright: ignore[reportArgumentType]
    order = [*range(programs), *reversed(range(programs))]
    for tile in range(count):
        expected = [0] * programs
        expected[order[tile % len(order)]] = tile // programs + 1
        assert done[tile].tolist() == expected
    assert done[count].tolist() == [0] * programs


def test_executed_flops_count_whole_tiles_of_the_used_experts() -> None:
    this = problem(CASES[4], torch.float16)
    layer = IMPLEMENTATION.prepare(this.spec, this.weights, DEVICE, torch.float16, SMALL)
    blocks = -(-this.counts // 16)
    assert blocks.sum() == 3
    # Widths below 64 are one column of gate and up; H = 40 is one K step of 128 there and one column of 128 in fc2.
    fc1 = 2 * 2 * 16 * 64 * 128 * blocks.sum()
    fc2 = 2 * 16 * 128 * 64 * blocks.sum()
    assert layer.executed_flops(this.counts) == fc1 + fc2
    assert layer.executed_flops(np.zeros(this.spec.experts, dtype=np.int64)) == 0


@pytest.mark.skipif(DEVICE.type == "cuda", reason="about what the interpreter cannot do")
@pytest.mark.parametrize(
    ("dtype", "device", "reason"),
    [
        (torch.bfloat16, "cpu", "interpreter computes bfloat16"),
        (torch.float64, "cpu", "expected float32, float16, bfloat16, got float64"),
        (torch.float32, "cuda", "no CUDA GPU"),
        (torch.float32, "meta", "expected a cpu or cuda device"),
    ],
)
def test_unsupported_is_refused_with_its_reason(dtype: torch.dtype, device: str, reason: str) -> None:
    spec = CASES[0].spec
    assert reason in (IMPLEMENTATION.supports(spec, dtype, torch.device(device)) or "")
    with pytest.raises(ValueError, match=f"triton: .*{reason}"):
        IMPLEMENTATION.prepare(spec, ExpertWeights.random(spec), device, dtype)


def test_input_that_does_not_fit_is_refused() -> None:
    this = problem(CASES[1], torch.float32)
    layer = IMPLEMENTATION.prepare(this.spec, this.weights, DEVICE, torch.float32)
    with pytest.raises(ValueError, match=r"expected shape \[tokens, 16\], got \[1, 15\]"):
        layer(this.x[:, 1:], this.plan)
    with pytest.raises(ValueError, match="expected float32 as prepared, got float16"):
        layer(this.x.half(), this.plan)
