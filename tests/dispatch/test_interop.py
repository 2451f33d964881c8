"""Crossing between torch, CuPy and Numba shares memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mohge.dispatch.interop import as_cupy, as_numba, as_torch

CROSSINGS = pytest.mark.parametrize("crossing", [as_cupy, as_numba])
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int32, torch.int64)


def pointer(array) -> int:
    if isinstance(array, np.ndarray):
        return array.__array_interface__["data"][0]
    return array.__cuda_array_interface__["data"][0]


@CROSSINGS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_crossing_and_return_keep_the_memory(crossing, dtype, device):
    tensor = torch.arange(24, device=device).to(dtype).view(4, 6)
    for view in (tensor, tensor[1:, ::2], tensor.T):
        array = crossing(view)
        assert pointer(array) == view.data_ptr()
        assert array.shape == tuple(view.shape)
        assert [stride // array.dtype.itemsize for stride in array.strides] == list(view.stride())
        back = as_torch(array, dtype)
        assert (back.data_ptr(), back.stride(), back.dtype) == (view.data_ptr(), view.stride(), dtype)
        assert back.device == view.device
        assert torch.equal(back, view)


@CROSSINGS
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_bfloat16_crosses_as_its_bits(crossing, device):
    array = crossing(torch.tensor([1.0, -2.0], dtype=torch.bfloat16, device=device))
    assert array.dtype == np.uint16
    bits = array if device == "cpu" else as_torch(array).cpu().numpy()
    assert bits.tolist() == [0x3F80, 0xC000]


@CROSSINGS
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_write_on_one_side_is_seen_on_the_other(crossing, device):
    tensor = torch.zeros(5, device=device, requires_grad=True)
    array = crossing(tensor)
    as_torch(array)[2] = 7.0
    assert tensor.tolist() == [0, 0, 7, 0, 0]


@CROSSINGS
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_no_elements(crossing, device):
    array = crossing(torch.empty(0, 3, device=device))
    assert array.shape == (0, 3)
    assert as_torch(array).shape == (0, 3)


def test_what_cannot_be_shared_is_refused():
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    for array in (frozen, np.zeros(3)[::-1]):
        with pytest.raises(ValueError, match="expected writable memory with positive strides"):
            as_torch(array)
    with pytest.raises(ValueError, match="expected a NumPy, CuPy or Numba array, got list"):
        as_torch([1, 2])
    with pytest.raises(ValueError, match=r"dtype: expected one of 4 bytes like torch\.float32, got torch\.bfloat16"):
        as_torch(np.zeros(3, np.float32), torch.bfloat16)
