"""What the measured roofs allow a record: its arithmetic intensity, which roof limits it, and its share of that."""

from __future__ import annotations

from dataclasses import dataclass

from ..records import Environment, Record
from .cases import hot_median, is_timed
from .formats import is_number

MATRIX, COPY = "matrix rate", "copy bandwidth"


@dataclass(frozen=True)
class Roofs:
    """The roofs of one dtype, as measured in the run. matrix: 1e12 FLOP / s;  copy: 1e12 bytes / s, read + written."""

    matrix: float
    copy: float

    @property
    def ridge(self) -> float:
        """The intensity, FLOP / byte, from which on the matrix rate is what limits."""
        return self.matrix / self.copy

    def at(self, intensity: float) -> float:
        """1e12 FLOP / s that both roofs allow at an intensity in FLOP / byte."""
        return min(self.matrix, intensity * self.copy)


@dataclass(frozen=True)
class Limit:
    """A timed record under its roofs.

    intensity: useful FLOPs over the fewest bytes the layer can move in two GEMMs
    tflops:    useful, from the hot median, 1e12 / s
    limiter:   MATRIX or COPY
    least_us:  the time that the limiting roof alone would take
    share:     least_us over the hot median; above 1 where the data came faster than a copy can, out of a cache
    """

    record: Record
    intensity: float
    tflops: float
    limiter: str
    least_us: float
    share: float


def roofs_of(dtype: str | None, environment: Environment) -> Roofs | None:
    """Both roofs of a dtype; None where either was not measured."""
    roof = environment.roof
    if roof is None:
        return None
    matrix, copy = roof.matmul_tflops.get(dtype or ""), roof.copy_tbps
    if not (is_number(matrix) and is_number(copy) and matrix > 0 and copy > 0):
        return None
    return Roofs(matrix, copy)


def missing_roofs(dtype: str | None, environment: Environment) -> str:
    """Which roof of a dtype was not measured, in words; empty where both were."""
    roof = environment.roof
    if roof is None:
        return "no roofs were measured in this run"
    matrix, copy = roof.matmul_tflops.get(dtype or ""), roof.copy_tbps
    missing = [] if is_number(matrix) and matrix > 0 else [f"no matrix rate of {dtype or 'this dtype'}"]
    missing += [] if is_number(copy) and copy > 0 else ["no copy bandwidth"]
    return f"{' and '.join(missing)} was measured in this run" if missing else ""


def limit_of(record: Record, roofs: Roofs) -> Limit | None:
    """A record under its roofs; None where it was not timed or its FLOPs or bytes are not known or zero."""
    flops, moved = record.useful_flops, record.bytes
    if not is_timed(record) or not (is_number(flops) and is_number(moved) and flops > 0 and moved > 0):
        return None
    computing, moving = flops / roofs.matrix * 1e-6, moved / roofs.copy * 1e-6
    limiter, least = (MATRIX, computing) if computing >= moving else (COPY, moving)
    time = hot_median(record)
    return Limit(record, flops / moved, flops / time * 1e-6, limiter, least, least / time)
