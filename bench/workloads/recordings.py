"""Reading recorded routing where torch is at hand: every format of placement, PyTorch's files among them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from ...placement import AUTO, Recorded, read_recorded


def open_recorded(path: str | Path, format: str = AUTO, experts: int | None = None) -> Recorded:  # noqa: A002
    """`read_recorded` with PyTorch's files. Raises ValueError."""
    return read_recorded(path, format, experts=experts, load_pt=load_pt)


def load_pt(path: Path) -> Any:
    """What a PyTorch file holds, tensors as NumPy arrays; no code in it is run. Raises ValueError."""
    import torch

    try:
        return _arrays(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path}: not a PyTorch file of tensors: {reason}") from error


def _arrays(value: Any) -> Any:
    """The same with tensors as arrays; half precisions, which NumPy may lack, as float32."""
    import torch

    if isinstance(value, torch.Tensor):
        half = value.is_floating_point() and value.itemsize < 4
        return (value.float() if half else value).numpy()
    if isinstance(value, dict):
        return {key: _arrays(item) for key, item in value.items()}
    return [_arrays(item) for item in value] if isinstance(value, list | tuple) else value
