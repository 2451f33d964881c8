"""Host arithmetic for launch sizes, plain integers (Triton's own helpers are typed as compile-time constants)."""

from __future__ import annotations


def ceil_div(value: int, by: int) -> int:
    """How many blocks of `by` hold `value` elements."""
    return -(-value // by)


def power_of_two(value: int) -> int:
    """The least power of two that is at least `value`; 1 for 0."""
    return 1 << max(value - 1, 0).bit_length()
