from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mohge.reference import DenseExpert, ExpertWeights, LayerSpec, Router, Routing, expert_ffn, route

SPEC = LayerSpec("ragged", 6, (3, 5, 8), experts_per_group=2, top_k=3, top_groups=2, shared_width=7)


def one_expert(x: list[float], gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> list[float]:
    """f(x) with nothing but Python floats."""

    def dot(row: np.ndarray, values: list[float]) -> float:
        return math.fsum(float(a) * b for a, b in zip(row, values, strict=True))

    hidden = []
    for gate_row, up_row in zip(gate, up, strict=True):
        g = dot(gate_row, x)
        hidden.append(g / (1 + math.exp(-g)) * dot(up_row, x))
    return [dot(down_row, hidden) for down_row in down]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_layer_equals_a_loop_over_tokens(tokens: int, shared: bool) -> None:
    x = np.random.default_rng(3).standard_normal((tokens, SPEC.hidden))
    weights = ExpertWeights.random(SPEC, seed=4, shared=shared)
    routing = route(x, Router.random(SPEC), SPEC)
    expected = np.zeros((tokens, SPEC.hidden))
    for token in range(tokens):
        hidden = x[token].tolist()
        for expert, weight in zip(routing.expert_ids[token], routing.weights[token], strict=True):
            expected[token] += weight * np.array(
                one_expert(hidden, weights.gate[expert], weights.up[expert], weights.down[expert])
            )
        if weights.shared is not None:
            expected[token] += one_expert(hidden, weights.shared.gate, weights.shared.up, weights.shared.down)
    y = expert_ffn(x, weights, routing, SPEC)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-14)


def test_everything_on_one_expert_leaves_the_others_out() -> None:
    spec = replace(SPEC, top_k=1)
    weights = ExpertWeights.random(spec)
    poisoned = replace(weights, gate=[m if e == 4 else np.full_like(m, np.nan) for e, m in enumerate(weights.gate)])
    routing = Routing(np.full((9, 1), 4), np.ones((9, 1)))
    x = np.random.default_rng(5).standard_normal((9, spec.hidden))
    np.testing.assert_array_equal(expert_ffn(x, poisoned, routing, spec), expert_ffn(x, weights, routing, spec))


def test_far_negative_gates_do_not_overflow() -> None:
    spec = LayerSpec("steep", 1, (1,), 1, 1, 1)
    one = np.ones((1, 1))
    weights = ExpertWeights(gate=[one], up=[one], down=[one])
    x = np.array([[-1000.0], [-40.0], [1000.0]])
    y = expert_ffn(x, weights, Routing(np.zeros((3, 1), int), np.ones((3, 1))), spec)
    np.testing.assert_allclose(y, [[0.0], [1600 * math.exp(-40)], [1e6]], rtol=1e-14)


def test_random_weights_are_seeded_float32_and_keep_outputs_of_order_one() -> None:
    spec = LayerSpec("wide and narrow", 64, (32, 256), 2, 2, 1)
    first, again, other = (ExpertWeights.random(spec, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.gate[3], again.gate[3])
    assert not np.array_equal(first.gate[3], other.gate[3])
    assert {matrix.dtype for matrix in (*first.gate, *first.up, *first.down)} == {np.dtype(np.float32)}
    x = np.random.default_rng(0).standard_normal((200, 64))
    for experts in ([0, 1], [2, 3]):
        routing = Routing(np.tile(experts, (200, 1)), np.tile([1.0, 0.0], (200, 1)))
        assert 0.2 < expert_ffn(x, first, routing, spec).std() < 2


def test_shared_expert_only_when_asked_and_the_spec_has_one() -> None:
    assert ExpertWeights.random(SPEC).shared is None
    assert ExpertWeights.random(replace(SPEC, shared_width=0), shared=True).shared is None
    shared = ExpertWeights.random(SPEC, shared=True).shared
    assert shared is not None
    assert shared.down.shape == (6, 7)


X = np.zeros((2, 6))
ROUTING = Routing(np.array([[0, 1, 2], [3, 4, 5]]), np.full((2, 3), 1 / 3))
WEIGHTS = ExpertWeights.random(SPEC)
DENSE = DenseExpert(np.zeros((7, 6)), np.zeros((6, 7)), np.zeros((6, 7)))


@pytest.mark.parametrize(
    ("x", "weights", "routing", "message"),
    [
        (X * np.nan, WEIGHTS, ROUTING, "x: expected finite numbers, got nan at token 0, column 0"),
        (X[:, :5], WEIGHTS, ROUTING, r"x: expected shape \[tokens, 6\], got \[2, 5\]"),
        (X[:1], WEIGHTS, ROUTING, "routing: expected 1 tokens like x, got 2"),
        (X, replace(WEIGHTS, up=WEIGHTS.up[:5]), ROUTING, "weights.up: expected 6 matrices, got 5"),
        (
            X,
            replace(WEIGHTS, down=WEIGHTS.down[::-1]),
            ROUTING,
            r"weights.down\[0\]: expected shape \[6, 3\], got \[6, 8\]",
        ),
        (X, replace(WEIGHTS, shared=DENSE), ROUTING, r"weights.shared.up: expected shape \[7, 6\], got \[6, 7\]"),
        (X, WEIGHTS, replace(ROUTING, expert_ids=ROUTING.expert_ids + 1), "expert_ids: expected 0 to 5, got 6 at .*"),
    ],
)
def test_bad_layer_input(x: np.ndarray, weights: ExpertWeights, routing: Routing, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        expert_ffn(x, weights, routing, SPEC)
