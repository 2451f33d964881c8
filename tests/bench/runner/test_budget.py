"""Seconds shared by the cases of a job: slow ones get what quick ones leave, and none gets nothing."""

from __future__ import annotations

import pytest

from mohge.bench.runner.budget import ENOUGH_ROUNDS, LEAST_SHARE, Budget


def spent(budget: Budget, round_seconds: list[float]) -> list[float]:
    """What each measurement gets when all use what they get."""
    found = []
    for round_s in round_seconds:
        found.append(budget.allot(round_s))
        budget.spend(found[-1])
    return found


def test_slow_cases_get_more_and_all_stay_within_the_sum() -> None:
    quick, slow = 0.1, 1.0
    assert spent(Budget.of(5.0, 4), [quick, quick, slow, slow]) == pytest.approx([3.0, 3.0, 7.0, 7.0])
    assert spent(Budget.of(5.0, 3), [slow, quick, slow]) == pytest.approx([5.0, 3.0, 7.0])


def test_slow_cases_alone_have_equal_shares() -> None:
    assert spent(Budget.of(5.0, 4), [100.0] * 4) == pytest.approx([5.0] * 4)


def test_rounds_that_are_enough_are_not_exceeded_and_little_is_never_refused() -> None:
    assert Budget.of(5.0, 4).allot(0.4) == pytest.approx(ENOUGH_ROUNDS * 0.4)
    overdrawn = Budget(5.0, 1, -30.0)
    assert overdrawn.allot(1e-6) == overdrawn.allot(1e6) == LEAST_SHARE * 5.0
