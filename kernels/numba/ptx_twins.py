"""The instructions of `ptx.py` for Numba's simulator: what the PTX manual says of each, in Python, lane by lane.

Lanes of a warp exchange their fragments through a shared array, so every thread of the block has to call mma.
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false
# pyright: reportMissingImports=false, reportPrivateImportUsage=false

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda
from numba.types import uint32

from ...dispatch.numba_bridge import device_jit
from .instructions import CHUNK_WORDS, Instructions

WARP = 32


def _half(bits: np.ndarray) -> np.ndarray:
    return bits.view(np.float16).astype(np.float32)


def _bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _mma_twin(widen: Any) -> Any:
    @device_jit
    def mma(sums, i, j, a0, a1, a2, a3, b0, b1):
        thread = cuda.threadIdx.x
        words = cuda.shared.array((cuda.blockDim.x, 6), uint32)
        words[thread] = np.array([a0, a1, a2, a3, b0, b1]).astype(np.int64).astype(np.uint32)
        cuda.syncthreads()
        first = thread // WARP * WARP
        fragments = np.array([[words[first + lane, word] for word in range(6)] for lane in range(WARP)], np.uint32)
        pairs = widen(fragments.view(np.uint16)).reshape(8, 4, 6, 2)  # group, t, word, half
        a, b = np.empty((16, 16), np.float32), np.empty((16, 8), np.float32)
        for word in range(4):
            rows, ks = slice(8 * (word & 1), 8 * (word & 1) + 8), slice(8 * (word >> 1), 8 * (word >> 1) + 8)
            a[rows, ks] = pairs[:, :, word].reshape(8, 8)
        for word in range(2):
            b[8 * word : 8 * word + 8] = pairs[:, :, 4 + word].reshape(8, 8).T
        product = a @ b
        group, column = thread % WARP // 4, thread % 4 * 2
        for half in range(2):
            for pair in range(2):
                sums[i, j, 2 * half + pair] += product[group + 8 * half, column + pair]
        cuda.syncthreads()

    return mma


def _pack_half(first, second):
    return int(np.array([first, second], np.float16).view(np.int32)[0])


def _pack_bfloat16(first, second):
    bits = np.array([first, second], np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype(np.uint16)
    return int(np.where(np.isnan([first, second]), np.uint16(0x7FC0), rounded).astype(np.uint16).view(np.int32)[0])


def swiglu(gate, up):
    """See `Instructions`."""
    with np.errstate(over="ignore"):
        return np.float32(gate / (np.float32(1) + np.exp(-np.float32(gate))) * up)


def copy(shared, to, source, at, bytes):  # noqa: A002
    """See `Instructions`: at once."""
    assert to % CHUNK_WORDS == 0
    assert bytes == 0 or at % CHUNK_WORDS == 0
    for word in range(CHUNK_WORDS):
        place = np.unravel_index(at + word, source.shape) if bytes else ()
        shared[to + word] = source[place] if bytes else 0


def commit():
    """See `Instructions`: nothing is ever under way."""


def waits(_: int) -> Any:
    """See `Instructions`."""
    return lambda: None


INSTRUCTIONS = {
    "float16": Instructions(_mma_twin(_half), _pack_half),
    "bfloat16": Instructions(_mma_twin(_bfloat16), _pack_bfloat16),
}
