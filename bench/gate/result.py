"""What the gate found, and who may stand in for the reference."""

from __future__ import annotations

from dataclasses import dataclass

from ...kernels import Layer
from ..records.status import Status


@dataclass(frozen=True)
class GateResult:
    """The verdict on one prepared layer for one routing.

    status:   PASSED, INCORRECT, OUT_OF_MEMORY or CRASHED
    reason:   one line, empty when passed
    relative: see `Tolerance`; None where nothing could be compared
    worst:    see `Tolerance`
    where:    token and column of the element that is furthest off
    checked:  what was compared with what
    whole:    every element was compared with the reference itself
    seed:     gives the same x again
    """

    status: Status
    reason: str = ""
    relative: float | None = None
    worst: float | None = None
    where: tuple[int, int] | None = None
    checked: str = ""
    whole: bool = False
    seed: int = 0

    @property
    def passed(self) -> bool:
        """Whether this layer may be timed."""
        return self.status is Status.PASSED


@dataclass(frozen=True)
class Trusted:
    """A layer that stands in for the reference where float64 NumPy would take too long.

    `proof` is its own result on a case small enough to be checked whole. Raises ValueError when that did not pass.
    """

    name: str
    layer: Layer
    proof: GateResult

    def __post_init__(self) -> None:
        if not (self.proof.passed and self.proof.whole):
            raise ValueError(f"{self.name}: expected a layer that passed a check of every element, got {self.proof}")
