"""Where each expert's activation starts: base_e = sum over j < e of n_j * W_j, in elements of one flat buffer.

Row r of expert e, column w stands at base_e + (r - expert_offsets_e) * W_e + w.
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false, reportOptionalIterable=false

from __future__ import annotations

from numba import cuda
from numba.types import int64

from ...dispatch.numba_bridge import kernel_jit


@kernel_jit()
def activation_base_kernel(expert_offsets, width_offsets, activation_base):
    """expert_offsets int32[E + 1], width_offsets int64[E + 1] to activation_base int64[E]; a thread per expert."""
    for expert in range(cuda.grid(1), activation_base.shape[0], cuda.gridsize(1)):
        total = int64(0)
        for other in range(expert):
            rows = expert_offsets[other + 1] - expert_offsets[other]
            total += int64(rows) * (width_offsets[other + 1] - width_offsets[other])
        activation_base[expert] = total
