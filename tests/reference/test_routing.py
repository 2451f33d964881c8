from __future__ import annotations

import math

import numpy as np
import pytest

from mohge.reference import LayerSpec, Router, Routing, check_routing, route
from mohge.reference.routing import sigmoid

SPECS = [
    LayerSpec("plain", 5, (2, 4, 6), experts_per_group=3, top_k=2, top_groups=2),
    LayerSpec("every reachable expert", 4, (2, 3, 5, 7), experts_per_group=2, top_k=4, top_groups=2),
    LayerSpec("one group", 3, (4,), experts_per_group=7, top_k=3, top_groups=1),
    LayerSpec("one expert a group", 6, (1, 2, 3, 4, 5), experts_per_group=1, top_k=3, top_groups=3),
    LayerSpec("one expert in all", 2, (3,), experts_per_group=1, top_k=1, top_groups=1),
    LayerSpec("every expert", 4, (2, 2), experts_per_group=3, top_k=6, top_groups=2),
]


def route_one_token(
    hidden: list[float], router: Router, spec: LayerSpec, combine: str
) -> tuple[list[int], list[float]]:
    """The two-level router for one token, one number at a time."""

    def logit(row: list[float]) -> float:
        return math.fsum(a * b for a, b in zip(row, hidden, strict=True))

    scores = [1 / (1 + math.exp(-logit(row))) for row in router.group.tolist()]
    groups = sorted(range(spec.groups), key=lambda g: (-scores[g], g))[: spec.top_groups]
    joint = {}
    for group in groups:
        p = scores[group] / sum(scores[g] for g in groups)
        members = range(group * spec.experts_per_group, (group + 1) * spec.experts_per_group)
        raised = {expert: math.exp(logit(router.expert[expert].tolist())) for expert in members}
        for expert in members:
            joint[expert] = p * raised[expert] / sum(raised.values())
    total = sum(joint.values())
    joint = {expert: value / total for expert, value in joint.items()}
    kept = sorted(joint, key=lambda expert: (-joint[expert], expert))[: spec.top_k]
    values = [math.exp(joint[e]) if combine == "released" else joint[e] for e in kept]
    return kept, [value / sum(values) for value in values]


@pytest.mark.parametrize("combine", ["released", "normalized"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_route_equals_a_loop_over_tokens(spec: LayerSpec, combine: str) -> None:
    x = np.random.default_rng(1).standard_normal((33, spec.hidden)) * 2
    router = Router.random(spec, seed=2)
    routing = route(x, router, spec, combine)
    expected = [route_one_token(hidden.tolist(), router, spec, combine) for hidden in x]
    assert routing.expert_ids.tolist() == [ids for ids, _ in expected]
    np.testing.assert_allclose(routing.weights, [weights for _, weights in expected], rtol=1e-12)
    np.testing.assert_allclose(routing.weights.sum(axis=1), 1.0, rtol=1e-12)
    assert (routing.tokens, routing.top_k) == (33, spec.top_k)
    check_routing(routing, spec)


def test_default_is_the_released_mode() -> None:
    spec = SPECS[0]
    x, router = np.ones((2, spec.hidden)), Router.random(spec)
    np.testing.assert_array_equal(route(x, router, spec).weights, route(x, router, spec, "released").weights)
    assert not np.allclose(route(x, router, spec).weights, route(x, router, spec, "normalized").weights)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_zero_tokens(spec: LayerSpec) -> None:
    routing = route(np.zeros((0, spec.hidden)), Router.random(spec), spec)
    assert routing.expert_ids.shape == routing.weights.shape == (0, spec.top_k)


@pytest.mark.parametrize("combine", ["released", "normalized"])
def test_ties_go_to_the_lower_id(combine: str) -> None:
    spec = LayerSpec("ties", 2, (1, 1, 1, 1), experts_per_group=2, top_k=3, top_groups=2)
    router = Router(group=np.zeros((4, 2)), expert=np.zeros((8, 2)))
    routing = route([[1.0, -1.0]], router, spec, combine)
    assert routing.expert_ids.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(routing.weights, [[1 / 3, 1 / 3, 1 / 3]])


def test_tied_groups_beyond_the_best_go_to_the_lower_id() -> None:
    spec = LayerSpec("ties", 1, (1, 1, 1), experts_per_group=1, top_k=2, top_groups=2)
    router = Router(group=[[0.0], [0.0], [1.0]], expert=np.zeros((3, 1)))
    assert route([[1.0]], router, spec).expert_ids.tolist() == [[2, 0]]


def test_underflowing_expert_of_a_kept_group_comes_before_experts_of_other_groups() -> None:
    spec = LayerSpec("underflow", 1, (1, 1, 1), experts_per_group=2, top_k=4, top_groups=2)
    # Groups 1 and 2 are kept; expert 3's share of group 1 is exp(-2000), which is 0 in float64.
    router = Router(group=[[-1.0], [1.0], [0.5]], expert=[[0.0], [0.0], [1000.0], [-1000.0], [0.0], [0.0]])
    for combine in ("released", "normalized"):
        routing = route([[1.0]], router, spec, combine)
        assert routing.expert_ids.tolist() == [[2, 4, 5, 3]]
        assert np.isfinite(routing.weights).all()


@pytest.mark.parametrize("scale", [50.0, 1000.0, 1e6])
def test_extreme_group_logits_neither_overflow_nor_vanish(scale: float) -> None:
    spec = LayerSpec("extreme", 1, (1, 1), experts_per_group=1, top_k=2, top_groups=2)
    router = Router(group=[[1.0], [1.0 + 1 / scale]], expert=np.zeros((2, 1)))
    # Far below zero sigmoid(v) is exp(v): the two scores differ by a factor e, however small both are.
    weights = route([[-scale]], router, spec, "normalized").weights
    np.testing.assert_allclose(sorted(weights[0].tolist()), [1 / (1 + math.e), math.e / (1 + math.e)], rtol=1e-9)
    np.testing.assert_allclose(route([[scale]], router, spec, "normalized").weights, 0.5)


def test_sigmoid_is_precise_at_both_ends() -> None:
    values = np.array([-1e9, -800.0, -40.0, -1.0, 0.0, 1.0, 40.0, 1e9])
    expected = [0.0, 0.0, math.exp(-40), 1 / (1 + math.e), 0.5, math.e / (1 + math.e), 1.0, 1.0]
    np.testing.assert_allclose(sigmoid(values), expected, rtol=1e-15)


SPEC = SPECS[0]
ROUTER = Router.random(SPEC)


def _with(matrix: np.ndarray, place: tuple[int, int], value: float) -> np.ndarray:
    changed = matrix.copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("x", "router", "message"),
    [
        (np.zeros((3, 4)), ROUTER, r"x: expected shape \[tokens, 5\], got \[3, 4\]"),
        (np.zeros(5), ROUTER, r"x: expected shape \[tokens, 5\], got \[5\]"),
        (_with(np.zeros((3, 5)), (2, 1), np.nan), ROUTER, "x: expected finite numbers, got nan at token 2, column 1"),
        (_with(np.zeros((3, 5)), (0, 4), -np.inf), ROUTER, "x: expected finite numbers, got -inf at token 0, column 4"),
        (
            np.zeros((3, 5)),
            Router(ROUTER.group[:2], ROUTER.expert),
            r"router.group: expected shape \[3, 5\], got \[2, 5\]",
        ),
        (
            np.zeros((3, 5)),
            Router(ROUTER.group, ROUTER.expert.T),
            r"router.expert: expected shape \[9, 5\], got \[5, 9\]",
        ),
        (
            np.zeros((3, 5)),
            Router(_with(ROUTER.group, (1, 2), np.nan), ROUTER.expert),
            "router.group: expected finite numbers, got nan at row 1, column 2",
        ),
        (
            np.zeros((3, 5)),
            Router(ROUTER.group, _with(ROUTER.expert, (8, 0), np.inf)),
            "router.expert: expected finite numbers, got inf at row 8, column 0",
        ),
    ],
)
def test_bad_router_input(x: np.ndarray, router: Router, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        route(x, router, SPEC)


def test_unknown_combine_mode() -> None:
    with pytest.raises(ValueError, match=r"^combine: expected one of released, normalized, got 'mean'$"):
        route(np.zeros((1, 5)), ROUTER, SPEC, "mean")


HALVES = np.full((2, 2), 0.5)


@pytest.mark.parametrize(
    ("ids", "weights", "message"),
    [
        ([[0, 1, 2]], HALVES, r"expert_ids: expected shape \[tokens, 2\], got \[1, 3\]"),
        ([0, 1], HALVES, r"expert_ids: expected shape \[tokens, 2\], got \[2\]"),
        ([[0.0, 1.0], [0.0, 1.0]], HALVES, "expert_ids: expected whole numbers, got float64"),
        ([[0, 1], [0, 1]], HALVES[:1], r"weights: expected shape \[2, 2\], got \[1, 2\]"),
        ([[0, 1], [0, 1]], [["a", "b"]] * 2, "weights: expected floating-point numbers, got <U1"),
        ([[0, 1], [9, 1]], HALVES, "expert_ids: expected 0 to 8, got 9 at token 1, slot 0"),
        ([[0, -1], [0, 1]], HALVES, "expert_ids: expected 0 to 8, got -1 at token 0, slot 1"),
        ([[0, 1], [3, 3]], HALVES, r"expert_ids: expected distinct experts for a token, got \[3, 3\] at token 1"),
        (
            [[0, 1], [0, 1]],
            _with(HALVES, (1, 0), np.nan),
            "weights: expected finite numbers, got nan at token 1, slot 0",
        ),
    ],
)
def test_bad_routing(ids: list, weights: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_routing(Routing(np.array(ids), np.asarray(weights)), SPEC)
