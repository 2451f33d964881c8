"""What the functions of `ptx.py` do, whichever of the two files has them."""

from __future__ import annotations

from typing import Any, NamedTuple

CHUNK_WORDS = 4  # cp.async moves 16 bytes


class Instructions(NamedTuple):
    """Device functions for one 16-bit type. Words are int32: two elements, the lower half the first.

    mma(sums, i, j, a0, a1, a2, a3, b0, b1)   sums float32[M, N, 4]: sums[i, j] += A B for a warp's 16 x 16 A and 16 x 8
        B (mma.m16n8k16). With g = lane / 4, t = lane mod 4: a0 holds A[g, 2t and 2t + 1], a1 A[g + 8, the same], a2 and
        a3 the same rows 8 columns on; b0 holds B[2t and 2t + 1, g], b1 8 rows on; sums C[g, 2t], C[g, 2t + 1], then
        those of row g + 8
    pack(first, second)                       two float32, each to nearest even, to a word
    copy(shared, to, source, at, bytes)       starts copying 16 bytes from word `at` of source, contiguous in global
        memory, to word `to` of shared; of bytes = 0 it writes zeros. Both lie on 16 bytes
    swiglu(gate, up)                          silu(gate) * up in float32, by the special-function unit: some 2^-22 off
    commit()                                  closes a group of copies
    wait(n)                                   by `waits`: until at most n groups are under way
    """

    mma: Any
    pack: Any
