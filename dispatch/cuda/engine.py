"""Engines compile and run the kernels of a .cu file: `CupyEngine` on a GPU; the tests bring one for the host."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from . import driver

if TYPE_CHECKING:
    import torch

Defines = Mapping[str, int | str]
MOST_BOX_ROWS = 256
DEFAULT_SHARED_BYTES = 48 * 1024  # above this a kernel must ask for its dynamic shared memory


@dataclass(frozen=True)
class Int64:
    """A kernel argument of type `long long`; a plain Python int is passed as `int`."""

    value: int


@dataclass(frozen=True)
class TensorMap:
    """A kernel argument of type `chip::TensorMap`: how TMA finds boxes of box_rows x box_columns elements in `matrix`.

    matrix: 16-bit elements [rows, columns], on 16 bytes, its rows contiguous and a multiple of 16 bytes apart. A box is
    at most 256 x 64, 128 bytes wide, which the 128-byte swizzle takes. Raises ValueError for anything else: on a GPU
    the driver would refuse it too, in fewer words.
    """

    matrix: torch.Tensor
    box_rows: int
    box_columns: int

    def __post_init__(self) -> None:
        matrix = self.matrix
        if matrix.ndim != 2 or matrix.itemsize != 2 or matrix.stride(1) != 1 or 0 in matrix.shape:
            raise ValueError(
                f"expected a matrix of 16-bit elements with contiguous rows for TMA, got {matrix.dtype} "
                f"{tuple(matrix.shape)} with strides {matrix.stride()}"
            )
        if matrix.data_ptr() % 16 or self.row_bytes % 16:
            raise ValueError(f"expected rows on 16 bytes for TMA, got {self.row_bytes} bytes a row")
        if not (1 <= self.box_rows <= MOST_BOX_ROWS and 8 <= self.box_columns <= 64 and self.box_columns % 8 == 0):
            raise ValueError(
                f"expected a box of up to {MOST_BOX_ROWS} rows and 8 to 64 columns in eights, got {self.box_rows} x "
                f"{self.box_columns}"
            )

    @property
    def row_bytes(self) -> int:
        """From one row to the next."""
        return self.matrix.stride(0) * self.matrix.itemsize


# torch.Tensor (its pointer), TensorMap, int (int32), float (float32), bool (bool) or Int64
Argument = Any


class Module(Protocol):
    """The kernels of one .cu file under one set of defines."""

    def launch(
        self,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Argument],
        shared_bytes: int = 0,
        early: bool = False,
        settled: Sequence[int] = (),
    ) -> None:
        """Run kernel `name` on `grid` blocks of `block` threads (1 to 3 numbers each) with `shared_bytes` of dynamic
        shared memory, in order with torch's current stream. A grid without blocks is no launch.

        Tensors are passed by pointer and must live on one device; nothing is copied. early: the grid may start while
        the one before it in the stream still runs, and the kernel itself waits for that (`chip::previous_grid_wait`).
        settled: numbers of the arguments that a kernel which starts early may read before it waits: nobody has written
        them since the grid before was started, and that one waited before it let the next start. A promise of the
        caller, which the engine for the host checks. Raises ValueError for an argument that cannot be passed.
        """
        ...


class Engine(Protocol):
    """Loads .cu files for one kind of machine."""

    def load(self, source_file: Path, defines: Defines) -> Module:
        """The kernels of `source_file` compiled with `-D` for each of `defines`; asked again, the same module."""
        ...


def pack_argument(argument: Argument) -> np.generic:
    """The argument as the bytes a kernel's parameter holds: a pointer, int32, float32, bool or int64."""
    if isinstance(argument, Int64):
        return np.int64(argument.value)
    if isinstance(argument, bool):
        return np.bool_(argument)
    if isinstance(argument, int):
        if not -(2**31) <= argument < 2**31:
            raise ValueError(f"a plain int is passed as int32, which cannot hold {argument}; wrap it in Int64")
        return np.int32(argument)
    if isinstance(argument, float):
        return np.float32(argument)
    if hasattr(argument, "data_ptr"):
        return np.uint64(argument.data_ptr())
    raise ValueError(
        f"expected a torch tensor, int, float, bool, Int64 or TensorMap as kernel argument, got {type(argument)}"
    )


def padded_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """A grid or block of 1 to 3 numbers with ones for those left out."""
    if not 1 <= len(shape) <= 3:
        raise ValueError(f"expected 1 to 3 numbers for a grid or block, got {tuple(shape)}")
    x, y, z = (*shape, 1, 1)[:3]
    return int(x), int(y), int(z)


@dataclass(frozen=True)
class _Stream:
    """A stream of torch's under the protocol by which CuPy takes in another library's (version 0 of it)."""

    pointer: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


class CupyModule:
    """A module on GPUs: one cubin for each architecture it meets, launched through CuPy."""

    def __init__(self, source_file: Path, defines: Defines) -> None:
        self._source_file = source_file
        self._defines = defines
        self._kernels: dict[tuple[int, str], Any] = {}

    def launch(
        self,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Argument],
        shared_bytes: int = 0,
        early: bool = False,
        settled: Sequence[int] = (),  # noqa: ARG002  a promise, of which nothing follows here
    ) -> None:
        """See `Module.launch`."""
        import cupy
        import torch

        if 0 in padded_shape(grid):
            return
        device = _device_of(args)
        stream = _Stream(torch.cuda.current_stream(device).cuda_stream)
        with cupy.cuda.Device(device), cupy.cuda.Stream.from_external(stream):
            kernel = self._kernel(device, name)
            if shared_bytes > DEFAULT_SHARED_BYTES and kernel.max_dynamic_shared_size_bytes < shared_bytes:
                kernel.max_dynamic_shared_size_bytes = shared_bytes
            if early or any(isinstance(argument, TensorMap) for argument in args):
                values = [driver.encode(a) if isinstance(a, TensorMap) else pack_argument(a) for a in args]
                shape = padded_shape(grid), padded_shape(block)
                config = driver.launch_configuration(*shape, shared_bytes, stream.pointer, early)
                driver.launch(kernel.kernel.ptr, config, values)
                return
            values = tuple(pack_argument(argument) for argument in args)
            kernel(padded_shape(grid), padded_shape(block), values, shared_mem=shared_bytes)

    def _kernel(self, device: int, name: str) -> Any:
        if (device, name) not in self._kernels:
            import cupy

            from .compiler import compile_cubin, device_architecture

            cubin = compile_cubin(self._source_file, self._defines, device_architecture(device))
            self._kernels[device, name] = cupy.RawModule(path=str(cubin)).get_function(name)
        return self._kernels[device, name]


class CupyEngine:
    """NVRTC to a cubin on disk, loaded and launched by CuPy on torch's stream. Imports CuPy on first use."""

    def __init__(self) -> None:
        self._modules: dict[tuple[Path, tuple[tuple[str, int | str], ...]], CupyModule] = {}

    @staticmethod
    def unavailable(device: torch.device) -> str | None:
        """None, or why kernels cannot run on `device` in this process."""
        import torch

        if device.type != "cuda":
            return f"CUDA C++ runs on NVIDIA GPUs, not on device type {device.type}"
        if not torch.cuda.is_available():
            return "torch sees no NVIDIA GPU"
        if importlib.util.find_spec("cupy") is None:
            return "CuPy is not installed (pip install cupy-cuda13x)"
        from .compiler import cannot_compile

        return cannot_compile()

    def load(self, source_file: Path, defines: Defines) -> CupyModule:
        """See `Engine.load`. Compiles when a kernel is first launched on a device."""
        key = (Path(source_file), tuple(sorted(defines.items())))
        if key not in self._modules:
            self._modules[key] = CupyModule(Path(source_file), dict(defines))
        return self._modules[key]


@functools.cache
def default_engine() -> CupyEngine:
    """The engine for GPUs that everything in a process shares, so that a kernel is loaded once."""
    return CupyEngine()


def _device_of(args: Sequence[Argument]) -> int:
    tensors = [argument.matrix if isinstance(argument, TensorMap) else argument for argument in args]
    devices = {tensor.device for tensor in tensors if hasattr(tensor, "data_ptr")}
    if len(devices) != 1 or next(iter(devices)).type != "cuda":
        raise ValueError(f"expected all tensors of a launch on one CUDA device, got {sorted(map(str, devices))}")
    return next(iter(devices)).index
