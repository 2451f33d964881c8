"""What a solver came back with."""

from __future__ import annotations

from dataclasses import dataclass

from ..answer import Answer


@dataclass(frozen=True)
class Found:
    """answer: the solver's, or None;  bound: proven by it;  optimal: whether the answer is proven best;
    infeasible: whether it is proven that there is none.
    """

    answer: Answer | None
    bound: float
    optimal: bool
    infeasible: bool = False
