"""What Numba's CUDA simulator needs so that a kernel always gives the same answer, and before the day is over.

Two traits of numba-cuda's `simulator/kernelapi.py` and `simulator/kernel.py` (0.30):

- Shared arrays are found by looking up the source line and, when nothing is there, making one. Two threads that look at
  the same time get two arrays, and the block then computes from memory nobody wrote. (Two arrays made on one line, on
  the other hand, get one.)
- The thread that runs a block spins until all its threads wait at the barrier. With Python's turns of 5 ms, it holds
  the interpreter for most of the time.
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false
# pyright: reportMissingImports=false, reportPrivateImportUsage=false

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
from numba.cuda.np.numpy_support import as_dtype
from numba.cuda.simulator.kernelapi import FakeCUDAShared


@contextlib.contextmanager
def steady_simulator() -> Iterator[None]:
    """Inside, shared arrays are made exactly once a block and threads take short turns."""
    before = sys.getswitchinterval()
    with mock.patch.object(FakeCUDAShared, "array", _shared_array):
        sys.setswitchinterval(1e-6)
        try:
            yield
        finally:
            sys.setswitchinterval(before)


def _shared_array(self: Any, shape: Any, dtype: Any, alignment: int | None = None) -> np.ndarray:  # noqa: ARG001
    """One array per call site; `setdefault` is one step for the interpreter, so all threads of the block agree."""
    caller = sys._getframe(1)
    fresh = np.empty(shape, as_dtype(dtype))
    fresh.view(np.uint8).fill(0xFF)  # not-a-number, or minus one: reading before writing must not pass for zero
    return self._allocations.setdefault((caller.f_code, caller.f_lasti), fresh)
