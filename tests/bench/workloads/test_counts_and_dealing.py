"""Rows per expert hold their promise, and dealing gives each token distinct experts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mohge.bench.workloads.counts import Stratum, check_counts, draw_counts, targets
from mohge.bench.workloads.deal import combine_weights, deal
from mohge.bench.workloads.seeds import generator_for

UNIT = 2**20


@st.composite
def feasible(draw: st.DrawFn) -> tuple[int, int, np.ndarray]:
    """tokens, K and shares float[E] that K distinct experts a token can serve."""
    experts = draw(st.integers(1, 20))
    positive = draw(st.integers(1, experts))
    shares = draw(st.lists(st.floats(1e-3, 1e3), min_size=positive, max_size=positive)) + [0.0] * (experts - positive)
    return draw(st.integers(0, 40)), draw(st.integers(1, positive)), np.array(draw(st.permutations(shares)))


@given(feasible(), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_any_shares_become_counts_that_can_be_dealt(case: tuple[int, int, np.ndarray], seed: int) -> None:
    tokens, top_k, shares = case
    stratum = Stratum(np.arange(len(shares)), tokens * top_k, shares)
    generator = np.random.default_rng(seed)
    counts = draw_counts([stratum], len(shares), tokens, generator)
    assert counts.sum() == tokens * top_k
    assert counts.max() <= tokens
    assert not counts[shares == 0].any()
    assert (np.abs(counts - targets(stratum, tokens) / UNIT) < 1).all()
    ids = deal(counts, tokens, top_k, generator)
    assert ids.shape == (tokens, top_k)
    assert np.array_equal(np.bincount(ids.ravel(), minlength=len(shares)), counts)
    assert all(len(set(token)) == top_k for token in ids.tolist())


def test_targets_fill_up_at_one_row_per_token_and_pass_the_rest_on() -> None:
    # 4 tokens, K = 2: 8 rows. Shares 10:1:1 would give 6.67 to the first; it holds 4, the others 2 each.
    stratum = Stratum(np.arange(3), 8, np.array([10.0, 1.0, 1.0]))
    assert targets(stratum, 4).tolist() == [4 * UNIT, 2 * UNIT, 2 * UNIT]


def test_filling_one_expert_may_fill_the_next() -> None:
    stratum = Stratum(np.arange(3), 8, np.array([100.0, 50.0, 1.0]))
    assert targets(stratum, 3).tolist() == [3 * UNIT, 3 * UNIT, 2 * UNIT]


def test_counts_are_unbiased_with_fewer_rows_than_experts() -> None:
    """One token, K = 2, four experts with shares 4:2:1:1: means are 1, 1/2, 1/4, 1/4 of two rows, first filled up."""
    stratum = Stratum(np.arange(4), 2, np.array([4.0, 2.0, 1.0, 1.0]))
    generator = np.random.default_rng(0)
    mean = np.mean([draw_counts([stratum], 4, 1, generator) for _ in range(2000)], axis=0)
    np.testing.assert_allclose(mean, [1.0, 0.5, 0.25, 0.25], atol=0.05)


def test_strata_keep_their_exact_totals() -> None:
    strata = [Stratum.even(np.arange(3), 7), Stratum.even(np.arange(3, 10), 13)]
    for seed in range(50):
        counts = draw_counts(strata, 12, 5, np.random.default_rng(seed))
        assert counts[:3].sum() == 7
        assert counts[3:10].sum() == 13
        assert not counts[10:].any()


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="11 rows do not fit 2 experts with at most 5 rows each"):
        draw_counts([Stratum.even(np.arange(2), 11)], 4, 5, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([3, 2, 0, 0], "promised 4 rows to 2 experts, gave 5"),
        ([4, 0, 0, 0], "promised expert 0 2.000 rows, gave 4"),
        ([2, 2, 0, 1], "promised expert 3 no rows"),
    ],
)
def test_a_broken_promise_is_found(counts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_counts(np.array(counts), [Stratum.even(np.arange(2), 4)], 4)


def test_counts_that_cannot_be_dealt_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 4 rows with at most 2 an expert"):
        deal(np.array([3, 1]), 2, 2, np.random.default_rng(0))


def test_an_expert_across_two_rounds_meets_no_token_twice() -> None:
    """Every order of three experts with 5, 5 and 4 rows for 7 tokens puts one of them across the two rounds."""
    for seed in range(200):
        ids = deal(np.array([5, 5, 4]), 7, 2, np.random.default_rng(seed))
        assert (ids[:, 0] != ids[:, 1]).all()


def test_dealing_mixes_experts_over_tokens_and_slots() -> None:
    ids = deal(np.full(8, 100), 400, 2, np.random.default_rng(0))
    for slot in range(2):
        assert np.bincount(ids[:, slot], minlength=8).min() > 20
    assert np.bincount(ids[:200].ravel(), minlength=8).min() > 25
    assert len({tuple(sorted(pair)) for pair in ids.tolist()}) >= 12


def test_the_first_slot_can_be_claimed() -> None:
    ids = deal(np.array([2, 6, 2, 2]), 6, 2, np.random.default_rng(3), first_slot=1)
    assert (ids[:, 0] == 1).all()
    assert (ids[:, 1] != 1).all()


@pytest.mark.parametrize("tokens", [0, 1, 37])
def test_combine_weights_sum_to_one_and_fall(tokens: int) -> None:
    weights = combine_weights(tokens, 5, np.random.default_rng(0))
    assert weights.dtype == np.float32
    assert weights.shape == (tokens, 5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    assert (weights > 0).all()
    assert (np.diff(weights, axis=1) <= 0).all()


def test_streams_are_stable_across_machines_and_differ_by_part() -> None:
    assert generator_for("zipf:1", 0, 0).integers(2**32, size=3).tolist() == [576831277, 490676857, 2017552593]
    assert generator_for("ab", "c").random() != generator_for("a", "bc").random()
