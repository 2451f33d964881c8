"""Memory that nobody has written reads as NaN, so that an unwritten result cannot look like a right one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

UNINITIALIZED = frozenset(
    {"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided", "resize_"}
)


class NaNWhereUninitialized(TorchFunctionMode):
    """Inside `with`, every float tensor this thread asks torch for without giving it values is filled with NaN.

    Nothing global is touched: torch's own switch (`fill_uninitialized_memory`) works only together with its
    deterministic mode, which makes operations choose other algorithms, so that not the timed ones would be checked.
    Memory that torch's operators allocate for themselves is not seen; for that there is `poison_allocator`.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call func, then fill what it has left undefined."""
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in UNINITIALIZED and isinstance(result, torch.Tensor) and result.is_floating_point():
            result.fill_(math.nan)
        return result


def poison_allocator(shapes: Iterable[tuple[int, ...]], dtype: torch.dtype, device: torch.device) -> None:
    """Leave freed blocks full of NaN where the next allocations of these shapes will probably find them.

    For outputs that torch's operators allocate and may leave partly unwritten, grouped_mm for one. Only a GPU's caching
    allocator hands blocks out again dependably, so on the CPU this does nothing.
    """
    if device.type == "cuda":
        blocks = [torch.full(shape, math.nan, dtype=dtype, device=device) for shape in shapes]
        del blocks
