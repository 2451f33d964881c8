"""What CuPy does not offer, straight from the CUDA driver: tensor maps for TMA, and launches that may start early."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .engine import TensorMap

TENSOR_MAP_BYTES = 128


def encode(tensor_map: TensorMap) -> np.ndarray[Any, Any]:
    """The driver's descriptor, uint8[128]: 128-byte swizzle, zeros outside the matrix, L2 fetches of 256 bytes.

    A descriptor depends on the address and the shapes alone, so those of buffers that come back are found again.
    Raises RuntimeError when the driver refuses.
    """
    matrix = tensor_map.matrix
    rows, columns = matrix.shape
    box = (tensor_map.box_rows, tensor_map.box_columns)
    name = str(matrix.dtype).removeprefix("torch.")
    return np.frombuffer(_encode(matrix.data_ptr(), rows, columns, tensor_map.row_bytes, box, name), np.uint8)


@functools.lru_cache(maxsize=1024)
def _encode(pointer: int, rows: int, columns: int, row_bytes: int, box: tuple[int, int], dtype: str) -> bytes:
    from cuda.bindings import driver  # pyright: ignore[reportAttributeAccessIssue]

    kinds = driver.CUtensorMapDataType
    kind = {
        "bfloat16": kinds.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        "float16": kinds.CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
    }[dtype]
    box_rows, box_columns = box
    status, descriptor = driver.cuTensorMapEncodeTiled(
        kind,
        2,  # dimensions, the contiguous one first
        pointer,
        [driver.cuuint64_t(columns), driver.cuuint64_t(rows)],
        [driver.cuuint64_t(row_bytes)],
        [driver.cuuint32_t(box_columns), driver.cuuint32_t(box_rows)],
        [driver.cuuint32_t(1), driver.cuuint32_t(1)],
        driver.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
        driver.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
        driver.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        driver.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
    )
    if int(status) != 0:
        raise RuntimeError(f"the driver refuses a tensor map of {rows} x {columns} {dtype}, box {box}: {status.name}")
    return ctypes.string_at(int(descriptor.getPtr()), TENSOR_MAP_BYTES)


def launch_configuration(grid: Sequence[int], block: Sequence[int], shared_bytes: int, stream: int, early: bool) -> Any:
    """A `CUlaunchConfig`. early: programmatic dependent launch, which a graph capture keeps as such an edge."""
    from cuda.bindings import driver  # pyright: ignore[reportAttributeAccessIssue]

    config = driver.CUlaunchConfig()
    config.gridDimX, config.gridDimY, config.gridDimZ = grid
    config.blockDimX, config.blockDimY, config.blockDimZ = block
    config.sharedMemBytes = shared_bytes
    config.hStream = driver.CUstream(stream)
    if early:
        attribute = driver.CUlaunchAttribute()
        attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
        attribute.value.programmaticStreamSerializationAllowed = 1
        config.attrs = [attribute]
        config.numAttrs = 1
    return config


def launch(function: int, config: Any, values: Sequence[Any]) -> None:
    """Launch the CUfunction at `function`; values: one NumPy array or scalar for each parameter, copied by the driver.

    Raises RuntimeError when the driver refuses.
    """
    from cuda.bindings import driver  # pyright: ignore[reportAttributeAccessIssue]

    held = [np.ascontiguousarray(value) for value in values]
    pointers = np.array([value.ctypes.data for value in held], np.uint64)
    (status,) = driver.cuLaunchKernelEx(config, driver.CUfunction(function), pointers.ctypes.data, 0)
    if int(status) != 0:
        raise RuntimeError(f"the driver refuses a launch: {status.name}")
