"""Placements of one layer's loads, as rows for machines and as records of a run file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...placement import Placement, allocate
from ...reference import LayerSpec
from ..records import CaseRecord, PlacementRecord, Provenance

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_RATIOS = ("rows_max_over_mean", "work_max_over_mean", "work_over_bound", "memory_max_over_mean")


def place_loads(
    spec: LayerSpec, counts: NDArray[np.int64], ranks: int, policies: Sequence[str], dtype: str
) -> list[Placement]:
    """One placement per policy for rows per expert counts int[E].

    work is FLOPs per rank, exact for these counts; memory is bytes of parameters in `dtype`; bound is proven. No time
    is predicted. Raises ValueError for loads or ranks that make no placement.
    """
    return [allocate(policy, spec, counts, ranks, dtype_bytes=DTYPE_BYTES[dtype]) for policy in policies]


def placement_records(
    case: CaseRecord, spec: LayerSpec, counts: NDArray[np.int64], ranks: int, policies: Sequence[str]
) -> list[PlacementRecord]:
    """The same placements as records of a case; raises the same."""
    return [
        PlacementRecord(case=case, provenance=Provenance.PREDICTED, **placement_row(placement))
        for placement in place_loads(spec, counts, ranks, policies, case.dtype or "bfloat16")
    ]


def placement_row(placement: Placement) -> dict[str, Any]:
    """A placement under the names of a `PlacementRecord`, as plain numbers and lists."""
    return {
        "policy": placement.policy,
        "ranks": placement.ranks,
        "rank_of": placement.rank_of.tolist(),
        "rows": placement.rows.tolist(),
        "work": placement.work.tolist(),
        "parameters": placement.parameters.tolist(),
        "memory": placement.memory.tolist(),
        "bound": placement.bound,
        "straggler": placement.straggler,
        **{name: getattr(placement, name) for name in _RATIOS},
        "notes": {"placement": placement.note} if placement.note else {},
    }
