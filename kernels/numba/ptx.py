"""The PTX instructions that Numba does not know, as functions for kernels: mma, cp.async, a packed conversion, swiglu.

See `Instructions` for what each does. Kernels are compiled with `ptx_inline.py` and simulated with `ptx_twins.py`.
"""

from __future__ import annotations

from ...dispatch.numba_bridge import SIMULATED

if SIMULATED:
    from .ptx_twins import INSTRUCTIONS, commit, copy, swiglu, waits
else:
    from .ptx_inline import INSTRUCTIONS, commit, copy, swiglu, waits

__all__ = ["INSTRUCTIONS", "commit", "copy", "swiglu", "waits"]
