"""Rows steered by the group loss: the shares promised, distinct experts, and what stays."""

from __future__ import annotations

import numpy as np
import pytest

from mohge.bench.workloads import parse_routing, steer, steered_shares
from mohge.reference import LayerSpec, group_loss, per_group, resting_shares

SPEC = LayerSpec("four", hidden=8, widths=(256, 512, 1024, 2048), experts_per_group=4, top_k=3, top_groups=2)
EVEN = LayerSpec("even", hidden=8, widths=(512,) * 4, experts_per_group=4, top_k=3, top_groups=2)


def counts_of(ids: np.ndarray, spec: LayerSpec = SPEC) -> np.ndarray:
    return np.bincount(ids.ravel(), minlength=spec.experts)


def steered(strength: float, routing: str = "zipf:1", tokens: int = 300, spec: LayerSpec = SPEC) -> tuple:
    ids = parse_routing(routing).routing(spec, tokens).expert_ids
    return ids, steer(ids, spec, strength, np.random.default_rng(1))


def test_shares_lie_between_the_routing_and_where_the_loss_rests() -> None:
    rows = np.array([100, 200, 300, 400])
    np.testing.assert_allclose(steered_shares(rows, SPEC, 0.0, 1024), rows / 1000)
    np.testing.assert_allclose(steered_shares(rows, SPEC, 1.0, 1024), resting_shares(SPEC, 1024))
    narrowest = [steered_shares(rows, SPEC, strength, 1024)[0] for strength in (0, 0.3, 0.6, 1)]
    assert narrowest == sorted(narrowest)
    np.testing.assert_allclose(steered_shares(rows, EVEN, 1.0, 1024), 0.25)
    with pytest.raises(ValueError, match=r"group_loss: expected a strength from 0 to 1, got 1\.5"):
        steered_shares(rows, SPEC, 1.5, 1024)


def test_the_loss_is_least_where_it_rests() -> None:
    # One kept group a token and logits that say which: the shares kept and the mean probabilities are then the same.
    spec = LayerSpec("one", hidden=8, widths=SPEC.widths, experts_per_group=4, top_k=1, top_groups=1)

    def loss(shares: np.ndarray) -> float:
        kept = np.repeat(np.arange(4), np.rint(shares * 2000).astype(int))
        return group_loss(np.where(np.arange(4) == kept[:, None], 50.0, 0.0), spec, 1.0, 1024)

    rest = resting_shares(spec, 1024)
    generator = np.random.default_rng(0)
    for _ in range(20):
        away = rest + generator.normal(0, 0.03, 4)
        assert loss(away / away.sum()) > loss(rest)


@pytest.mark.parametrize("routing", ["uniform", "zipf:2", "one_expert:13", "empty_experts:5", "hot_set:0.125,0.5"])
@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_the_promise_is_kept(routing: str, strength: float) -> None:
    ids, moved = steered(strength, routing)
    assert (np.diff(np.sort(moved, axis=1), axis=1) > 0).all()  # distinct
    before, after = counts_of(ids), counts_of(moved)
    assert after.sum() == before.sum()
    assert after.max() <= len(ids)
    promised = steered_shares(per_group(before, SPEC), SPEC, strength, 1024) * ids.size
    held_up = before.max() >= len(ids) or strength == 1.0  # an expert at T rows passes on what it cannot take
    if not held_up:
        assert np.abs(per_group(after, SPEC) - promised).max() <= SPEC.experts_per_group
    # Rows move only because their expert has to give some up.
    assert (ids != moved).sum() >= np.maximum(before - after, 0).sum()
    if routing != "one_expert:13":
        assert (ids != moved).sum() == np.maximum(before - after, 0).sum()


def test_nothing_moves_without_strength_groups_or_tokens() -> None:
    ids, moved = steered(0.0)
    assert moved is ids
    flat = LayerSpec("flat", hidden=8, widths=(512,), experts_per_group=16, top_k=3, top_groups=1)
    ids, moved = steered(1.0, spec=flat)
    assert moved is ids
    ids, moved = steered(1.0, tokens=0)
    assert moved.shape == (0, 3)


def test_one_token_keeps_distinct_experts() -> None:
    for seed in range(20):
        moved = steer(np.array([[12, 13, 14]]), SPEC, 1.0, np.random.default_rng(seed))
        assert len(set(moved[0].tolist())) == 3
