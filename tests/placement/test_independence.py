from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mohge.placement import STYLES, Cluster, Link, count_traffic, expected_traffic
from mohge.placement.independence import elementary, sampling_odds, touch_chance

WIRE = Link("wire", 1e-6, 1e9)


def whole_shares(rank_of: Any, ranks: int) -> np.ndarray:
    return np.eye(ranks)[np.asarray(rank_of)]


def test_elementary_polynomials_by_hand() -> None:
    assert elementary(np.array([[2.0], [3.0], [5.0]]), 3).ravel().tolist() == [1, 10, 31, 30]


@pytest.mark.parametrize("seed", range(5))
def test_odds_give_every_expert_its_chance_and_places_theirs(seed: int) -> None:
    """All sets of 3 of 7 experts, each with probability proportional to the product of its odds."""
    generator = np.random.default_rng(seed)
    sets = list(itertools.combinations(range(7), 3))
    chances = np.zeros(7)
    for weight, drawn in zip(generator.dirichlet(np.ones(len(sets)) * 2), sets, strict=True):
        chances[list(drawn)] += weight
    odds = sampling_odds(chances, 3)
    weights = np.array([np.prod(odds[list(drawn)]) for drawn in sets])
    weights /= weights.sum()
    drawn_at = np.array([sum(w for w, drawn in zip(weights, sets, strict=True) if e in drawn) for e in range(7)])
    assert drawn_at == pytest.approx(chances, abs=1e-7)
    places = np.array([0, 0, 1, 1, 1, 2, 2])
    touched = [sum(w for w, d in zip(weights, sets, strict=True) if (places[list(d)] == p).any()) for p in range(3)]
    assert touch_chance(odds, 3, whole_shares(places, 3)) == pytest.approx(touched, abs=1e-7)


@pytest.mark.parametrize(("experts", "top_k", "ranks"), [(64, 6, 4), (64, 8, 8), (256, 8, 8), (32, 4, 8), (8, 8, 2)])
def test_equal_loads_give_the_usual_formula(experts: int, top_k: int, ranks: int) -> None:
    tokens = 800
    loads = np.full(experts, tokens * top_k / experts)
    shares = whole_shares(np.arange(experts) % ranks, ranks)
    found = expected_traffic(loads, top_k, shares, Cluster("c", 1, ranks, WIRE))
    distinct = ranks * (1 - math.comb(experts - experts // ranks, top_k) / math.comb(experts, top_k))
    assert found.total / tokens == pytest.approx(distinct * (ranks - 1) / ranks, rel=1e-6)
    assert found.provenance == "independence"


@pytest.mark.parametrize("style", STYLES)
def test_the_formula_is_what_independent_tokens_come_to(style: str) -> None:
    """Tokens drawn with the very odds: 40000 of them come within a percent and a half, with copies as without."""
    generator = np.random.default_rng(11)
    experts, top_k, tokens = 12, 3, 40_000
    sets = np.array(list(itertools.combinations(range(experts), top_k)))
    odds = generator.lognormal(0, 0.7, experts)
    weights = odds[sets].prod(axis=1)
    ids = sets[generator.choice(len(sets), tokens, p=weights / weights.sum())]
    cluster = Cluster("c", 2, 2, WIRE, WIRE)
    shares = whole_shares(np.arange(experts) % 4, 4)
    shares[5] = [0.5, 0.0, 0.5, 0.0]
    counted = count_traffic(ids, shares, cluster, style)
    expected = expected_traffic(np.bincount(ids.ravel(), minlength=experts), top_k, shares, cluster, style)
    assert expected.total == pytest.approx(counted.total, rel=0.015)
    assert expected.between.sum() == pytest.approx(counted.between.sum(), rel=0.015)
    assert expected.rows == pytest.approx(counted.rows, abs=1)
    assert expected.nodes_token == pytest.approx(counted.nodes_token, rel=0.015)


@pytest.mark.parametrize("layer", [0, 11, 23])
def test_real_coactivation_beside_the_formula(shared_data: Path, layer: int) -> None:
    """gpt-oss-20b's own tokens, experts in blocks on 4 and 8 ranks: what each way of counting says."""
    ids = np.load(shared_data / "gpt-oss-20b.topk.npz")["expert_ids"][:, layer].astype(np.int64)
    tokens = len(ids)
    loads = np.bincount(ids.ravel(), minlength=32)
    for ranks in (4, 8):
        shares = whole_shares(np.arange(32) * ranks // 32, ranks)
        # Tokens dealt out in turn, so that no rank is at home in one domain only, as the formula supposes.
        home, cluster = np.arange(tokens) % ranks, Cluster("c", 1, ranks, WIRE)
        counted = count_traffic(ids, shares, cluster, home=home).total / tokens
        every_row = count_traffic(ids, shares, cluster, "nccl", home=home).total / tokens
        formula = expected_traffic(loads, 4, shares, cluster).total / tokens
        uniform = (ranks - 1) * (1 - math.comb(32 - 32 // ranks, 4) / math.comb(32, 4))
        print(
            f"layer {layer}, {ranks} ranks: vectors a token, deduplicated: {counted:.3f} counted, {formula:.3f} under "
            f"independence with these loads, {uniform:.3f} with equal loads; {every_row:.3f} one for every row"
        )
        assert counted <= every_row
        # Real tokens are not independent: the formula is near, but not what is sent.
        assert counted == pytest.approx(formula, rel=0.2)
        assert abs(counted / formula - 1) > 0.002
        # Without deduplication only the marginals count, and the formula is exact up to who is at home where.
        nccl = expected_traffic(loads, 4, shares, cluster, "nccl").total / tokens
        assert every_row == pytest.approx(nccl, rel=0.005)


def test_experts_that_are_never_or_always_used() -> None:
    cluster = Cluster("c", 1, 2, WIRE)
    found = expected_traffic([10, 10, 0, 0], 2, whole_shares([0, 0, 1, 1], 2), cluster)
    assert found.matrix == pytest.approx(np.array([[0, 0], [5, 0]]), abs=1e-3)
    nothing = expected_traffic([0, 0, 0, 0], 2, whole_shares([0, 0, 1, 1], 2), cluster)
    assert nothing.total == nothing.rows.sum() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loads": [1, 2]}, "loads: expected one number for each of 4 experts"),
        ({"loads": [-1, 1, 1, 1]}, "loads: expected finite numbers"),
        ({"loads": [9, 1, 1, 1]}, "loads: expected at most 6 rows for an expert .* got 9 for expert 0"),
        ({"top_k": 5}, "top_k: expected a whole number from 1 to 4, got 5"),
        ({"tokens_of": [1, 2]}, "tokens_of: expected 4 tokens over 2 ranks"),
        ({"style": "x"}, "style: expected one of"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments = {
        "loads": [2, 2, 2, 2],
        "top_k": 2,
        "shares": whole_shares([0, 0, 1, 1], 2),
        "cluster": Cluster("c", 1, 2, WIRE),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        expected_traffic(**arguments)
