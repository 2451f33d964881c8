"""Where each expert's block of the ragged activation starts.

Expert e has n_e rows of W_e elements, so

    activation_base[e] = sum over j < e of n_j W_j                       int64[E]

Three experts of widths 4, 6, 8 with 2, 0 and 3 rows start at elements 0, 8 and 8, and 32 elements are in use. The
counts live on the device, so the sums are made there, by one program.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def activation_base_kernel(
    expert_offsets_ptr,  # int32[E + 1]
    width_offsets_ptr,  # int64[E + 1]
    activation_base_ptr,  # int64[E]
    experts,
    BLOCK_E: tl.constexpr,
):
    """One program; experts in blocks of BLOCK_E with a carry."""
    carry = tl.zeros((), dtype=tl.int64)
    for start in range(0, experts, BLOCK_E):
        expert = start + tl.arange(0, BLOCK_E)
        mask = expert < experts
        row_start = tl.load(expert_offsets_ptr + expert, mask=mask, other=0)
        row_end = tl.load(expert_offsets_ptr + expert + 1, mask=mask, other=0)
        width_start = tl.load(width_offsets_ptr + expert, mask=mask, other=0)
        width_end = tl.load(width_offsets_ptr + expert + 1, mask=mask, other=0)
        elements = (row_end - row_start).to(tl.int64) * (width_end - width_start)
        base = carry + tl.cumsum(elements, axis=0) - elements
        tl.store(activation_base_ptr + expert, base, mask=mask)
        carry += tl.sum(elements, axis=0)
