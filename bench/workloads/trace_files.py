"""The two trace formats: reading them, and saying exactly what is wrong with a file.

Per token (.npz): `expert_ids` integer[tokens, layers, K], best expert first; `layers` integer[layers], their numbers;
`sample_start` integer[samples + 1], the first token of each sample; `domain` text[samples]; `experts`, E.
Rows per expert (.csv): a header `domain,layer,expert_0,...`, then one line of counts for each domain and layer.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...placement import read_loads

_ARRAYS = ("expert_ids", "sample_start", "domain", "experts", "layers")


@dataclass(frozen=True, eq=False)
class TokensFile:
    """A per-token trace: expert_ids integer[tokens, layers, K], sample_start int[samples + 1], one domain a sample."""

    path: str
    ids: NDArray[Any]
    sample_start: NDArray[np.int64]
    sample_domain: tuple[str, ...]
    layers: tuple[int, ...]
    experts: int

    @property
    def top_k(self) -> int:
        """K."""
        return int(self.ids.shape[2])

    @property
    def domains(self) -> tuple[str, ...]:
        """Names in the order of their first sample."""
        return tuple(dict.fromkeys(self.sample_domain))

    def expert_ids(self, domains: list[str], layer: int) -> NDArray[np.int64]:
        """int64[tokens of these domains, K] of one layer, checked. Raises ValueError."""
        wanted = set(domains)
        spans = [
            np.arange(self.sample_start[sample], self.sample_start[sample + 1])
            for sample, name in enumerate(self.sample_domain)
            if name in wanted
        ]
        tokens = np.concatenate(spans) if spans else np.empty(0, dtype=np.int64)
        ids = self.ids[tokens, self.layers.index(layer)].astype(np.int64)
        self._check(ids, tokens, layer)
        return ids

    def counts(self, domains: list[str], layer: int) -> NDArray[np.int64]:
        """Rows of each expert, int64[E]."""
        return np.bincount(self.expert_ids(domains, layer).ravel(), minlength=self.experts).astype(np.int64)

    def _check(self, ids: NDArray[np.int64], tokens: NDArray[np.int64], layer: int) -> None:
        if not len(ids):
            raise ValueError(f"{self.path}: expected at least one token of layer {layer}, got none")
        outside = ((ids < 0) | (ids >= self.experts)).any(axis=1)
        ordered = np.sort(ids, axis=1)
        repeated = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        for bad, what in ((outside, f"expert ids from 0 to {self.experts - 1}"), (repeated, "distinct experts")):
            if bad.any():
                where = int(np.argmax(bad))
                place = f"token {int(tokens[where])}, layer {layer}"
                raise ValueError(f"{self.path}: expected {what}, got {ids[where].tolist()} at {place}")


@dataclass(frozen=True, eq=False)
class CountsFile:
    """Rows per expert: counts int64[E] for each (domain, layer)."""

    path: str
    rows: dict[tuple[str, int], NDArray[np.int64]]
    experts: int
    top_k: None = None

    @property
    def domains(self) -> tuple[str, ...]:
        """Names in the order of the file."""
        return tuple(dict.fromkeys(domain for domain, _ in self.rows))

    @property
    def layers(self) -> tuple[int, ...]:
        """Layer numbers in the order of the file."""
        return tuple(dict.fromkeys(layer for _, layer in self.rows))

    def row(self, domain: str, layer: int) -> NDArray[np.int64]:
        """The counts of one line. Raises ValueError when the file has no such line."""
        if (domain, layer) not in self.rows:
            have = ", ".join(str(number) for name, number in self.rows if name == domain)
            raise ValueError(f"{self.path}: unknown layer {layer} for domain {domain}; the trace has {have}")
        return self.rows[domain, layer]

    def counts(self, domains: list[str], layer: int) -> NDArray[np.int64]:
        """The lines of these domains added up, int64[E]. Raises ValueError."""
        return np.sum([self.row(domain, layer) for domain in domains], axis=0)


def read_tokens(path: str) -> TokensFile:
    """Read a per-token trace. Raises ValueError."""
    try:
        with Path(path).open("rb") as file:  # opened here: NumPy leaves it open when it is no archive
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
    return TokensFile(
        path=path,
        ids=ids,
        sample_start=start.astype(np.int64),
        sample_domain=tuple(str(name) for name in domain),
        layers=tuple(int(layer) for layer in layers),
        experts=int(experts),
    )


def _expect(path: str, holds: bool, name: str, what: str, got: NDArray[Any]) -> None:
    if not holds:
        raise ValueError(f"{path}: {name}: expected {what}, got {got.dtype}{list(got.shape)}")


def read_counts(path: str) -> CountsFile:
    """Read rows per expert. Raises ValueError with the line at fault."""
    loads = read_loads(path)
    rows = {(entry.domain, entry.layer): entry.counts for entry in loads}
    return CountsFile(path=path, rows=rows, experts=len(loads[0].counts))
