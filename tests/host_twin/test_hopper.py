"""What every wrapper of hopper.cuh does, on the host twin and, where there is one, on a Hopper GPU; and what the twin
says of kernels that use them wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mohge.dispatch.cuda.engine import TensorMap, default_engine

FOLDER = Path(__file__).parent / "kernels"
ELEMENTS = {torch.float16: "__half", torch.bfloat16: "__nv_bfloat16"}


@pytest.fixture(params=["random", pytest.param("gpu", marks=pytest.mark.gpu)])
def machine(request: pytest.FixtureRequest) -> tuple[Any, str]:
    """An engine, and the device its tensors live on."""
    if request.param == "random":
        return request.getfixturevalue("host_engine"), "cpu"
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("the GPU is not a Hopper")
    return default_engine(), "cuda"


def run(machine: tuple[Any, str], kernel: str, args: list[Any], threads: int, shared_bytes: int, dtype: torch.dtype):
    engine, _ = machine
    engine.load(FOLDER / "hopper.cu", {"ELEMENT": ELEMENTS[dtype]}).launch(kernel, (1,), (threads,), args, shared_bytes)


@pytest.mark.parametrize(("line", "column"), [(0, 0), (3, 8), (9, 64), (-2, -8), (40, 0)])
def test_box_is_swizzled_and_filled_with_zeros(machine: Any, line: int, column: int) -> None:
    device = machine[1]
    matrix = torch.arange(1, 13 * 80 + 1).view(13, 80).to(torch.float16)
    out = torch.zeros(8, 64, dtype=torch.float16, device=device)
    run(machine, "box", [out, TensorMap(matrix.to(device), 8, 64), line, column], 64, 8 * 64 * 2 + 8, torch.float16)
    around = torch.zeros(13 + 100, 80 + 200, dtype=torch.float16)
    around[50:63, 100:180] = matrix
    box = around[50 + line : 58 + line, 100 + column : 164 + column].reshape(8, 8, 8)
    expected = torch.stack([box[row, torch.arange(8) ^ row] for row in range(8)]).view(8, 64)
    assert torch.equal(out.cpu(), expected)


@pytest.mark.parametrize("n", [8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
def test_products_of_all_layouts(machine: Any, dtype: torch.dtype, n: int) -> None:
    device = machine[1]
    generator = torch.Generator().manual_seed(n)
    a, b = (torch.randint(-4, 5, (rows, 64), generator=generator).to(dtype) for rows in (64, n))
    maps = [TensorMap(matrix.to(device), box, 64) for matrix, box in
            ((a, 64), (a.T.contiguous(), 64), (b, n), (b.T.contiguous(), 64))]  # fmt: skip
    expected = a.float() @ b.float().T  # whole numbers: exact in any order
    for way in range(2 if n < 64 else 4):
        out = torch.zeros(64, n, device=device)
        run(machine, f"product_{n}", [out, *maps, way], 128, (128 + n // 64 * 64 + n) * 128 + 8, dtype)
        assert torch.equal(out.cpu(), expected), way


@pytest.mark.parametrize("order", ["forward", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_a_warp_waits_for_its_products_as_one(order: str, host_engine: Any) -> None:
    machine = (default_engine(), "cuda") if order == "gpu" else (type(host_engine)(order=order), "cpu")
    out = torch.zeros(64, 8, device=machine[1])
    run(machine, "late_lanes", [out], 160, (64 + 8) * 128 + 16, torch.float16)
    assert (out == 16).all()


def test_two_warps_take_turns(machine: Any) -> None:
    out = torch.zeros(1, dtype=torch.int32, device=machine[1])
    module = machine[0].load(FOLDER / "hopper.cu", {"ELEMENT": "__half"})
    module.launch("handshake", (1,), (384,), [out, 5], 24, early=True)
    assert out.item() == 10


def copy(machine: Any, y: torch.Tensor, x: torch.Tensor, kernel: str = "copy_and_wait", settled: bool = True) -> None:
    """y = x by a grid that may start early and reads x before it waits, which x being settled allows."""
    module = machine[0].load(FOLDER / "hopper.cu", {"ELEMENT": "__half"})
    module.launch(kernel, (1,), (64,), [y, x], early=True, settled=(1,) if settled else ())


def test_what_older_grids_wrote_can_be_read_early(machine: Any) -> None:
    x = torch.arange(64, dtype=torch.int32, device=machine[1])
    y, z = torch.zeros_like(x), torch.zeros_like(x)
    copy(machine, y, x)
    copy(machine, z, x)  # x is older than the grid that wrote y
    assert torch.equal(y, x)
    assert torch.equal(z, x)


@pytest.mark.parametrize(
    ("before", "reads", "settled", "says"),
    [
        ("copy_and_wait", "x", False, "an earlier grid may still be writing"),
        ("copy_and_wait", "y", True, "said to find settled what the grid before it writes"),
        ("copy_in_haste", "x", True, "the one before did not wait"),
    ],
)
def test_what_may_not_be_read_early_is_refused(
    before: str, reads: str, settled: bool, says: str, host_engine: Any
) -> None:
    tensors = {"x": torch.arange(64, dtype=torch.int32), "y": torch.zeros(64, dtype=torch.int32)}
    machine = type(host_engine)(), "cpu"
    copy(machine, tensors["y"], tensors["x"], before)
    with pytest.raises(RuntimeError, match=says) as caught:
        copy(machine, torch.zeros(64, dtype=torch.int32), tensors[reads], settled=settled)
    assert vars(caught.value)["kind"] == "dependency"


SHARED_BYTES = 2048
FAULTS = {
    "leaves_a_copy_under_way": ("in_flight", "ended with a copy"),
    "box_at_an_odd_place": ("misaligned", "no multiple of 1024"),
    "box_past_the_end": ("out_of_bounds", "past the end of dynamic shared memory"),
    "barrier_never_made": ("unwritten", "nobody initialised"),
    "barrier_made_twice": ("barrier", "initialised twice"),
    "too_many_arrivals": ("barrier", "expects 1 more"),
    "arrives_before_it_writes": ("race", "no barrier between"),
    "half_a_named_barrier": ("barrier", "32 of 64 threads at named barrier 1"),
    "two_sizes_of_a_named_barrier": ("barrier", "elsewhere"),
    "named_barrier_zero": ("barrier", "expected 1 to 15"),
    "products_of_half_a_warpgroup": ("collective", "in a warpgroup that the block ends in"),
    "one_warp_multiplies_something_else": ("collective", "wgmma of something else"),
    "one_warp_multiplies_without_adding": ("collective", "wgmma of something else"),
    "one_warp_does_not_commit": ("collective", "wgmma_wait"),
    "one_warp_waits_for_less": ("collective", "wgmma_wait of something else"),
    "one_warp_makes_no_products": ("collective", "has ended without wgmma_fence"),
    "one_warp_takes_other_registers": ("collective", "setmaxnreg of something else"),
}
# Blocks of a whole warpgroup.
WARPGROUPS = [name for name in FAULTS if name.startswith("one_warp")]


@pytest.mark.parametrize("kernel", FAULTS)
def test_fault_is_reported(kernel: str, host_engine: Any) -> None:
    kind, says = FAULTS[kernel]
    y = torch.zeros(64, dtype=torch.int32)
    matrix = [TensorMap(torch.zeros(8, 64, dtype=torch.float16), 8, 64)] if "box" in kernel or "copy" in kernel else []
    module = host_engine.load(FOLDER / "hopper_faults.cu", {})
    with pytest.raises(RuntimeError) as caught:
        module.launch(kernel, (1,), (128 if kernel in WARPGROUPS else 64,), [y, *matrix], SHARED_BYTES)
    assert (vars(caught.value)["kind"], says in str(caught.value)) == (kind, True), caught.value


def test_every_planted_fault_is_listed() -> None:
    text = (FOLDER / "hopper_faults.cu").read_text()
    assert sorted(FAULTS) == sorted(
        line.split("(")[0].split()[-1] for line in text.splitlines() if "__global__" in line
    )


@pytest.mark.parametrize(
    ("matrix", "box", "says"),
    [
        (torch.zeros(4, 8), (4, 8), "16-bit"),
        (torch.zeros(4, 8, dtype=torch.float16).T, (4, 8), "contiguous rows"),
        (torch.zeros(0, 8, dtype=torch.float16), (4, 8), "contiguous rows"),
        (torch.zeros(4, 12, dtype=torch.float16), (4, 8), "got 24 bytes a row"),
        (torch.zeros(4, 8, dtype=torch.float16), (257, 8), "up to 256 rows"),
        (torch.zeros(4, 8, dtype=torch.float16), (4, 72), "8 to 64 columns"),
        (torch.zeros(4, 8, dtype=torch.float16), (4, 12), "in eights"),
    ],
)
def test_what_tma_cannot_describe_is_refused(matrix: torch.Tensor, box: tuple[int, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TensorMap(matrix, *box)


def test_a_tensor_map_is_no_pointer(host_engine: Any) -> None:
    out = torch.zeros(8, 64, dtype=torch.float16)
    module = host_engine.load(FOLDER / "hopper.cu", {"ELEMENT": "__half"})
    for wrong in (out, 7):
        with pytest.raises(RuntimeError, match="parameter 1 is v128"):
            module.launch("box", (1,), (64,), [out, wrong, 0, 0], 2048)
    with pytest.raises(RuntimeError, match="parameter 0 is \\*h2"):
        module.launch("box", (1,), (64,), [TensorMap(out, 8, 64), TensorMap(out, 8, 64), 0, 0], 2048)
