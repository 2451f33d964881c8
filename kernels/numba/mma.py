"""The entry `numba_mma` of the table."""

from .implementation import TENSOR_CORES as IMPLEMENTATION

__all__ = ["IMPLEMENTATION"]
