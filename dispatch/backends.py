"""The backends by name, each imported when first asked for."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from .interface import Backend

if TYPE_CHECKING:
    import torch

BACKENDS: dict[str, str] = {
    "torch": "mohge.dispatch.torch_backend",
    "triton": "mohge.dispatch.triton_backend",
    "cupy": "mohge.dispatch.cupy_backend",
    "numba": "mohge.dispatch.numba_backend",
}


def load_backend(name: str) -> Backend:
    """The backend called `name`. Raises ValueError for an unknown name, and for a library that cannot be imported."""
    _check_name(name)
    try:
        return importlib.import_module(BACKENDS[name]).BACKEND
    except ImportError as error:
        raise ValueError(f"dispatch backend {name!r} cannot be imported: {error}") from error


def unavailable(name: str, device: torch.device | str) -> str | None:
    """None, or the reason in one line why backend `name` cannot work on `device` in this process.

    Raises ValueError for an unknown name.
    """
    import torch

    _check_name(name)
    try:
        backend = load_backend(name)
    except ValueError as error:
        return str(error)
    return backend.unavailable(torch.device(device))


def choose_backend(name: str | None, device: torch.device) -> Backend:
    """The backend called `name`, or the default one of `device`: torch on the CPU, Triton on a GPU.

    Raises ValueError when it is unknown or cannot work on `device`, with the reason.
    """
    backend = load_backend(name or ("triton" if device.type == "cuda" else "torch"))
    reason = backend.unavailable(device)
    if reason is not None:
        raise ValueError(f"dispatch backend {backend.name!r} cannot work on {device}: {reason}")
    return backend


def _check_name(name: str) -> None:
    if name not in BACKENDS:
        near = difflib.get_close_matches(str(name), BACKENDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown dispatch backend {name!r}{hint} Known: {', '.join(BACKENDS)}")
