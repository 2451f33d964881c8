"""The rule for the four verdicts, many rows at once, and what an undecided row needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from mohge.bench.comparison import Verdict
from mohge.bench.comparison.verdict import Effect, decide, holm, remedy, satterthwaite

THRESHOLD = 0.02


def effect(percent: float, error: float, *, between: float = 0.0, samples: int = 100, runs: int = 0) -> Effect:
    """A change and its standard errors in percent, well known."""
    return Effect(math.log1p(percent / 100), (error / 100) ** 2, (between / 100) ** 2, 1e6, samples, runs)


@dataclass(frozen=True)
class Ruled:
    percent: float
    error: float
    expected: Verdict


RULED = {
    "3 % known to 1 %": Ruled(3, 0.5, Verdict.SLOWER),
    "a third less": Ruled(-33, 1, Verdict.FASTER),
    "beyond the threshold, interval reaching below it but not to 1": Ruled(2.5, 0.9, Verdict.SLOWER),
    "beyond the threshold, interval reaching 1": Ruled(2.5, 1.5, Verdict.UNDECIDED),
    "nothing, well known": Ruled(0, 0.5, Verdict.SAME),
    "1 %, certain but below the threshold": Ruled(1, 0.1, Verdict.SAME),
    "1 %, interval reaching past the threshold": Ruled(1, 0.9, Verdict.UNDECIDED),
    "nothing, badly known": Ruled(0, 3, Verdict.UNDECIDED),
    "exactly nothing": Ruled(0, 0, Verdict.SAME),
    "exactly 3 %": Ruled(3, 0, Verdict.SLOWER),
}


@pytest.mark.parametrize("name", RULED)
def test_the_rule(name: str) -> None:
    ruled = RULED[name]
    made = effect(ruled.percent, ruled.error)
    assert decide(made, made.p_value, THRESHOLD) is ruled.expected


def test_faster_and_slower_are_mirror_images() -> None:
    for percent in (0.5, 1.9, 2.1, 5):
        up = effect(percent, 0.4)
        down = Effect(-up.value, up.within, up.between, up.df, up.samples, up.runs)
        verdicts = [decide(made, made.p_value, THRESHOLD) for made in (up, down)]
        assert verdicts in ([Verdict.SLOWER, Verdict.FASTER], [Verdict.SAME] * 2, [Verdict.UNDECIDED] * 2)


def test_few_degrees_of_freedom_widen_the_interval() -> None:
    narrow, wide = (Effect(0.0, 1e-4, 0.0, df, 100, 0).ratio for df in (1e6, 2.0))
    assert narrow.high == pytest.approx(math.exp(0.01959964), rel=1e-5)
    assert wide.high == pytest.approx(math.exp(0.0430265), rel=1e-5)


def test_holm_worked_example() -> None:
    """0.01 of four counts fourfold, the next threefold, then twofold; none less than one before it."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_many_equal_pairs_raise_no_more_alarms_than_one() -> None:
    """40 rows without a change: anything called different in at most 5 % of comparisons, not in 87 %."""
    generator, alarms, naive = np.random.default_rng(6), 0, 0
    for _ in range(200):
        found = [Effect(float(value), 2.5e-4, 0.0, 1e6, 100, 0) for value in generator.normal(0, math.sqrt(2.5e-4), 40)]
        adjusted = holm([made.p_value for made in found])
        alarms += any(
            decide(made, p, THRESHOLD) is not Verdict.UNDECIDED for made, p in zip(found, adjusted, strict=True)
        )
        naive += any(decide(made, made.p_value, THRESHOLD) is not Verdict.UNDECIDED for made in found)
    assert alarms <= 0.08 * 200  # 5 %, and two standard deviations
    assert naive > 0.7 * 200


@pytest.mark.parametrize(("percent", "error"), [(3, 2), (0, 2), (1, 1), (-4, 5)])
def test_as_many_more_samples_as_it_says_decide(percent: float, error: float) -> None:
    before = effect(percent, error)
    assert decide(before, before.p_value, THRESHOLD) is Verdict.UNDECIDED
    more = remedy(before, THRESHOLD, rows=1).samples
    assert more is not None
    for share, decided in ((1.0, True), (0.8, False)):
        after = effect(percent, error * math.sqrt(100 / (100 + share * more)))
        assert (decide(after, after.p_value, THRESHOLD) is not Verdict.UNDECIDED) is decided


def test_more_rows_take_more_samples() -> None:
    one, many = (remedy(effect(3, 2), THRESHOLD, rows).samples for rows in (1, 50))
    assert one is not None
    assert many is not None
    assert many > 1.5 * one


def test_samples_do_not_help_against_the_variance_from_run_to_run() -> None:
    wanted = remedy(effect(0, 0.1, between=3, runs=1), THRESHOLD, rows=1)
    assert wanted.samples is None
    assert wanted.runs is not None
    assert "more samples will not help" in wanted.text
    # From one run a side to 1 + more: the error shrinks with the root, the interval is Student's over the runs.
    enough, few = (effect(0, 0.1, between=3).error * math.sqrt(1 / n) for n in (1 + wanted.runs, wanted.runs / 2))
    assert 1.96 * enough <= math.log1p(THRESHOLD) < 1.96 * few


def test_at_the_threshold_nothing_helps() -> None:
    wanted = remedy(effect(1.9999, 1), THRESHOLD, rows=1)
    assert (wanted.samples, wanted.runs) == (None, None)
    assert "too close to the threshold" in wanted.text


def test_degrees_of_freedom_of_a_sum() -> None:
    assert satterthwaite([(1.0, 10.0), (1.0, 10.0)]) == pytest.approx(20)
    assert satterthwaite([(1.0, 10.0), (0.0, 3.0)]) == pytest.approx(10)
    assert satterthwaite([(0.0, 4.0), (0.0, 7.0)]) == 7
