"""This suite's own two formats: tokens (.npz) and rows per expert (.csv)."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loads import read_loads
from .recorded import CountsFile, TokensFile
from .source import Source

_ARRAYS = ("expert_ids", "sample_start", "domain", "experts", "layers")


def read_npz(source: Source) -> TokensFile:
    """Tokens: `expert_ids` integer[tokens, layers, K], best expert first; `layers` integer[layers], their numbers;
    `sample_start` integer[samples + 1], the first token of each sample; `domain` text[samples]; `experts`, E.

    Raises ValueError naming the array at fault.
    """
    path = str(source.path)
    try:
        with source.path.open("rb") as file:  # opened here: NumPy leaves it open when it is no archive
            archive = np.load(file, allow_pickle=False)
            arrays = {name: archive[name] for name in _ARRAYS if name in archive.files}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a per-token trace (.npz): {error}") from error
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise ValueError(f"{path}: expected arrays {', '.join(_ARRAYS)}; missing {', '.join(missing)}")
    ids, start, domain, experts, layers = (arrays[name] for name in _ARRAYS)
    _expect(
        path, ids.ndim == 3 and np.issubdtype(ids.dtype, np.integer), "expert_ids", "integer[tokens, layers, K]", ids
    )
    _expect(path, layers.shape == (ids.shape[1],), "layers", f"one number for each of {ids.shape[1]} layers", layers)
    _expect(path, experts.size == 1 and int(experts) > 0, "experts", "one positive whole number", experts)
    _expect(path, domain.ndim == 1 and domain.dtype.kind == "U", "domain", "text[samples]", domain)
    _expect(path, start.shape == (len(domain) + 1,), "sample_start", f"{len(domain) + 1} numbers", start)
    if start[0] != 0 or start[-1] != len(ids) or (np.diff(start.astype(np.int64)) < 0).any():
        raise ValueError(f"{path}: sample_start: expected numbers rising from 0 to {len(ids)} (the tokens)")
    if source.experts is not None and int(experts) != source.experts:
        raise ValueError(f"{path}: experts: expected {source.experts}, got {int(experts)}")
    return TokensFile(
        path=path,
        ids=ids,
        sample_start=start.astype(np.int64),
        sample_domain=tuple(str(name) for name in domain),
        layers=tuple(int(layer) for layer in layers),
        experts=int(experts),
        origin="per-token trace (.npz)",
    )


def _expect(path: str, holds: bool, name: str, what: str, got: NDArray[Any]) -> None:
    if not holds:
        raise ValueError(f"{path}: {name}: expected {what}, got {got.dtype}{list(got.shape)}")


def read_csv(source: Source) -> CountsFile:
    """Rows per expert, as `read_loads` takes them. Raises ValueError with the line at fault."""
    loads = read_loads(source.path, source.experts)
    rows = {(entry.domain, entry.layer): entry.counts for entry in loads}
    return CountsFile(str(source.path), rows, len(loads[0].counts), origin="rows per expert (.csv)")
