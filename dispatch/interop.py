"""Tensors across torch, CuPy and Numba: the same memory seen by another library, never a copy.

On a GPU the crossing is the CUDA array interface, which carries a pointer and no stream: whoever launches on the result
does so on torch's current stream (`torch.cuda.current_stream(device).cuda_stream`). On the CPU, where CuPy does not
exist and Numba simulates, NumPy arrays stand in for both.

CuPy and Numba have no bfloat16: such a tensor crosses as its bits, uint16, and comes back with
`as_torch(array, torch.bfloat16)`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def as_cupy(tensor: torch.Tensor) -> Any:
    """The memory of `tensor` as a CuPy array of the same shape and strides (a NumPy array on the CPU).

    bfloat16 becomes uint16. The array keeps the tensor alive.
    """
    tensor = _plain(tensor)
    if tensor.device.type == "cpu":
        return tensor.numpy()
    import cupy

    with cupy.cuda.Device(tensor.device.index):
        return cupy.asarray(tensor)


def as_numba(tensor: torch.Tensor) -> Any:
    """The memory of `tensor` as a Numba device array of the same shape and strides (a NumPy array on the CPU).

    bfloat16 becomes uint16. The array keeps the tensor alive.
    """
    tensor = _plain(tensor)
    if tensor.device.type == "cpu":
        return tensor.numpy()
    from numba import cuda

    return cuda.as_cuda_array(tensor, sync=False)


def as_torch(array: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The memory of a CuPy, Numba or NumPy array as a tensor of the same shape and strides on the array's device.

    `dtype` reinterprets the elements without converting them, for bfloat16 that crossed as uint16.
    Raises ValueError when the memory cannot be shared, when the array belongs to none of the three libraries and when
    `dtype` has another size than the array's elements.
    """
    if isinstance(array, np.ndarray):
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            raise ValueError("array: expected writable memory with positive strides, which torch can share")
        tensor = torch.from_numpy(array)
    elif hasattr(array, "__cuda_array_interface__"):
        tensor = torch.as_tensor(array, device="cuda")
        pointer = array.__cuda_array_interface__["data"][0]
        if tensor.numel() and tensor.data_ptr() != pointer:
            raise ValueError(
                f"array: expected memory on {tensor.device}, torch's current GPU; torch would have copied it"
            )
    else:
        raise ValueError(f"array: expected a NumPy, CuPy or Numba array, got {type(array).__name__}")
    if dtype is None:
        return tensor
    if dtype.itemsize != tensor.dtype.itemsize:
        raise ValueError(f"dtype: expected one of {tensor.dtype.itemsize} bytes like {tensor.dtype}, got {dtype}")
    return tensor.view(dtype)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without its gradient, in a dtype every library knows."""
    tensor = tensor.detach()
    return tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
