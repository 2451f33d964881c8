"""What an expert's rows take: from a table of measured times, or predicted from rates where nothing was measured.

A rank computes its experts in one grouped call, so the start-up of a call counts once a rank and the rest adds up:

    seconds of a rank = overhead + sum over its experts with rows of (t(n_e, W_e) - overhead), over the rank's speed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class CostModel(Protocol):
    """Anything that says what rows of an expert take.

    overhead_s:  seconds of a call that has nothing to compute
    provenance:  "measured" or "predicted": how its figures must be labelled
    source:      where they are from
    """

    @property
    def overhead_s(self) -> float: ...
    @property
    def provenance(self) -> str: ...
    @property
    def source(self) -> str: ...
    def expert_seconds(self, rows: Any, widths: Any) -> NDArray[np.float64]:
        """Seconds of a call with one expert, float64[...], for rows and widths that broadcast; 0 for 0 rows."""
        ...


@dataclass(frozen=True)
class Roofline:
    """t = overhead_s + max(FLOPs / flops_per_s, bytes / bytes_per_s): predicted, never measured.

    An expert of width W with n rows takes 6 n H W FLOPs and moves its weights, 3 H W values, once, and its rows,
    n (2 H + 2 W) values: in, out, and the intermediate between two GEMMs written and read, as the accounting counts it.

    hidden:       H
    flops_per_s:  what the matrix units reach, efficiency included
    bytes_per_s:  what the memory reaches
    overhead_s:   start-up of a call
    dtype_bytes:  bytes of a value
    source:       where the rates are from
    """

    hidden: int
    flops_per_s: float
    bytes_per_s: float
    overhead_s: float = 0.0
    dtype_bytes: int = 2
    source: str = "given by the user"
    provenance: str = "predicted"

    def __post_init__(self) -> None:
        for name in ("hidden", "flops_per_s", "bytes_per_s", "dtype_bytes"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name}: expected a number above 0, got {getattr(self, name)}")
        if not (np.isfinite(self.overhead_s) and self.overhead_s >= 0):
            raise ValueError(f"overhead_s: expected seconds of at least 0, got {self.overhead_s}")

    def expert_seconds(self, rows: Any, widths: Any) -> NDArray[np.float64]:
        """Seconds of a call with one expert; rows and widths broadcast. Raises ValueError for negative rows."""
        rows, widths = _checked(rows, widths)
        flops = 6.0 * rows * self.hidden * widths
        moved = moved_bytes(self.hidden, rows, widths, self.dtype_bytes)
        busy = np.maximum(flops / self.flops_per_s, moved / self.bytes_per_s)
        return np.where(rows > 0, self.overhead_s + busy, 0.0)


def moved_bytes(hidden: int, rows: Any, widths: Any, dtype_bytes: int) -> NDArray[np.float64]:
    """Bytes of one expert's weights and of its rows, float64[...], as `Roofline` counts them."""
    rows, widths = np.asarray(rows, dtype=np.float64), np.asarray(widths, dtype=np.float64)
    return (3.0 * hidden * widths + rows * (2.0 * hidden + 2.0 * widths)) * dtype_bytes


# Dense bf16 and memory rates of the data sheet, with shares of them that large GEMMs and copies commonly reach; only
# for studies without any measurement. `fit_roofline` puts measured points in their place.
H200_FLOPS, H200_BYTES, H200_OVERHEAD = 0.65 * 989e12, 0.8 * 4.8e12, 5e-6
H200_SOURCE = "H200 data sheet (989 bf16 TFLOP/s, 4.8 TB/s), 65 % and 80 % of it assumed, 5 us a call assumed"


def h200_roofline(hidden: int) -> Roofline:
    """A prediction for an H200 in bf16 that no measurement stands behind."""
    return Roofline(hidden, H200_FLOPS, H200_BYTES, H200_OVERHEAD, source=H200_SOURCE)


@dataclass(frozen=True)
class CostTable:
    """Measured times of one expert, interpolated over (rows, width).

    widths:      float64[M] ascending, the widths that were measured
    rows:        for each width float64[N_m] ascending and above 0
    seconds:     for each width float64[N_m]
    overhead_s:  seconds of a call that has nothing to compute
    source:      the run file or other origin

    In rows the time is a straight line between two points, that of the smallest point below it (a call is never quicker
    than its start-up), and goes on at the last two points' rate above the largest; in width the same, but below the
    narrowest it shrinks in proportion to the width down to the start-up.
    """

    widths: NDArray[np.float64]
    rows: tuple[NDArray[np.float64], ...]
    seconds: tuple[NDArray[np.float64], ...]
    overhead_s: float
    source: str
    provenance: str = "measured"

    def expert_seconds(self, rows: Any, widths: Any) -> NDArray[np.float64]:
        """Seconds of a call with one expert; rows and widths broadcast. Raises ValueError for negative rows."""
        rows, widths = _checked(rows, widths)
        at_width = np.stack([_line(rows, *pair) for pair in zip(self.rows, self.seconds, strict=True)])
        if len(self.widths) == 1:
            busy = (at_width[0] - self.overhead_s) * widths / self.widths[0]
            return np.where(rows > 0, self.overhead_s + np.maximum(busy, 0.0), 0.0)
        low = np.clip(np.searchsorted(self.widths, widths, side="right") - 1, 0, len(self.widths) - 2)
        below, above = (np.take_along_axis(at_width, (low + step)[None], axis=0)[0] for step in (0, 1))
        part = (widths - self.widths[low]) / (self.widths[low + 1] - self.widths[low])
        narrow = self.overhead_s + np.maximum(below - self.overhead_s, 0.0) * widths / self.widths[0]
        seconds = np.where(widths < self.widths[0], narrow, below + part * (above - below))
        return np.where(rows > 0, np.maximum(seconds, self.overhead_s), 0.0)


def cost_table(rows: Any, widths: Any, seconds: Any, source: str, overhead_s: float | None = None) -> CostTable:
    """A table from measured points, three arrays [M] in any order; of repeated points the median counts.

    Every width needs points at two numbers of rows at least. overhead_s: start-up of a call, or None for what the two
    smallest points of each width come to at no rows (the least of them, at least 0 and at most the quickest point).
    Raises ValueError.
    """
    points = [np.asarray(values, dtype=np.float64) for values in (rows, widths, seconds)]
    if points[0].ndim != 1 or not len(points[0]) or len({values.shape for values in points}) > 1:
        raise ValueError(f"points: expected as many rows, widths and seconds, got {[list(v.shape) for v in points]}")
    for name, values in zip(("rows", "widths", "seconds"), points, strict=True):
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"{name}: expected finite numbers above 0")
    known = np.unique(points[1])
    lines = [_points_of(*(values[points[1] == width] for values in (points[0], points[2]))) for width in known]
    for width, (at, _) in zip(known, lines, strict=True):
        if len(at) < 2:
            raise ValueError(f"points: expected at least 2 numbers of rows for width {width:g}, got {len(at)}")
    if overhead_s is None:
        starts = [took[0] - at[0] * (took[1] - took[0]) / (at[1] - at[0]) for at, took in lines]
        overhead_s = float(min(max(min(starts), 0.0), points[2].min()))
    elif not (np.isfinite(overhead_s) and 0 <= overhead_s <= points[2].min()):
        raise ValueError(f"overhead_s: expected 0 to the quickest point, {points[2].min():g}, got {overhead_s}")
    return CostTable(known, tuple(at for at, _ in lines), tuple(took for _, took in lines), overhead_s, source)


def rank_seconds(model: CostModel, rows: Any, widths: Any, speeds: Any = 1.0) -> NDArray[np.float64]:
    """Seconds of every rank, float64[P], for rows [E, P] of each expert on each rank, widths [E] and speeds [P].

    Shares of replicated experts may come to fractions of a row; they are costed as such.
    """
    rows = np.asarray(rows, dtype=np.float64)
    seconds = model.expert_seconds(rows, np.asarray(widths, dtype=np.float64)[:, None])
    beyond = np.where(rows > 0, seconds - model.overhead_s, 0.0)
    return np.where((rows > 0).any(axis=0), model.overhead_s + beyond.sum(axis=0), 0.0) / speeds


def _line(rows: NDArray[np.float64], at: NDArray[np.float64], took: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds on the broken line through (at, took), going on at the last rate, which is never negative."""
    rate = max((took[-1] - took[-2]) / (at[-1] - at[-2]), 0.0)
    return np.where(rows > at[-1], took[-1] + (rows - at[-1]) * rate, np.interp(rows, at, took))


def _points_of(rows: NDArray[Any], seconds: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = np.unique(rows)
    return known, np.array([np.median(seconds[rows == at]) for at in known], dtype=np.float64)


def _checked(rows: Any, widths: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, widths = np.broadcast_arrays(np.asarray(rows, dtype=np.float64), np.asarray(widths, dtype=np.float64))
    if not (np.isfinite(rows) & (rows >= 0)).all():
        raise ValueError("rows: expected finite numbers of at least 0")
    if not (np.isfinite(widths) & (widths > 0)).all():
        raise ValueError("widths: expected finite numbers above 0")
    return rows, widths
