"""Recorded routing: a domain and a layer of a file in any of placement's formats, and which layers it fits."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...placement import AUTO, CountsFile, Recorded, TokensFile
from ...reference import PRESETS, LayerSpec
from .recordings import open_recorded


@dataclass(frozen=True)
class Trace:
    """One domain and one layer of a trace file.

    path:   the file
    domain: the domain asked for, a name or a part of several names; None for all of them
    layer:  the layer
    format: a name in placement.FORMATS, or auto

    Made by `open_trace`, which checks that they exist.
    """

    path: str
    domain: str | None
    layer: int
    format: str = AUTO

    @property
    def name(self) -> str:
        """The selection in words, as records show it."""
        return f"{Path(self.path).stem}/{self.domain or 'all'}/{self.layer}"

    @property
    def experts(self) -> int:
        """E."""
        return self._file.experts

    @property
    def top_k(self) -> int | None:
        """K of a per-token trace; None for rows per expert, which fit any K."""
        return self._file.top_k

    @property
    def _file(self) -> Recorded:
        return _load(self.path, self.format)

    def token_experts(self) -> NDArray[np.int64] | None:
        """Expert ids int64[tokens, K] in the order recorded; None for rows per expert. Raises ValueError."""
        file = self._file
        return file.expert_ids(_domains(file, self.domain), self.layer) if isinstance(file, TokensFile) else None

    def counts(self, experts: int | None = None) -> NDArray[np.int64]:
        """Rows routed to each expert, int64[E], summed over the domains asked for; experts: E, where the trace may not
        say it. Raises ValueError.
        """
        file = self._file
        return file.counts(_domains(file, self.domain), self.layer, experts)

    def check_fits(self, spec: LayerSpec) -> None:
        """Raise ValueError naming the presets that would fit, unless this trace is one for `spec`."""
        if self._file.fits(spec.experts, spec.top_k):
            return
        presets = ((name, LayerSpec.preset(name)) for name in PRESETS)
        fitting = [name for name, known in presets if self._file.fits(known.experts, known.top_k)]
        has = f"{self.experts} experts" + (f", top {self.top_k}" if self.top_k else "")
        raise ValueError(
            f"{self.path}: the trace has {has}; {spec.name} has {spec.experts} experts, top {spec.top_k}. "
            f"It fits {', '.join(fitting) if fitting else 'no preset'}"
        )


def open_trace(
    path: str | Path,
    domain: str | None = None,
    layer: int | None = None,
    format: str = AUTO,  # noqa: A002  (what it is called everywhere)
) -> Trace:
    """A domain and a layer of a trace file, checked; without `layer` the first one it has.

    `domain` is a domain's name, or a part of the names of several, which are then taken together.
    Raises ValueError for a file that cannot be read or is malformed, and for a domain or layer it does not have.
    """
    file = _load(str(path), format)
    layers = list(file.layers)
    chosen = layers[0] if layer is None else layer
    if chosen not in layers:
        raise ValueError(f"{path}: unknown layer {chosen}; the trace has {first_of(layers)}")
    names = _domains(file, domain)
    if isinstance(file, CountsFile):
        for name in names:
            file.row(name, chosen)
    return Trace(str(path), domain, chosen, format)


def trace_fits(path: str | Path, spec: LayerSpec) -> bool:
    """Whether a trace file is one for `spec`: the same E, and the same K if it is per token. Raises ValueError."""
    return _load(str(path)).fits(spec.experts, spec.top_k)


def trace_domains(path: str | Path) -> list[str]:
    """The domains of a trace file, in its order. Raises ValueError."""
    return list(_load(str(path)).domains)


def trace_layers(path: str | Path) -> list[int]:
    """The layers of a trace file, in its order. Raises ValueError."""
    return list(_load(str(path)).layers)


def _domains(file: Recorded, domain: str | None) -> list[str]:
    """The names `domain` means: all, the one that is exactly it, or those that contain it. Raises ValueError."""
    if domain is None:
        return list(file.domains)
    if domain in file.domains:
        return [domain]
    matches = [name for name in file.domains if domain.lower() in name.lower()] if domain else []
    if not matches:
        near = difflib.get_close_matches(domain, file.domains, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{file.path}: unknown domain {domain!r}{hint or '.'} The trace has {first_of(file.domains)}")
    return matches


def first_of(values: Sequence[object], most: int = 12) -> str:
    """The values in one line, the first few of many."""
    shown = ", ".join(str(value) for value in values[:most])
    return shown if len(values) <= most else f"{shown}, ... ({len(values)} in all)"


def _load(path: str, format: str = AUTO) -> Recorded:  # noqa: A002
    """The file, read once while it does not change. Raises ValueError."""
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    return _read(path, format, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _read(path: str, format: str, modified: int, size: int) -> Recorded:  # noqa: A002, ARG001  (the cache's key)
    return open_recorded(path, format)
