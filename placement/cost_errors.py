"""How far a cost model is from measured points, and the roofline that comes nearest to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .costs import CostModel, Roofline, cost_table, moved_bytes


@dataclass(frozen=True)
class ModelError:
    """A model beside measurements: relative errors (model - measured) / measured.

    median, worst:  of the absolute relative errors
    bias:           median of the signed ones: above 0 the model is too slow
    errors:         float64[M], signed, in the points' order
    """

    median: float
    worst: float
    bias: float
    errors: NDArray[np.float64]

    def __str__(self) -> str:
        """One line for people."""
        return f"model error {self.median:.1%} in the median, {self.worst:.1%} at worst over {len(self.errors)} points"


def model_error(model: CostModel, rows: Any, widths: Any, seconds: Any) -> ModelError:
    """Compare a model with measured points, three arrays [M]. Raises ValueError for none."""
    measured = np.asarray(seconds, dtype=np.float64)
    if not measured.size or not (np.isfinite(measured) & (measured > 0)).all():
        raise ValueError("seconds: expected at least one measured time, all above 0")
    errors = model.expert_seconds(rows, widths) / measured - 1
    return ModelError(float(np.median(abs(errors))), float(abs(errors).max()), float(np.median(errors)), errors)


def held_out_error(rows: Any, widths: Any, seconds: Any) -> ModelError:
    """The error of a table at points it does not know: each inner point is predicted from the table without it.

    Only points with a smaller and a larger number of rows at the same width count; repeated points leave together.
    Raises ValueError where there are none.
    """
    rows, widths, seconds = (np.asarray(values, dtype=np.float64) for values in (rows, widths, seconds))
    errors = []
    for width in np.unique(widths):
        own = widths == width
        for at in np.unique(rows[own])[1:-1]:
            out = own & (rows == at)
            # Only this width's other points take part, so the error is that of the interpolation in rows.
            table = cost_table(rows[own & ~out], widths[own & ~out], seconds[own & ~out], "all points but one")
            errors.append(table.expert_seconds(at, width) / np.median(seconds[out]) - 1)
    if not errors:
        raise ValueError("points: expected at least 3 numbers of rows for some width, got fewer")
    signed = np.array(errors, dtype=np.float64)
    return ModelError(float(np.median(abs(signed))), float(abs(signed).max()), float(np.median(signed)), signed)


def fit_roofline(hidden: int, rows: Any, widths: Any, seconds: Any, dtype_bytes: int = 2) -> Roofline:
    """The roofline with the least squared relative error at measured points, three arrays [M], at least three.

    Still a prediction wherever nothing was measured; its source says how far it is off where something was.
    Raises ValueError.
    """
    from scipy.optimize import least_squares  # half a second to import, and only here

    rows, widths, seconds = (np.asarray(values, dtype=np.float64) for values in (rows, widths, seconds))
    if rows.shape != seconds.shape or widths.shape != seconds.shape or seconds.ndim != 1 or len(seconds) < 3:
        raise ValueError(f"points: expected at least 3 with rows, widths and seconds, got {list(seconds.shape)}")
    if not ((rows > 0) & (seconds > 0)).all():
        raise ValueError("points: expected rows and seconds above 0")

    def model(logs: NDArray[np.float64], source: str = "") -> Roofline:
        overhead_s, flops_per_s, bytes_per_s = np.exp(logs)
        return Roofline(hidden, flops_per_s, bytes_per_s, overhead_s, dtype_bytes, source)

    # The start: all of the quickest call is start-up, and the best rates seen are the roofs.
    moved = moved_bytes(hidden, rows, widths, dtype_bytes)
    start = np.log(
        [seconds.min() / 2, (6.0 * rows * hidden * widths / seconds).max() * 1.1, (moved / seconds).max() * 1.1]
    )
    found = least_squares(lambda logs: model(logs).expert_seconds(rows, widths) / seconds - 1, start, x_scale=1.0)
    return model(found.x, f"fitted: {model_error(model(found.x), rows, widths, seconds)}")
