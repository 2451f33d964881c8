from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mohge.placement import balance, balances, pareto_front, transfer


def test_the_four_measures_by_hand_and_why_their_names_matter() -> None:
    # Layer 0: mean 2, max 4. Layer 1: mean 10, max 10. One is uneven and light, the other even and heavy.
    found = balance([[0, 4], [10, 10]])
    assert found.max_over_mean == (4 / 2 + 1) / 2
    assert found.mean_over_max == (2 / 4 + 1) / 2
    assert found.total_mean_to_max == (2 + 10) / (4 + 10)
    assert found.excess == found.max_over_mean - 1
    assert len({found.mean_over_max, found.total_mean_to_max, 1 / found.max_over_mean}) == 3


@pytest.mark.parametrize("ranks", [1, 2, 8])
def test_extremes(ranks: int) -> None:
    even = balance(np.full((3, ranks), 7))
    assert (even.max_over_mean, even.mean_over_max, even.total_mean_to_max, even.excess) == (1, 1, 1, 0)
    one = balance([5] + [0] * (ranks - 1))
    assert one.max_over_mean == ranks
    assert one.mean_over_max == one.total_mean_to_max == pytest.approx(1 / ranks)


def test_layers_without_anything_are_left_out() -> None:
    assert balance([[0, 0], [1, 3]]) == balance([1, 3])
    assert balance([[0, 0]]).max_over_mean == 1.0


@pytest.mark.parametrize("bad", [[], [[]], [1, -1], [1, np.nan], [[[1]]]])
def test_bad_values_are_named_with_their_quantity(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"flops: values: expected"):
        balances([1, 1], bad, [1, 1])


def test_pareto_front_against_every_pair() -> None:
    points = np.random.default_rng(3).integers(0, 6, (60, 3))
    front = pareto_front(points).tolist()
    for index, own in enumerate(points):
        dominated = any((other <= own).all() and (other < own).any() for other in points)
        assert (index in front) != dominated


def test_pareto_front_keeps_equals_and_takes_an_empty_list() -> None:
    assert pareto_front([[1, 2], [1, 2], [2, 2]]).tolist() == [0, 1]
    assert pareto_front(np.empty((0, 2))).tolist() == []


@pytest.mark.parametrize(("points", "message"), [([1, 2], "expected shape"), ([[1, np.nan]], "got NaN for choice 0")])
def test_pareto_names_bad_points(points: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pareto_front(points)


def best_half(loads: np.ndarray) -> np.ndarray:
    """A toy plan: the busier of two experts."""
    return np.array([int(np.argmax(loads))])


def test_transfer_scores_every_plan_on_every_window() -> None:
    windows = {"day": [[3, 1], [0, 4]], "night": [[1, 3], [1, 3]]}
    found = transfer(best_half, lambda plan, loads: float(loads[plan[0]]), windows)
    assert found.windows == ("day", "night")
    assert found.scores.tolist() == [[[3, 1], [1, 3]], [[4, 3], [4, 3]]]
    assert found.matrix.tolist() == [[3.5, 2.0], [2.5, 3.0]]
    assert found.on_own == 3.25
    assert found.on_others == 2.25


def test_transfer_of_one_window_has_no_others_and_shapes_must_agree() -> None:
    alone = transfer(best_half, lambda plan, loads: 1.0, {"day": [1, 2]})
    assert alone.on_others == alone.on_own == 1.0
    with pytest.raises(ValueError, match="windows: expected at least one"):
        transfer(best_half, lambda plan, loads: 1.0, {})
    with pytest.raises(ValueError, match=r"expected loads of shape \[1, 2\] everywhere, got \[1, 3\] for 'b'"):
        transfer(best_half, lambda plan, loads: 1.0, {"a": [1, 2], "b": [1, 2, 3]})
