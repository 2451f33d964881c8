from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mohge.reference import LayerSpec, Routing, group_loss, intra_group_loss

SPEC = LayerSpec("four", 2, (4, 6, 10, 16), experts_per_group=3, top_k=3, top_groups=2)


def group_loss_by_loops(logits: np.ndarray, spec: LayerSpec, coefficient: float, interval: float) -> float:
    total = 0.0
    tokens = len(logits)
    for group, width in enumerate(spec.widths):
        kept = 0
        probability = 0.0
        for row in logits.tolist():
            best = sorted(range(spec.groups), key=lambda g, row=row: (-row[g], g))[: spec.top_groups]
            kept += group in best
            probability += math.exp(row[group]) / sum(math.exp(value) for value in row)
        total += (width - min(spec.widths) + interval) / interval * kept * probability
    return coefficient * spec.groups / (tokens**2 * spec.top_groups) * total


@pytest.mark.parametrize("tokens", [1, 2, 37])
@pytest.mark.parametrize("interval", [1.0, 1024.0])
def test_group_loss_equals_loops(tokens: int, interval: float) -> None:
    logits = np.random.default_rng(tokens).standard_normal((tokens, 4)) * 3
    expected = group_loss_by_loops(logits, SPEC, 0.3, interval)
    assert group_loss(logits, SPEC, 0.3, interval) == pytest.approx(expected, rel=1e-12)


def test_group_loss_of_a_hand_worked_case() -> None:
    # Both tokens keep group 0, pi = (3/4, 1/4): 1e-5 * 2 / (4 * 1) * (1 * 2 * 1.5 + 2 * 0 * 0.5).
    spec = LayerSpec("two", 1, (8, 16), experts_per_group=1, top_k=1, top_groups=1)
    logits = [[math.log(3), 0.0]] * 2
    assert group_loss(logits, spec, 1e-5, interval=8) == pytest.approx(1.5e-5, rel=1e-12)


def test_group_loss_ties_keep_the_lower_id() -> None:
    # All equal: groups 0 and 1 are kept by everybody, pi is 1/4 each.
    expected = 1.0 * 4 / (25 * 2) * (1 * 5 * 5 / 4 + 2 * 5 * 5 / 4)
    assert group_loss(np.zeros((5, 4)), SPEC, 1.0, interval=2) == pytest.approx(expected, rel=1e-12)


def test_a_balanced_router_over_equal_widths_pays_the_coefficient() -> None:
    spec = LayerSpec("equal", 1, (5, 5, 5, 5), experts_per_group=1, top_k=1, top_groups=2)
    logits = [np.roll([2.0, 2.0, 0.0, 0.0], shift).tolist() for shift in range(4)]
    assert group_loss(logits, spec, 0.7, interval=1024) == pytest.approx(0.7, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tokens=st.integers(1, 12), interval=st.floats(0.5, 2000))
def test_group_loss_is_least_when_the_popular_groups_are_narrow(seed: int, tokens: int, interval: float) -> None:
    """Renaming the logits' columns permutes (n_g, pi_g) together, so the least sum meets rising widths falling."""
    logits = np.random.default_rng(seed).standard_normal((tokens, 4)) * 2
    losses = {
        order: group_loss(logits[:, order], SPEC, 1.0, interval) for order in itertools.permutations(range(SPEC.groups))
    }
    kept = np.bincount(np.argsort(-logits, axis=1)[:, : SPEC.top_groups].ravel(), minlength=4)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    popularity = kept * shares.sum(axis=0)
    narrow_first = tuple(np.argsort(-popularity).tolist())
    assert losses[narrow_first] == pytest.approx(min(losses.values()), rel=1e-9)
    assert losses[narrow_first[::-1]] == pytest.approx(max(losses.values()), rel=1e-9)
    assert min(losses.values()) < max(losses.values())


def test_group_loss_scales_with_the_coefficient_and_falls_with_the_interval() -> None:
    logits = np.random.default_rng(0).standard_normal((9, 4))
    assert group_loss(logits, SPEC, 2.0, 8) == pytest.approx(2 * group_loss(logits, SPEC, 1.0, 8), rel=1e-12)
    assert group_loss(logits, SPEC, 1.0, 16) < group_loss(logits, SPEC, 1.0, 8)
    assert group_loss(logits, SPEC, 0.0, 8) == 0.0


def test_extreme_logits_are_finite() -> None:
    assert math.isfinite(group_loss([[1e6, -1e6, 0.0, -800.0]], SPEC, 1e-5, 1024))


def routing_of(ids: list[list[int]]) -> Routing:
    array = np.array(ids)
    return Routing(array, np.full(array.shape, 1 / array.shape[1]))


@pytest.mark.parametrize("tokens", [1, 2, 31])
def test_intra_group_loss_equals_loops(tokens: int) -> None:
    generator = np.random.default_rng(tokens)
    ids = np.array([generator.permutation(SPEC.experts)[: SPEC.top_k] for _ in range(tokens)])
    weights = generator.random(ids.shape)
    total = 0.0
    for expert in range(SPEC.experts):
        rows = sum(expert in row for row in ids.tolist())
        total += rows * sum(weights[place] for place in np.ndindex(*ids.shape) if ids[place] == expert)
    expected = 5e-3 * (12 * 2 / 4) / (tokens**2 * 3) * total
    assert intra_group_loss(Routing(ids, weights), SPEC, 5e-3) == pytest.approx(expected, rel=1e-12)


def test_intra_group_loss_at_balance() -> None:
    everywhere = [[(3 * token + slot) % 12 for slot in range(3)] for token in range(8)]
    assert intra_group_loss(routing_of(everywhere), SPEC, 0.2) == pytest.approx(0.2 * 2 / 4, rel=1e-12)
    two_groups = [[(3 * token + slot) % 6 for slot in range(3)] for token in range(8)]
    assert intra_group_loss(routing_of(two_groups), SPEC, 0.2) == pytest.approx(0.2, rel=1e-12)
    three_experts = [[0, 1, 2]] * 8
    assert intra_group_loss(routing_of(three_experts), SPEC, 0.2) == pytest.approx(0.4, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.permutations(range(12)), min_size=1, max_size=20))
def test_intra_group_loss_with_equal_weights_is_least_at_balance(orders: list[list[int]]) -> None:
    ids = [order[:3] for order in orders]
    loss = intra_group_loss(routing_of(ids), SPEC, 1.0)
    least = SPEC.top_groups / SPEC.groups
    counts = np.bincount(np.array(ids).ravel(), minlength=12)
    if (counts == counts[0]).all():
        assert loss == pytest.approx(least, rel=1e-12)
    else:
        assert loss > least


def test_zero_tokens_cost_nothing() -> None:
    assert group_loss(np.zeros((0, 4)), SPEC, 1e-5, 1024) == 0.0
    assert intra_group_loss(Routing(np.zeros((0, 3), int), np.zeros((0, 3))), SPEC, 5e-3) == 0.0


GOOD = np.zeros((2, 4))


@pytest.mark.parametrize(
    ("logits", "coefficient", "interval", "message"),
    [
        (GOOD[:, :3], 1.0, 8, r"group_logits: expected shape \[tokens, 4\], got \[2, 3\]"),
        (
            np.where([[0], [1]], np.nan, GOOD),
            1.0,
            8,
            "group_logits: expected finite numbers, got nan at token 1, group 0",
        ),
        (GOOD, -1.0, 8, "coefficient: expected a finite number of at least 0, got -1.0"),
        (GOOD, math.nan, 8, "coefficient: expected a finite number of at least 0, got nan"),
        (GOOD, 1.0, 0, "interval: expected a width above 0, got 0"),
        (GOOD, 1.0, math.inf, "interval: expected a width above 0, got inf"),
    ],
)
def test_bad_group_loss(logits: np.ndarray, coefficient: float, interval: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        group_loss(logits, SPEC, coefficient, interval)


def test_bad_intra_group_loss() -> None:
    with pytest.raises(ValueError, match=r"^coefficient: expected a finite number of at least 0, got -1$"):
        intra_group_loss(routing_of([[0, 1, 2]]), SPEC, -1)
    with pytest.raises(
        ValueError, match=r"^expert_ids: expected distinct experts for a token, got \[0, 1, 0\] at token 0$"
    ):
        intra_group_loss(routing_of([[0, 1, 0]]), SPEC, 1)
