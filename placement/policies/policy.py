"""What a policy is: a pure function, its options, and one function that says what it cannot do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..answer import Answer
from ..problem import Problem

BY = ("work", "rows")


@dataclass(frozen=True)
class Policy:
    """A way to make a placement.

    name:         what `allocate`, the command line and records call it
    description:  one line for people
    function:     (problem, **options) -> Answer
    reason:       (problem) -> why it cannot solve this problem, or None; callers ask it and state no limit themselves
    options:      the names of the options it takes beside those of every policy
    quick:        whether it takes well under a second for hundreds of experts
    """

    name: str
    description: str
    function: Callable[..., Answer]
    reason: Callable[[Problem], str | None]
    options: tuple[str, ...] = ()
    quick: bool = True


def once_each(problem: Problem) -> str | None:
    """The limit of policies that place every expert exactly once."""
    if problem.replicas:
        return (
            f"places every expert once, and {problem.replicas} replicas were asked for; eplb and exact place replicas"
        )
    return None


def check_by(policy: str, by: str) -> None:
    """Raise ValueError unless `by` names something to balance."""
    if by not in BY:
        raise ValueError(f"policy {policy!r}: by: expected one of {', '.join(BY)}, got {by!r}")


def chunk_lengths(problem: Problem) -> NDArray[np.int64]:
    """Copies a rank holds where a policy deals them out in order, int64[P].

    Those given; else the same everywhere, and where P does not divide C the first C mod P ranks hold one more.
    """
    if problem.slots == "given":
        return problem.least
    return even_lengths(problem.copies, problem.ranks)


def even_lengths(copies: int, ranks: int) -> NDArray[np.int64]:
    """C / P on each rank, and where P does not divide C one more on the first C mod P, int64[P]."""
    floor, extra = divmod(copies, ranks)
    return np.full(ranks, floor, dtype=np.int64) + (np.arange(ranks) < extra)
