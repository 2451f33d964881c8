"""How far a correct result may lie from the float64 reference: one table, keyed by dtype."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Tolerance:
    """The largest errors of a correct implementation.

    relative: Frobenius norm of the error over that of the reference, for many tokens; see `for_tokens`
    worst:    largest error of one element, over the root mean square of the reference, or of the reference for this
              token where that is larger (a token with a large output has large rounding errors)
    """

    relative: float
    worst: float

    def for_tokens(self, tokens: int) -> Tolerance:
        """The same for few tokens, whose errors do not average out: relative times 1 + 1/sqrt(tokens).

        Over 1200 right float16 and bfloat16 layers of 1 and of 4 tokens, H 16 to 256, the largest relative error was
        2.6 and 2.0 times that of many tokens; this allows 2.8 and 2.1 times.
        """
        return Tolerance(self.relative * (1 + max(1, tokens) ** -0.5), self.worst)

    def doubled(self) -> Tolerance:
        """For comparing two implementations with each other, when each may be off by this much."""
        return Tolerance(2 * self.relative, 2 * self.worst)


# Beside each entry what was measured on the CPU, H 8 to 4096, W 5 to 1280, up to 2000 tokens (relative, worst): torch's
# GEMMs with gate, up, silu and product each rounded to dtype; the same with only the product rounded; and the nearest
# wrong one, sums kept in half precision between steps of 16 at H = W = 256. float32 leaves room for long sums in plain
# order, about 2.4e-8 * sqrt(K) each.
TOLERANCES: dict[torch.dtype, Tolerance] = {
    # 5.9e-7, 6.2e-6;  5.2e-7, 6.2e-6;  float16 sums 9.9e-4, 4.4e-3
    torch.float32: Tolerance(relative=1e-5, worst=5e-5),
    # 5.3e-4, 4.9e-3;  3.8e-4, 4.8e-3;  float16 sums 1.2e-3, 6.9e-3
    torch.float16: Tolerance(relative=7.5e-4, worst=1.2e-2),
    # 4.3e-3, 4.0e-2;  2.9e-3, 2.5e-2;  bfloat16 sums 9.2e-3, 6.5e-2
    torch.bfloat16: Tolerance(relative=6e-3, worst=8e-2),
}


def tolerance_for(dtype: torch.dtype) -> Tolerance:
    """The table's entry. Raises ValueError for a dtype that is not in it."""
    if dtype not in TOLERANCES:
        known = ", ".join(str(key).removeprefix("torch.") for key in TOLERANCES)
        raise ValueError(f"dtype: expected one of {known}, got {dtype}")
    return TOLERANCES[dtype]
