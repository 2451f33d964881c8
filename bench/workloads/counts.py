"""Rows per expert: from promised shares to whole numbers, and the check that the promise was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Rows are counted in units of 2^-20 while targets are fractional, so that sums are exact whole-number arithmetic.
_UNIT_BITS = 20
_UNIT = 1 << _UNIT_BITS


@dataclass(frozen=True)
class Stratum:
    """Experts that share a promised number of rows.

    experts: int[n]    their ids
    rows:              the rows they get together, exactly
    shares:  float[n]  how the rows divide among them, any positive scale; an expert with 0 gets nothing
    """

    experts: NDArray[np.int64]
    rows: int
    shares: NDArray[np.float64]

    @classmethod
    def even(cls, experts: NDArray[np.int64], rows: int) -> Stratum:
        """All experts of the stratum alike."""
        return cls(np.asarray(experts, dtype=np.int64), rows, np.ones(len(experts)))


def targets(stratum: Stratum, tokens: int) -> NDArray[np.int64]:
    """The fractional rows each expert of a stratum is promised, int64[n] in units of 2^-20 row, none above T rows.

    An expert meets a token once, so it has at most T rows; what a larger share would give it goes to the others in
    proportion. Raises ValueError when the stratum cannot hold its rows.
    """
    shares = np.asarray(stratum.shares, dtype=np.float64)
    room = tokens * int(np.count_nonzero(shares))
    if stratum.rows > room:
        raise ValueError(
            f"{stratum.rows} rows do not fit {np.count_nonzero(shares)} experts with at most {tokens} rows each "
            "(the experts of a token are distinct)"
        )
    total, most = stratum.rows * _UNIT, tokens * _UNIT
    full = np.zeros(len(shares), dtype=bool)
    wanted = np.zeros(len(shares), dtype=np.int64)
    for _ in range(len(shares) + 1):  # each pass fills at least one more expert, or is the last
        open_shares = np.where(full, 0.0, shares)
        left = total - most * int(full.sum())
        if left == 0 or not open_shares.any():
            wanted = np.where(full, most, 0)
            break
        wanted = np.where(full, most, np.floor(left * (open_shares / open_shares.sum())).astype(np.int64))
        over = (wanted > most) & ~full
        if not over.any():
            break
        full |= over
    return _settle(np.minimum(wanted, most), shares, total, most)


def _settle(wanted: NDArray[np.int64], shares: NDArray[np.float64], total: int, most: int) -> NDArray[np.int64]:
    """Give back the few units that rounding lost or gained (a millionth of a row each), where there is room."""
    missing = total - int(wanted.sum())
    for expert in np.argsort(-shares, kind="stable"):
        if missing == 0:
            break
        if shares[expert] > 0:
            added = max(min(missing, most - int(wanted[expert])), -int(wanted[expert]))
            wanted[expert] += added
            missing -= added
    return wanted


def draw_counts(
    strata: Sequence[Stratum], experts: int, tokens: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Rows per expert, int64[E]: systematic sampling, so each count is its target rounded up or down, unbiased.

    The experts of each stratum are laid end to end in random order, each as long as its target; points one row apart,
    from a random start, fall on them. Every stratum is a whole number of rows long, so its total is exact; no expert is
    longer than T, so none has more than T rows; over many draws the mean of a count is its target, also when there
    are fewer rows than experts. Raises ValueError.
    """
    counts = np.zeros(experts, dtype=np.int64)
    for stratum in strata:
        order = generator.permutation(len(stratum.experts))
        ends = np.cumsum(targets(stratum, tokens)[order])
        starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        first = int(generator.integers(_UNIT))
        counts[stratum.experts[order]] += _points_below(ends, first) - _points_below(starts, first)
    check_counts(counts, strata, tokens)
    return counts


def _points_below(position: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """How many of the points first, first + 1 row, first + 2 rows, ... lie below each position."""
    return -((first - position) >> _UNIT_BITS)


def check_counts(counts: NDArray[np.int64], strata: Sequence[Stratum], tokens: int) -> None:
    """Raise ValueError unless `counts` int[E] keeps the promise of `strata`: a workload's own post-condition.

    Each stratum has exactly its rows, each expert is less than one row from its target and at most at T rows, and
    experts outside all strata have none.
    """
    outside = np.ones(len(counts), dtype=bool)
    for stratum in strata:
        outside[stratum.experts] = False
        got = counts[stratum.experts]
        if int(got.sum()) != stratum.rows:
            raise ValueError(f"promised {stratum.rows} rows to {len(got)} experts, gave {int(got.sum())}")
        wrong = np.abs(got * _UNIT - targets(stratum, tokens)) >= _UNIT
        if wrong.any():
            which = int(np.argmax(wrong))
            raise ValueError(
                f"promised expert {int(stratum.experts[which])} {targets(stratum, tokens)[which] / _UNIT:.3f} rows, "
                f"gave {int(got[which])}"
            )
    if counts[outside].any():
        raise ValueError(f"promised expert {int(np.flatnonzero(outside & (counts > 0))[0])} no rows, gave some")
    if len(counts) and int(counts.max()) > tokens:
        raise ValueError(f"promised at most {tokens} rows an expert, gave {int(counts.max())}")
