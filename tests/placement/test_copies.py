from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mohge.placement import allocate, assignment
from mohge.placement.copies import holders, row_ranks
from mohge.reference import LayerSpec

SPEC = LayerSpec("tiny", hidden=2, widths=(3, 5), experts_per_group=2, top_k=1, top_groups=1)


def placed(replicas: Any, shares: Any = None, ranks: int = 3) -> SimpleNamespace:
    return SimpleNamespace(ranks=ranks, replicas=replicas, shares=shares)


def test_one_copy_each_takes_every_row() -> None:
    assert assignment(allocate("contiguous", SPEC, [1, 1, 1, 1], 2)).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert assignment(SimpleNamespace(ranks=2, rank_of=np.array([1, 0]))).tolist() == [[0, 1], [1, 0]]


def test_copies_share_as_told_or_evenly() -> None:
    assert assignment(placed([(1,), (0, 2)], [(1.0,), (0.25, 0.75)])).tolist() == [[0, 1, 0], [0.25, 0, 0.75]]
    assert assignment(placed([(1,), (0, 2)])).tolist() == [[0, 1, 0], [0.5, 0, 0.5]]


def test_a_copy_without_rows_is_held_all_the_same() -> None:
    idle = placed([(0, 1)], [(1.0, 0.0)], ranks=2)
    assert holders(idle).tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("replicas", "shares", "message"),
    [
        ([(0,), ()], None, "placement: expected expert 1 on at least one rank, got none"),
        ([(3,)], None, r"placement: expected ranks 0 to 2, got \[3\] for expert 0"),
        ([(-1,)], None, r"placement: expected ranks 0 to 2, got \[-1\] for expert 0"),
        ([(1, 1)], None, r"placement: expected distinct ranks for an expert, got \[1, 1\] for expert 0"),
        ([(0, 1)], [(0.5, 0.6)], "expected 2 shares of at least 0 that add up to 1"),
        ([(0, 1)], [(1.5, -0.5)], "expected 2 shares of at least 0 that add up to 1"),
        ([(0, 1)], [(1.0,)], "expected 2 shares of at least 0 that add up to 1"),
    ],
)
def test_impossible_placements_are_named(replicas: Any, shares: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assignment(placed(replicas, shares))


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 100])
def test_rows_of_copies_add_up_and_follow_the_shares(rows: int) -> None:
    shares = np.array([[0.0, 0.5, 0.2, 0.3], [1.0, 0.0, 0.0, 0.0]])
    ids = np.stack([np.zeros(rows, dtype=int), np.ones(rows, dtype=int)], axis=1)
    ranks = row_ranks(ids, shares)
    assert ranks.shape == (rows, 2)
    assert (ranks[:, 1] == 0).all()
    dealt = np.bincount(ranks[:, 0], minlength=4)
    assert dealt.sum() == rows
    assert dealt[0] == 0
    assert (abs(dealt - shares[0] * rows) < 1).all()


def test_copies_take_turns_all_through_the_batch() -> None:
    ranks = row_ranks(np.zeros((40, 1), dtype=int), np.array([[0.25, 0.75]])).ravel()
    for start in range(0, 40, 8):
        assert 1 <= (ranks[start : start + 8] == 0).sum() <= 3
