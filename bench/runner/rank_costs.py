"""A cost model for placements out of the records of a run: what an expert's rows took among its like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...placement import CostTable, ModelError, cost_table, held_out_error
from ..records import Provenance, Record, Status


@dataclass(frozen=True)
class Points:
    """Measured points, three arrays [M]: rows and width of an expert, seconds of a call with it alone.

    overhead_s:  seconds of a call that has next to nothing to compute
    """

    rows: NDArray[np.float64]
    widths: NDArray[np.float64]
    seconds: NDArray[np.float64]
    overhead_s: float


@dataclass(frozen=True)
class MeasuredCosts:
    """A table of measured times, and how far it is from points it was not told; None where there are too few."""

    table: CostTable
    error: ModelError | None


def points_of(records: Sequence[Record], implementation: str, hidden: int, dtype: str, device: str) -> Points:
    """The points in records of layers whose experts are all alike: one width, uniform routing, K = 1, no shared expert.

    M experts of n rows each in one call of t seconds are M times what one of them adds to a call, so one alone would
    take overhead + (t - overhead) / M. The overhead is the quickest of these calls, as a rule one row on one expert.
    Raises ValueError where there are none.
    """
    found = []
    for record in records:
        case, layer = record.case, record.case.layer
        alike = len(set(layer.get("widths", ()))) == 1 and not layer.get("shared_width") and layer.get("top_k") == 1
        wanted = (record.implementation, layer.get("hidden"), case.dtype, case.device, case.routing)
        timed = record.provenance is Provenance.MEASURED and record.status is Status.PASSED and record.hot is not None
        if timed and alike and wanted == (implementation, hidden, dtype, device, "uniform"):
            experts = len(layer["widths"]) * layer["experts_per_group"]
            assert record.hot is not None
            assert case.tokens is not None
            found.append((case.tokens / experts, layer["widths"][0], record.hot.median_us * 1e-6, experts))
    if not found:
        raise ValueError(
            f"costs: expected measured records of {implementation} with experts of one width, K = 1, H {hidden}, "
            f"{dtype} on {device} and uniform routing, got none"
        )
    rows, widths, seconds, experts = np.array(found, dtype=np.float64).T
    overhead = float(seconds.min())
    return Points(rows, widths, overhead + (seconds - overhead) / experts, overhead)


def measured_costs(
    records: Sequence[Record], implementation: str, hidden: int, dtype: str, device: str, source: str
) -> MeasuredCosts:
    """The table of an implementation's points. Raises ValueError where they make none."""
    points = points_of(records, implementation, hidden, dtype, device)
    # The single row that tells the overhead is no point of the table: its width may have no other.
    kept = np.isin(points.widths, [width for width in np.unique(points.widths) if _sizes(points, width) > 1])
    rows, widths, seconds = points.rows[kept], points.widths[kept], points.seconds[kept]
    if not len(rows):
        raise ValueError("costs: expected at least two numbers of rows for some width, got fewer")
    table = cost_table(rows, widths, seconds, source, min(points.overhead_s, float(seconds.min())))
    try:
        error = held_out_error(rows, widths, seconds)
    except ValueError:
        error = None
    return MeasuredCosts(table, error)


def _sizes(points: Points, width: float) -> int:
    return len(np.unique(points.rows[points.widths == width]))
