"""What the adaptive stop may cost: intervals at the stop hold the truth about as often as they say.

Simulated, with fixed seeds; `stopping_study.py` beside this file has the noises and prints more of them.
"""

from __future__ import annotations

from functools import partial

import pytest

from mohge.bench.timing import resample
from mohge.bench.timing.stopping import MARGIN
from tests.bench.timing.stopping_study import NOISES, Rates, independent, naive, rates

LIMITS = (5, 120)


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of them gives the same intervals to a few per cent of their width, in a third of the time."""
    monkeypatch.setattr(resample, "RESAMPLES", 200)


def stopped(name: str, ratio: float = 1.0, repeats: int = 200) -> Rates:
    return rates(NOISES[name], ratio, LIMITS, repeats)


@pytest.mark.parametrize(
    ("name", "ratio"), [("independent", 1.0), ("independent", 1.01), ("heavy tail", 1.0), ("recorded, 160", 1.0)]
)
def test_an_optional_stop_misses_no_more_than_it_says(name: str, ratio: float) -> None:
    found = stopped(name, ratio, 60)
    assert found.ratio_missed <= 0.05
    assert found.wrong_winner <= 0.05


@pytest.mark.parametrize(("name", "allowed"), [("own drift, 0.5", 0.08), ("own drift, 0.7", 0.13)])
def test_samples_that_depend_on_each_other_do_not_stop_too_early(name: str, allowed: float) -> None:
    """Their intervals are somewhat too narrow wherever one stops; ending where they look narrow must add little."""
    found = stopped(name)
    assert found.ratio_missed <= allowed
    assert found.wrong_winner <= allowed
    assert found.median_missed <= allowed


def test_a_ratio_at_the_margin_is_not_decided_by_looking_until_it_is() -> None:
    """The decision is then the miss: the interval lies beyond the margin, or within it, and the truth is on it."""
    noise, limits = partial(independent, spread=0.04), (5, 160)
    assert rates(noise, 1 + MARGIN, limits, 100).ratio_missed <= 0.08
    with naive():
        assert rates(noise, 1 + MARGIN, limits, 100).ratio_missed > 0.11


def test_under_the_naive_rule_intervals_miss() -> None:
    with naive():
        assert stopped("own drift, 0.7", repeats=150).ratio_missed > 0.14
