"""Local search: swap two copies, or move one, as long as the busiest rank gets done sooner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Limits:
    """What a swap must respect.

    speeds:   float64[P]
    caps:     float64[P]  bytes
    least:    int64[P]    copies; with `most` it says which moves are allowed
    most:     int64[P]
    classes:  int64[E] or None: only copies of one class change places, and none moves alone
    """

    speeds: NDArray[np.float64]
    caps: NDArray[np.float64]
    least: NDArray[np.int64]
    most: NDArray[np.int64]
    classes: NDArray[np.int64] | None = None


def improve(
    rank_of: NDArray[np.int64], costs: NDArray[np.float64], sizes: NDArray[np.int64], limits: Limits
) -> NDArray[np.int64]:
    """A rank for every expert, int64[E], none of them busier than the busiest before.

    Every round takes the busiest rank and the exchange with any other rank after which the busier of the two is done
    first: two experts change places, or one moves where `least` and `most` allow it. It ends when no exchange helps.
    Deterministic: ties go to the lower expert ids. A round is one E/P x E table, so hundreds of experts take
    milliseconds.
    """
    rank_of = rank_of.copy()
    ranks = len(limits.speeds)
    # Each round makes the busiest rank less busy and no other as busy as that, so rounds end; the cap is for rounding.
    for _ in range(20 * len(rank_of) + 100):
        load = np.bincount(rank_of, weights=costs, minlength=ranks)
        used = np.bincount(rank_of, weights=sizes, minlength=ranks)
        done = load / limits.speeds
        busiest = int(np.argmax(done))
        here, there = np.flatnonzero(rank_of == busiest), np.flatnonzero(rank_of != busiest)
        if not len(here) or not done[busiest]:
            break
        swap, swapped = _best_swap(here, there, rank_of, costs, sizes, load, used, busiest, limits)
        move, moved = _best_move(here, rank_of, costs, sizes, load, used, busiest, limits)
        # Not by rounding alone: without this two equal ranks could trade the same experts for ever.
        if min(swapped, moved) >= done[busiest] * (1 - 1e-12):
            break
        if swapped <= moved:
            rank_of[swap[0]], rank_of[swap[1]] = rank_of[swap[1]], busiest
        else:
            rank_of[move[0]] = move[1]
    return rank_of


def _best_swap(
    here: NDArray[np.int64],
    there: NDArray[np.int64],
    rank_of: NDArray[np.int64],
    costs: NDArray[np.float64],
    sizes: NDArray[np.int64],
    load: NDArray[np.float64],
    used: NDArray[np.float64],
    busiest: int,
    limits: Limits,
) -> tuple[tuple[int, int], float]:
    """The best pair (expert here, expert there) and when the busier of the two ranks would be done."""
    if not len(there):
        return (-1, -1), np.inf
    other = rank_of[there]
    less = costs[here][:, None] - costs[there][None, :]
    smaller = sizes[here][:, None] - sizes[there][None, :]
    worst = np.maximum(
        (load[busiest] - less) / limits.speeds[busiest], (load[other][None, :] + less) / limits.speeds[other][None, :]
    )
    allowed = (used[busiest] - smaller <= limits.caps[busiest]) & (used[other] + smaller <= limits.caps[other])
    if limits.classes is not None:
        allowed &= limits.classes[here][:, None] == limits.classes[there][None, :]
    worst = np.where(allowed, worst, np.inf)
    row, column = np.unravel_index(int(np.argmin(worst)), worst.shape)
    return (int(here[row]), int(there[column])), float(worst[row, column])


def _best_move(
    here: NDArray[np.int64],
    rank_of: NDArray[np.int64],
    costs: NDArray[np.float64],
    sizes: NDArray[np.int64],
    load: NDArray[np.float64],
    used: NDArray[np.float64],
    busiest: int,
    limits: Limits,
) -> tuple[tuple[int, int], float]:
    """The best move (expert here, rank) and when the busier of the two ranks would be done."""
    held = np.bincount(rank_of, minlength=len(load))
    if limits.classes is not None or held[busiest] <= limits.least[busiest]:
        return (-1, -1), np.inf
    worst = np.maximum(
        (load[busiest] - costs[here][:, None]) / limits.speeds[busiest],
        (load[None, :] + costs[here][:, None]) / limits.speeds[None, :],
    )
    allowed = (held < limits.most)[None, :] & (used[None, :] + sizes[here][:, None] <= limits.caps[None, :])
    allowed[:, busiest] = False
    worst = np.where(allowed, worst, np.inf)
    row, rank = np.unravel_index(int(np.argmin(worst)), worst.shape)
    return (int(here[row]), int(rank)), float(worst[row, rank])
