"""What several parts of placement ask of their numbers and files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")


def check_above_zero(**numbers: float) -> None:
    """Raise ValueError, with the name, unless every number is finite and above 0."""
    for name, number in numbers.items():
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"{name}: expected a number above 0, got {number}")


def checked_trace(trace: Any) -> NDArray[Any]:
    """Expert ids int[T, L, K], or [T, K] of one layer, as [T, L, K]. Raises ValueError for anything else."""
    trace = np.asarray(trace)
    trace = trace[:, None] if trace.ndim == 2 else trace
    if trace.ndim != 3 or not np.issubdtype(trace.dtype, np.integer):
        raise ValueError(
            f"trace: expected whole numbers [tokens, layers, top_k], got {trace.dtype} {list(trace.shape)}"
        )
    return trace


def read_text(path: Path, kind: str) -> str:
    """A UTF-8 file, with or without byte order mark. Raises ValueError, naming it, when it is none of its `kind`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a {kind} file: {error}") from error
