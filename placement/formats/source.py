"""A file to be read: opened once, its numbers checked with the place of the first that is wrong."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import read_text
from .recorded import CountsFile

ALL = "all"  # the domain of formats that have none
_LARGEST = 2**53  # whole numbers up to here are exact in float64


@dataclass(frozen=True, eq=False)
class Source:
    """path: a file, or a folder of them; experts: E where the reader knows it; load_pt: opens a PyTorch file.

    This room has no torch, so whoever has it hands in `load_pt`: path -> the file's value, its tensors as arrays.
    """

    path: Path
    experts: int | None = None
    load_pt: Callable[[Path], Any] | None = None

    @property
    def suffix(self) -> str:
        """The file's ending, lower case; .pt for all of PyTorch's."""
        suffix = self.path.suffix.lower()
        return ".pt" if suffix in (".pt", ".pth") else suffix

    @cached_property
    def value(self) -> Any:
        """What a .json, .pt or .npy file holds. Raises ValueError, naming the file."""
        if self.suffix == ".pt":
            if self.load_pt is None:
                raise ValueError(f"{self.path}: expected a reader of PyTorch files, got none")
            return self.load_pt(self.path)
        if self.suffix == ".npy":
            return self._array()
        try:
            return json.loads(self.text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.path}: line {error.lineno}, column {error.colno}: {error.msg}") from error

    def text(self) -> str:
        """The file as UTF-8. Raises ValueError."""
        return read_text(self.path, "text")

    def _array(self) -> NDArray[Any]:
        try:
            with self.path.open("rb") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.path}: not a NumPy array (.npy): {error}") from error

    def numbers(self, value: Any, name: str, axes: str) -> NDArray[Any]:
        """`value` as an array of numbers with as many dimensions as `axes` ("layers, experts") has names.

        Raises ValueError with the place of the first entry that is no number, or of a line of another length.
        """
        dimensions = axes.count(",") + 1
        if not isinstance(value, np.ndarray):
            fault = _fault(value, dimensions)
            if fault:
                raise ValueError(f"{self.path}: {name}{fault}")
            value = np.array(value)
        if value.dtype.kind not in "iuf" or value.ndim != dimensions or not value.size:
            raise ValueError(f"{self.path}: {name}: expected numbers [{axes}], got {value.dtype} {list(value.shape)}")
        return value

    def whole(self, values: NDArray[Any], name: str, axes: str) -> NDArray[np.int64]:
        """Whole numbers of rows as int64. Raises ValueError with the place of the first that is not, or below 0."""
        bad = ~((values >= 0) & (values <= _LARGEST)) | (values != np.floor(values))
        if bad.any():
            place = np.unravel_index(int(np.argmax(bad)), values.shape)
            where = ", ".join(f"{axis.strip()} {at}" for axis, at in zip(axes.split(","), place, strict=True))
            raise ValueError(
                f"{self.path}: {name}: {where}: expected a whole number of rows of at least 0, got {values[place]}"
            )
        return values.astype(np.int64)

    def counts(self, table: NDArray[np.int64], origin: str) -> CountsFile:
        """Rows of every expert [layers, E] as loads of one domain, layers numbered from 0.

        Layers without any row are left out: dense layers stand in tables as zeros. Raises ValueError.
        """
        if self.experts is not None and table.shape[1] != self.experts:
            raise ValueError(f"{self.path}: expected loads of {self.experts} experts, got {table.shape[1]}")
        busy = np.flatnonzero(table.any(axis=1))
        if not len(busy):
            raise ValueError(f"{self.path}: expected at least one row for some expert, got only zeros")
        if len(busy) < len(table):
            origin += f"; {len(table) - len(busy)} layers without rows left out"
        rows = {(ALL, int(layer)): table[layer] for layer in busy}
        return CountsFile(str(self.path), rows, table.shape[1], origin=origin)


def _fault(value: Any, dimensions: int) -> str:
    """Where nested lists are not an array of numbers of that many dimensions, and how; empty where they are."""
    if dimensions == 0:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if number else f": expected a number, got {_short(value)}"
    if not isinstance(value, list):
        return f": expected a list, got {_short(value)}"
    for at, item in enumerate(value):
        fault = _fault(item, dimensions - 1)
        if fault:
            return f"[{at}]{fault}"
        if isinstance(item, list) and len(item) != len(value[0]):
            return f"[{at}]: expected {len(value[0])} entries as in [0], got {len(item)}"
    return ""


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
