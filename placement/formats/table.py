"""The formats by name, and telling which one a file is in."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .own import read_csv, read_npz
from .per_token import read_exflow, read_megatron
from .recorded import Recorded
from .serving import LOGICAL_COUNT, WEIGHT, read_eplb, read_sglang
from .source import Source


@dataclass(frozen=True)
class Format:
    """A format of recorded routing. suffixes: the endings its files may have."""

    name: str
    description: str
    suffixes: tuple[str, ...]
    read: Callable[[Source], Recorded]


FORMATS: dict[str, Format] = {
    "csv": Format("csv", "rows per expert by domain and layer", (".csv",), read_csv),
    "npz": Format("npz", "this suite's per-token trace", (".npz",), read_npz),
    "eplb": Format("eplb", "EPLB's weights [layers, experts]", (".npy", ".json", ".pt"), read_eplb),
    "sglang": Format("sglang", "SGLang's logical_count", (".pt", ".json"), read_sglang),
    "megatron": Format("megatron", "Megatron-LM's router trace, a file or its folder", (".jsonl",), read_megatron),
    "exflow": Format("exflow", "ExFlow's array [tokens, layers], or [tokens, layers, K]", (".npy",), read_exflow),
}
AUTO = "auto"
_BY_SUFFIX = {".csv": "csv", ".npz": "npz", ".jsonl": "megatron"}


def read_recorded(
    path: str | Path,
    format: str = AUTO,  # noqa: A002  (what it is called everywhere)
    *,
    experts: int | None = None,
    load_pt: Callable[[Path], Any] | None = None,
) -> Recorded:
    """Read recorded routing: tokens where the format has them, else rows per expert.

    format:   a name in FORMATS, or "auto": by the file's ending and what it holds
    experts:  E where it is known; a file of another number is refused
    load_pt:  opens PyTorch files (see `Source`); without it they are refused
    Raises ValueError in one line that names the file and the place in it.
    """
    source = Source(Path(path), experts, load_pt)
    if not source.path.exists():
        raise ValueError(f"{path}: cannot be read: No such file or directory")
    if format == AUTO:
        format = _recognised(source)  # noqa: A001
    if format not in FORMATS:
        near = difflib.get_close_matches(str(format), [AUTO, *FORMATS], n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown format {format!r}{hint} Known: {AUTO}, {', '.join(FORMATS)}")
    chosen = FORMATS[format]
    if source.suffix not in chosen.suffixes and not (format == "megatron" and source.path.is_dir()):
        raise ValueError(
            f"{path}: format {format} is read from files ending in {', '.join(chosen.suffixes)}, got {source.suffix!r}"
        )
    return chosen.read(source)


def _recognised(source: Source) -> str:
    """The format's name. Raises ValueError where it cannot be told."""
    if source.path.is_dir():
        return "megatron"
    if source.suffix in _BY_SUFFIX:
        return _BY_SUFFIX[source.suffix]
    if source.suffix == ".npy":
        return _array_format(source)
    if source.suffix in (".json", ".pt"):
        value = source.value
        return "eplb" if not isinstance(value, dict) or (WEIGHT in value and LOGICAL_COUNT not in value) else "sglang"
    suffixes = sorted({suffix for known in FORMATS.values() for suffix in known.suffixes})
    raise ValueError(
        f"{source.path}: expected a trace (per token) or loads (rows per expert) ending in {', '.join(suffixes)}, "
        f"got {source.suffix!r}"
    )


def _array_format(source: Source) -> str:
    """Of a .npy array: EPLB's weights and ExFlow's trace look alike, so only E can tell [layers, E] from the other."""
    array: np.ndarray[Any, Any] = source.value
    if array.ndim == 3:
        return "exflow"
    if array.ndim == 1 or array.dtype.kind == "f":
        return "eplb"
    if source.experts is not None and array.ndim == 2 and array.size:
        weights = array.shape[1] == source.experts
        trace = array.dtype.kind in "iu" and array.min() >= 0 and array.max() < source.experts
        if weights != trace:
            return "eplb" if weights else "exflow"
    raise ValueError(
        f"{source.path}: {array.dtype} {list(array.shape)} may be EPLB's weights [layers, experts] or ExFlow's trace "
        "[tokens, layers]; say which with the format eplb or exflow"
    )
