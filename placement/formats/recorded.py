"""What any format of recorded routing comes to: rows per expert, or the experts of every token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TokensFile:
    """A per-token trace: ids integer[tokens, layers, K], sample_start int[samples + 1], one domain a sample.

    path:           the file or folder
    ids:            the experts of every token in every layer; `expert_ids` checks what it gives out
    sample_start:   the first token of each sample, and the number of tokens
    sample_domain:  the domain of each sample
    layers:         the layers' numbers
    experts:        E, or where the format does not say it (`experts_stated` is False) the least E that the ids need
    origin:         the format, and what was done to its numbers, in words
    """

    path: str
    ids: NDArray[Any]
    sample_start: NDArray[np.int64]
    sample_domain: tuple[str, ...]
    layers: tuple[int, ...]
    experts: int
    experts_stated: bool = True
    origin: str = ""

    @property
    def top_k(self) -> int:
        """K."""
        return int(self.ids.shape[2])

    @property
    def domains(self) -> tuple[str, ...]:
        """Names in the order of their first sample."""
        return tuple(dict.fromkeys(self.sample_domain))

    @property
    def lines(self) -> tuple[tuple[str, int], ...]:
        """Every (domain, layer) there is."""
        return tuple((domain, layer) for domain in self.domains for layer in self.layers)

    def fits(self, experts: int, top_k: int) -> bool:
        """Whether it may be a trace of a layer with that many experts and that K."""
        enough = self.experts == experts if self.experts_stated else self.experts <= experts
        return enough and self.top_k == top_k

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

    def counts(self, domains: list[str], layer: int, experts: int | None = None) -> NDArray[np.int64]:
        """Rows of each expert, int64[E]; experts: E where it is known better than from the file. Raises ValueError."""
        flat = self.expert_ids(domains, layer).ravel()
        return np.bincount(flat, minlength=experts or self.experts).astype(np.int64)

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
    """Rows per expert: counts int64[E] for each (domain, layer); origin as for `TokensFile`."""

    path: str
    rows: dict[tuple[str, int], NDArray[np.int64]]
    experts: int
    top_k: None = None
    origin: str = ""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names in the order of the file."""
        return tuple(dict.fromkeys(domain for domain, _ in self.rows))

    @property
    def layers(self) -> tuple[int, ...]:
        """Layer numbers in the order of the file."""
        return tuple(dict.fromkeys(layer for _, layer in self.rows))

    @property
    def lines(self) -> tuple[tuple[str, int], ...]:
        """Every (domain, layer) there is."""
        return tuple(self.rows)

    def fits(self, experts: int, top_k: int) -> bool:  # noqa: ARG002  (rows per expert fit any K)
        """Whether they may be loads of a layer with that many experts."""
        return self.experts == experts

    def row(self, domain: str, layer: int) -> NDArray[np.int64]:
        """The counts of one line. Raises ValueError when the file has no such line."""
        if (domain, layer) not in self.rows:
            have = ", ".join(str(number) for name, number in self.rows if name == domain)
            raise ValueError(f"{self.path}: unknown layer {layer} for domain {domain}; the trace has {have}")
        return self.rows[domain, layer]

    def counts(self, domains: list[str], layer: int, experts: int | None = None) -> NDArray[np.int64]:  # noqa: ARG002
        """The lines of these domains added up, int64[E]. Raises ValueError."""
        return np.sum([self.row(domain, layer) for domain in domains], axis=0)


Recorded = TokensFile | CountsFile
