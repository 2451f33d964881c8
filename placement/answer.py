"""What a policy answers: the ranks that hold each expert, and how its rows are shared among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Solution:
    """What a solver said of the problem it was given.

    solver:        "highs" or "cp-sat"
    status:        "optimal", "time limit" (the best found so far) or "nothing better" (than where it began)
    value:         largest rank's cost over speed of the answer
    bound:         the solver's own lower bound on it
    unit:          unit of both
    time_limit_s:  seconds it was allowed
    """

    solver: str
    status: str
    value: float
    bound: float
    unit: str
    time_limit_s: float

    @property
    def gap(self) -> float:
        """How far the answer may be above the best, as a share of the bound: 0 where it is proven best."""
        return self.value / self.bound - 1 if self.bound else 0.0


@dataclass(frozen=True)
class Answer:
    """Copies on ranks. Two experts, the second one on ranks 0 and 2 with three quarters of its rows on rank 2:

    >>> Answer(replicas=((1,), (0, 2)), shares=((1.0,), (0.25, 0.75))).replicas[1]
    (0, 2)

    replicas:  for each expert the ranks that hold it, no rank twice
    shares:    for each expert the share of its rows that each of these takes; they add up to 1
    note:      what had to be bent, or empty
    solution:  what a solver said, where one was asked
    """

    replicas: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    note: str = ""
    solution: Solution | None = None


def one_each(rank_of: NDArray[Any], note: str = "", solution: Solution | None = None) -> Answer:
    """Every expert once: rank_of int[E]."""
    ranks = tuple((int(rank),) for rank in rank_of)
    return Answer(ranks, ((1.0,),) * len(ranks), note, solution)


def evenly(replicas: Iterable[Iterable[int]], note: str = "") -> Answer:
    """Every copy of an expert takes the same share of its rows. Copies are put in the order of their ranks."""
    ranks = tuple(tuple(sorted(int(rank) for rank in of_expert)) for of_expert in replicas)
    return Answer(ranks, tuple((1.0 / len(of_expert),) * len(of_expert) for of_expert in ranks), note)


def spread(
    values: NDArray[Any], replicas: Sequence[Sequence[int]], shares: Sequence[Sequence[float]], ranks: int
) -> NDArray[np.float64]:
    """Sum values [E] over ranks, each copy with its share, float64[P]."""
    total = np.zeros(ranks, dtype=np.float64)
    expert, rank, share = copies_of(replicas, shares)
    np.add.at(total, rank, values[expert] * share)
    return total


def copies_of(
    replicas: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """All copies in expert order, as three arrays [C]: the expert, its rank, its share."""
    expert = np.repeat(np.arange(len(replicas)), [len(ranks) for ranks in replicas])
    rank = np.array([rank for ranks in replicas for rank in ranks], dtype=np.int64)
    return expert, rank, np.array([share for of_expert in shares for share in of_expert], dtype=np.float64)
