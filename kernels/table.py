"""The implementations by name, each imported when first used."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .interface import Implementation, Layer

if TYPE_CHECKING:
    import torch

    from ..reference import ExpertWeights, LayerSpec


@dataclass(frozen=True)
class Entry:
    """An `Implementation` that imports the real one, the constant IMPLEMENTATION of `module`, when first asked.

    Where a library is missing, `supports` gives that as the reason; nothing else of the table is affected.
    """

    name: str
    module: str

    def load(self) -> Implementation:
        """The real implementation. Raises ValueError when its libraries cannot be imported here."""
        try:
            return importlib.import_module(self.module, __package__).IMPLEMENTATION
        except ImportError as error:
            raise ValueError(f"{self.name}: cannot be imported: {error}") from error

    @property
    def description(self) -> str:
        """See `Implementation.description`."""
        return self.load().description

    def supports(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> str | None:
        """See `Implementation.supports`; a library that cannot be imported is a reason too."""
        try:
            implementation = self.load()
        except ValueError as error:
            return str(error)
        return implementation.supports(spec, dtype, device)

    def prepare(self, spec: LayerSpec, weights: ExpertWeights, device: torch.device | str, dtype: torch.dtype) -> Layer:
        """See `Implementation.prepare`."""
        return self.load().prepare(spec, weights, device, dtype)


IMPLEMENTATIONS: dict[str, Implementation] = {
    "triton": Entry("triton", ".triton"),
    "cupy": Entry("cupy", ".cupy.implementation"),
    "numba": Entry("numba", ".numba"),
    "numba_mma": Entry("numba_mma", ".numba.mma"),
    "padded_bmm": Entry("padded_bmm", ".padded_bmm"),
    "torch_loop": Entry("torch_loop", ".torch_loop"),
    "torch_grouped_mm": Entry("torch_grouped_mm", ".torch_grouped_mm"),
}


def load(name: str) -> Implementation:
    """The implementation called `name`, imported now.

    Raises ValueError for an unknown name, with the nearest known one, and when its libraries cannot be imported.
    """
    if name not in IMPLEMENTATIONS:
        near = difflib.get_close_matches(str(name), IMPLEMENTATIONS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown implementation {name!r}{hint} Known: {', '.join(IMPLEMENTATIONS)}")
    entry = IMPLEMENTATIONS[name]
    return entry.load() if isinstance(entry, Entry) else entry
