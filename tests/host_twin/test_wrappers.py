"""What every wrapper does, on the host twin and, where there is one, on a GPU: same kernels, same inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mohge.dispatch.cuda.engine import Int64, default_engine

SOURCE = Path(__file__).parent / "kernels" / "wrappers.cu"
ELEMENTS = {torch.float16: "__half", torch.bfloat16: "__nv_bfloat16"}


class Machine:
    """An engine and the device its tensors live on."""

    def __init__(self, engine: Any, device: str) -> None:
        self.engine, self.device = engine, device

    def run(self, kernel: str, args: list[Any], blocks=1, block=64, shared_bytes=0, dtype=torch.float16) -> list[Any]:
        """Launch with copies of the tensors on the device, and bring them back."""
        moved = [a.to(self.device) if isinstance(a, torch.Tensor) else a for a in args]
        grid = blocks if isinstance(blocks, tuple) else (blocks,)
        shape = block if isinstance(block, tuple) else (block,)
        self.engine.load(SOURCE, {"ELEMENT": ELEMENTS[dtype]}).launch(kernel, grid, shape, moved, shared_bytes)
        return [a.cpu() for a in moved if isinstance(a, torch.Tensor)]


@pytest.fixture(params=["forward", "reverse", "random", pytest.param("gpu", marks=pytest.mark.gpu)])
def machine(request: pytest.FixtureRequest) -> Machine:
    if request.param == "gpu":
        return Machine(default_engine(), "cuda")
    engine = request.getfixturevalue("host_engine")
    return Machine(type(engine)(order=request.param, seed=3), "cpu")


def test_warp_collectives(machine):
    values = torch.from_numpy(np.random.default_rng(0).integers(0, 5, 64).astype(np.int32))
    out, _ = machine.run("collectives", [torch.zeros(9 * 64, dtype=torch.int32), values])
    lane = np.arange(32)
    for warp, got in zip(values.numpy().reshape(2, 32), out.numpy().reshape(9, 2, 32).swapaxes(0, 1), strict=True):
        np.testing.assert_array_equal(got[0], warp[5])
        np.testing.assert_array_equal(got[1], warp[lane ^ 3])
        np.testing.assert_array_equal(got[2], np.where(lane < 2, warp, np.roll(warp, 2)))
        np.testing.assert_array_equal(got[3], np.where(lane > 24, warp, np.roll(warp, -7)))
        bits = np.uint32(1) << lane.astype(np.uint32)
        np.testing.assert_array_equal(got[4].view(np.uint32), bits[warp % 2 != 0].sum(dtype=np.uint32))
        same = [bits[warp == value].sum(dtype=np.uint32) for value in warp]
        np.testing.assert_array_equal(got[5].view(np.uint32), same)
        np.testing.assert_array_equal(got[6], lane)
        np.testing.assert_array_equal(got[8], warp[1])
    np.testing.assert_array_equal(out.numpy().reshape(9, 64)[7], np.arange(64) // 32 * 100 + np.arange(64) % 32)


def test_positions_in_three_dimensions_and_dynamic_shared_memory(machine):
    x = torch.arange(64, dtype=torch.int32)
    out, _ = machine.run(
        "positions",
        [torch.zeros(13 * 64, dtype=torch.int32), x, 1],
        blocks=(2, 3, 2),
        block=(4, 8, 2),
        shared_bytes=256,
    )
    expected = (x.numpy() ^ 1) + 1000 * np.arange(12)[:, None]
    np.testing.assert_array_equal(out.numpy().reshape(13, 64)[1:], expected)
    assert not out[:64].any()


@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
def test_every_16_bit_number_and_the_rounding_to_it(machine, dtype):
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    generator = np.random.default_rng(1)
    floats = torch.from_numpy(generator.integers(0, 2**32, len(numbers), dtype=np.uint32).view(np.float32).copy())
    between = numbers.float()[: len(numbers) // 2] * (1 + 2.0**-11)  # on and beside the ties of float16
    floats[: len(between)] = between
    args = [torch.zeros(len(numbers)), torch.zeros(len(numbers), dtype=dtype), numbers, floats, len(numbers)]
    out, back, *_ = machine.run("conversions", args, blocks=3, dtype=dtype)
    torch.testing.assert_close(out, numbers.float(), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(back, floats.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
def test_tensor_core_product(machine, dtype):
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randint(-8, 9, (rows, 16), generator=generator).to(dtype) for rows in (16, 8))
    args = [torch.zeros(3 * 16 * 8), a, b, b.T.contiguous()]
    out, *_ = machine.run("matrix_product", args, dtype=dtype)
    expected = 1.0 + a.float() @ b.float().T  # whole numbers: exact in any order
    for way in out.view(3, 16, 8):
        assert torch.equal(way, expected)


@pytest.mark.parametrize("count", [1, 255, 256, 1022])
def test_cp_async_pipeline_and_its_short_end(machine, count):
    x = torch.arange(1, count + 1, dtype=torch.float32)
    out, _ = machine.run("pipeline", [torch.zeros(256), x, count])
    padded = torch.nn.functional.pad(x, (0, -count % 256)).view(-1, 256)
    assert torch.equal(out, padded.sum(0).flip(0))


def test_atomics(machine):
    args = [torch.zeros(1, dtype=torch.int32), torch.zeros(1), torch.zeros(5, dtype=torch.int32)]
    whole, real, in_block = machine.run("atomics", args, blocks=5)
    assert (whole.item(), real.item(), in_block.tolist()) == (320, 160.0, [64 * 63 // 2] * 5)


# ---- what only the host can say about a launch


BAD_LAUNCHES = {
    "no such kernel": ("nothing", (1,), (64,), 0, "has no chip_signature_nothing"),
    "too few arguments": ("atomics", (1,), (64,), 0, "takes 3 arguments, not 2"),
    "wrong element type": ("collectives", (1,), (64,), 0, "parameter 0 is *i4, not a pointer to torch.float32"),
    "a number for a pointer": ("conversions", (1,), (64,), 0, "takes 5 arguments, not 2"),
    "too many threads": ("collectives", (1,), (1025,), 0, "block (1025, 1, 1)"),
    "too many blocks": ("collectives", (1, 65536), (64,), 0, "grid (1, 65536, 1)"),
    "too much shared memory": ("two_ints", (1,), (64,), 240_000, "shared memory"),
}


@pytest.mark.parametrize("name", BAD_LAUNCHES)
def test_bad_launch_is_refused(host_engine, name):
    kernel, grid, block, shared_bytes, says = BAD_LAUNCHES[name]
    args: list[Any] = [torch.zeros(9 * 64), torch.zeros(64)]
    if kernel == "two_ints":
        kernel, args = "collectives", [torch.zeros(9 * 64, dtype=torch.int32), torch.zeros(64, dtype=torch.int32)]
    module = host_engine.load(SOURCE, {"ELEMENT": "__half"})
    with pytest.raises(RuntimeError) as caught:
        module.launch(kernel, grid, block, args, shared_bytes)
    assert vars(caught.value)["kind"] == "launch"
    assert says in str(caught.value)


@pytest.mark.parametrize(("value", "says"), [(Int64(4), "i4, not i8"), (4.0, "i4, not f4"), (True, "i4, not u1")])
def test_numbers_must_have_the_parameter_s_type(host_engine, value, says):
    args = [torch.zeros(256), torch.zeros(4), value]
    with pytest.raises(RuntimeError, match=says):
        host_engine.load(SOURCE, {"ELEMENT": "__half"}).launch("pipeline", (1,), (64,), args)


def test_part_of_a_warp_cannot_shuffle(host_engine):
    args = [torch.zeros(9 * 64, dtype=torch.int32), torch.zeros(64, dtype=torch.int32)]
    with pytest.raises(RuntimeError, match="whole warps, and the block has 16 threads"):
        host_engine.load(SOURCE, {"ELEMENT": "__half"}).launch("collectives", (1,), (16,), args)


def test_a_view_is_written_in_place_and_nothing_beside_it(host_engine):
    whole = torch.full((300,), -1.0)
    x = torch.arange(1.0, 257.0)
    host_engine.load(SOURCE, {"ELEMENT": "__half"}).launch("pipeline", (1,), (64,), [whole[20:276], x, 256])
    assert torch.equal(whole[20:276], x.flip(0))
    assert (whole[:20] == -1).all()
    assert (whole[276:] == -1).all()
