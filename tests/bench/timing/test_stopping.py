"""What the adaptive stop may cost: intervals at the stop hold the truth about as often as they say.

Simulated, with fixed seeds; `stopping_study.py` beside this file has the noises and prints more of them.
"""

from __future__ import annotations

import pytest

from mohge.bench.timing import resample
from tests.bench.timing.stopping_study import NOISES, Rates, rates, without_least_blocks

LIMITS = (5, 120)


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of them gives the same intervals to a few per cent of their width, in a third of the time."""
    monkeypatch.setattr(resample, "RESAMPLES", 200)


def stopped(name: str, ratio: float = 1.0, repeats: int = 240) -> Rates:
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


def test_without_a_least_number_of_blocks_it_would() -> None:
    with without_least_blocks():
        assert stopped("own drift, 0.7", repeats=200).ratio_missed > 0.14
