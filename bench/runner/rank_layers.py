"""What one rank computes, as a layer and a job of its own, so that it is checked and timed like any other case.

A rank receives rows: one hidden vector for every (token, expert) of its experts. So it is a layer with K = 1 whose
tokens are the rows. Its experts may be any, so each is a group of its own, narrowest first: every implementation takes
that, and those that put neighbours of one width into one call still can. The dense shared expert is no part of it: its
tokens stay at home.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...reference import LayerSpec
from .jobs import Job, Source


@dataclass(frozen=True)
class RankLayer:
    """Experts of one rank with their rows.

    rank:     its number
    experts:  int64[n] ids in the whole layer, in the order of the rank's layer
    counts:   int64[n] rows of each
    spec:     the layer they make
    """

    rank: int
    experts: NDArray[np.int64]
    counts: NDArray[np.int64]
    spec: LayerSpec

    @property
    def rows(self) -> int:
        """Rows the rank computes."""
        return int(self.counts.sum())


def rank_layer(spec: LayerSpec, rank: int, held: Any, rows: Any, name: str) -> RankLayer:
    """The layer of a rank that holds the experts `held` int[n] of `spec` and computes rows int[E] of all experts.

    Raises ValueError for a rank without experts, and for rows of experts it does not hold.
    """
    held, rows = np.asarray(held, dtype=np.int64), np.asarray(rows, dtype=np.int64)
    if not len(held):
        raise ValueError(f"rank {rank}: expected at least one expert, got none")
    away = np.setdiff1d(np.flatnonzero(rows), held)
    if len(away):
        raise ValueError(f"rank {rank}: expected rows of its own experts only, got some of expert {away[0]}")
    experts = held[np.lexsort((held, spec.expert_widths[held]))]
    widths = tuple(int(width) for width in spec.expert_widths[experts])
    layer = LayerSpec(name, spec.hidden, widths, experts_per_group=1, top_k=1, top_groups=1)
    return RankLayer(rank, experts, rows[experts], layer)


def rank_job(layer: RankLayer, folder: Path, like: Job) -> Job:
    """A job that measures the rank: device, dtype, implementations and limits of `like`.

    The rows of its experts go into a file of loads in `folder`, named like the layer, which the routing is made from;
    with K = 1 and as many tokens as rows it has exactly these rows. Raises ValueError when that cannot be written.
    """
    path = folder / f"rank-{layer.rank}.csv"
    names = ",".join(f"expert_{expert}" for expert in range(len(layer.counts)))
    text = f"layer,{names}\n0,{','.join(str(count) for count in layer.counts)}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror or error}") from error
    return replace(like, spec=layer.spec, cases=((layer.rows, Source("trace", str(path))),))


def table_jobs(spec: LayerSpec, counts: Sequence[int], experts: int, like: Job) -> list[Job]:
    """Jobs that measure what an expert's rows take among its like: a layer of `experts` experts of one width, K = 1,
    for up to three widths of `spec` and up to five numbers of rows that span `counts`; and one row on one expert, the
    start-up of a call.
    """
    widths = np.unique(spec.expert_widths)
    widths = widths[np.unique([0, len(widths) // 2, len(widths) - 1])]
    sizes = table_rows(counts)
    jobs = [_table_job(spec, int(widths[0]), 1, [1], like)]
    return jobs + [_table_job(spec, int(width), experts, sizes, like) for width in widths]


def table_rows(counts: Sequence[int]) -> list[int]:
    """Up to five numbers of rows, in steps of one factor, from the least above 0 among `counts` to the most."""
    known = [int(count) for count in counts if count > 0] or [1]
    low, high = min(known), max(known)
    if low == high:
        low = max(1, high // 2)
        high = max(high, 2)
    return sorted({round(size) for size in np.geomspace(low, high, 5)})


def _table_job(spec: LayerSpec, width: int, experts: int, sizes: Sequence[int], like: Job) -> Job:
    name = f"{spec.name}, {experts} of width {width}"
    layer = LayerSpec(name, spec.hidden, (width,), experts_per_group=experts, top_k=1, top_groups=1)
    return replace(like, spec=layer, cases=tuple((size * experts, Source("uniform")) for size in sizes))
