"""Torch tensors into Numba kernels: what crosses, how a kernel is launched, how 16-bit numbers are read and written.

Tensors cross without a copy, as `interop.as_numba` has them. Numba has no bfloat16, so its bits cross as uint16 and
kernels widen them to float32 with integer arithmetic.
Everything here and in the files that use it needs numba-cuda; nothing imports it until the backend is asked for.
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false, reportOptionalIterable=false

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import config, cuda, types
from numba.types import float16, float32, float64, uint16, uint32

from .interop import as_numba

SIMULATED = bool(config.ENABLE_CUDASIM)

# A float4 of shared memory can only be read in one instruction when the array is known to start on 16 bytes; the
# simulator has no alignment and refuses the argument.
SHARED_ALIGNMENT = None if SIMULATED else 16

# Plans and schedules have few blocks by nature, and a warning at every small launch tells nobody anything.
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0


def unavailable(device: torch.device) -> str | None:
    """None, or the reason in one line why Numba kernels cannot run on `device` in this process."""
    if device.type == "cpu":
        return (
            None if SIMULATED else "Numba compiles for NVIDIA GPUs; start with NUMBA_ENABLE_CUDASIM=1 to simulate one"
        )
    if device.type != "cuda":
        return f"expected a cuda or cpu device, got {device}"
    if SIMULATED:
        return "NUMBA_ENABLE_CUDASIM is set, so this process simulates on the CPU; start without it"
    if not torch.cuda.is_available():
        return "torch sees no CUDA GPU in this process"
    return _toolchain_missing()


@functools.cache
def _toolchain_missing() -> str | None:
    if cuda.is_available():
        return None
    return "Numba finds no CUDA driver, or no libNVVM (pip install 'cuda-toolkit[nvvm]')"


def launch(kernel: Any, grid: int, block: int | tuple[int, int], device: torch.device, *arguments: Any) -> None:
    """Launch on torch's current stream of `device`; tensors among `arguments` cross through `as_numba`.

    Never waits. In the simulator it returns when the kernel has run.
    """
    if SIMULATED:
        from .numba_simulator import steady_simulator

        with steady_simulator():
            kernel[grid, block](*map(_crossing, arguments))
        return
    with torch.cuda.device(device):  # Numba launches in the context that is current
        handle = torch.cuda.current_stream().cuda_stream
        kernel[grid, block, cuda.external_stream(handle) if handle else 0](*map(_crossing, arguments))


def _crossing(argument: Any) -> Any:
    return as_numba(argument) if isinstance(argument, torch.Tensor) else argument


def kernel_jit(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """`cuda.jit` for a kernel, with compiler options that the simulator does not know."""
    return cuda.jit() if SIMULATED else cuda.jit(**options)


def device_jit(function: Callable[..., Any]) -> Any:
    """`cuda.jit` for a function called by kernels, always inlined so that its arrays can stay in registers."""
    return cuda.jit(device=True)(function) if SIMULATED else cuda.jit(device=True, inline="always")(function)


@device_jit
def _same(value):
    return value


@device_jit
def _widen_half(value):
    return float32(value)


@device_jit
def _narrow_half(value):
    return float16(value)


@device_jit
def widen_bfloat16(bits):
    """uint16 to float32, exactly: a bfloat16 is the upper half of a float32."""
    return uint32(uint32(bits) << uint32(16)).view(np.float32)


@device_jit
def narrow_bfloat16(value):
    """float32 to uint16, to nearest, ties to even; not-a-number stays one (a rounding carry could make it infinite)."""
    bits = float32(value).view(np.uint32)
    if (bits & uint32(0x7FFFFFFF)) > uint32(0x7F800000):
        return uint16(0x7FC0)
    return uint16(uint32(bits + uint32(0x7FFF) + ((bits >> uint32(16)) & uint32(1))) >> uint32(16))


class Element(NamedTuple):
    """How one dtype is stored and computed with.

    name:   "float32", ...
    stored: the Numba type of an element in memory
    widen:  device function, stored to float32 (float64 for float64)
    narrow: device function, float32 (float64 for float64) to stored, to nearest even
    """

    name: str
    stored: types.Type
    widen: Any
    narrow: Any


ELEMENTS: dict[torch.dtype, Element] = {
    torch.float32: Element("float32", float32, _same, _same),
    torch.float16: Element("float16", float16, _widen_half, _narrow_half),
    torch.bfloat16: Element("bfloat16", uint16, widen_bfloat16, narrow_bfloat16),
    torch.float64: Element("float64", float64, _same, _same),
}
