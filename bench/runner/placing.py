"""Placements of one layer's loads, as rows for machines and as records of a run file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...placement import POLICIES, Placement, allocate, make_problem, place, policies_for
from ...reference import LayerSpec
from ..records import CaseRecord, PlacementRecord, Provenance

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_RATIOS = (
    "rows_max_over_mean",
    "work_max_over_mean",
    "work_over_bound",
    "work_over_size_bound",
    "memory_max_over_mean",
)


def place_loads(
    spec: LayerSpec, counts: NDArray[np.int64], ranks: int, policies: Sequence[str], dtype: str, **options: Any
) -> list[Placement]:
    """One placement per policy for rows per expert counts int[E]; options as in `mohge.placement.allocate`.

    work is FLOPs per rank, exact for these counts; memory is bytes of parameters in `dtype`; bound is proven. No time
    is predicted. Raises ValueError for loads, ranks or options that make no placement.
    """
    return [allocate(policy, spec, counts, ranks, dtype_bytes=DTYPE_BYTES[dtype], **options) for policy in policies]


def place_under_all(
    spec: LayerSpec, counts: NDArray[np.int64], ranks: int, dtype: str, own: dict[str, Any], **options: Any
) -> tuple[list[Placement], dict[str, str]]:
    """A placement under every policy that takes no time, and why others refused, by name.

    own: options of policies, given to those that take them; options: of the problem. Raises ValueError for a problem
    that is none, and where no policy can place it.
    """
    problem = make_problem(spec, counts, ranks, dtype_bytes=DTYPE_BYTES[dtype], **options)
    placements: list[Placement] = []
    refused: dict[str, str] = {}
    for name, policy in POLICIES.items():
        if policy.quick:
            try:
                placements.append(place(name, problem, **{key: own[key] for key in policy.options if key in own}))
            except ValueError as error:
                refused[name] = str(error).removeprefix(f"policy {name!r}").lstrip(": ")
    if not placements:
        raise ValueError(
            f"no policy can place this: {'; '.join(f'{name}: {reason}' for name, reason in refused.items())}"
        )
    return placements, refused


def placement_records(
    case: CaseRecord, spec: LayerSpec, counts: NDArray[np.int64], ranks: int
) -> list[PlacementRecord]:
    """A record of a case for every policy that takes no time and can place it; raises as `place_loads`."""
    return [
        PlacementRecord(case=case, provenance=Provenance.PREDICTED, **placement_row(placement))
        for placement in place_loads(spec, counts, ranks, policies_for(spec, counts, ranks), case.dtype or "bfloat16")
    ]


def placement_row(placement: Placement) -> dict[str, Any]:
    """A placement under the names of a `PlacementRecord`, as plain numbers and lists."""
    notes: dict[str, Any] = {"placement": placement.note} if placement.note else {}
    if placement.solution is not None:
        notes["solver"] = {**asdict(placement.solution), "gap": placement.solution.gap}
    return {
        "policy": placement.policy,
        "ranks": placement.ranks,
        "rank_of": placement.rank_of if placement.replicated else placement.rank_of.tolist(),
        "shares": [list(shares) for shares in placement.shares] if placement.replicated else None,
        "rows": placement.rows.tolist(),
        "work": placement.work.tolist(),
        "parameters": placement.parameters.tolist(),
        "memory": placement.memory.tolist(),
        "bound": placement.bound,
        "size_bound": placement.size_bound,
        "straggler": placement.straggler,
        **{name: getattr(placement, name) for name in _RATIOS},
        "notes": notes,
    }
