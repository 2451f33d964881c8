"""What must hold for every spec, routing and weights, drawn by hypothesis."""

from __future__ import annotations

import doctest
import importlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mohge.reference import (
    ExpertWeights,
    LayerSpec,
    Router,
    Routing,
    combine_rows,
    expert_ffn,
    permutation,
    permute_rows,
    route,
)
from mohge.reference.ffn import swiglu

WIDTHS = st.lists(st.integers(1, 6), min_size=1, max_size=4)
seeds = st.integers(0, 2**32 - 1)
properties = settings(max_examples=50, deadline=None)


@st.composite
def specs(draw: st.DrawFn, widths: st.SearchStrategy[list[int]] = WIDTHS) -> LayerSpec:
    chosen = draw(widths)
    per_group = draw(st.integers(1, 3))
    top_groups = draw(st.integers(1, len(chosen)))
    top_k = draw(st.integers(1, top_groups * per_group))
    return LayerSpec("drawn", draw(st.integers(1, 7)), tuple(chosen), per_group, top_k, top_groups)


@st.composite
def cases(
    draw: st.DrawFn, layers: st.SearchStrategy[LayerSpec] | None = None
) -> tuple[LayerSpec, np.ndarray, Router, ExpertWeights]:
    spec = draw(specs() if layers is None else layers)
    generator = np.random.default_rng(draw(seeds))
    x = generator.standard_normal((draw(st.integers(0, 9)), spec.hidden))
    return spec, x, Router.random(spec, draw(seeds)), ExpertWeights.random(spec, draw(seeds))


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


@properties
@given(cases(), st.sampled_from(["released", "normalized"]))
def test_permuting_and_combining_gives_x_back(case: tuple, combine: str) -> None:
    spec, x, router, _ = case
    rows = permutation(route(x, router, spec, combine), spec)
    close(combine_rows(permute_rows(x, rows), rows), x)


@properties
@given(cases())
def test_experts_on_permuted_rows_are_the_layer(case: tuple) -> None:
    spec, x, router, weights = case
    routing = route(x, router, spec)
    rows = permutation(routing, spec)
    out = permute_rows(x, rows)
    for expert in range(spec.experts):
        part = slice(rows.expert_offsets[expert], rows.expert_offsets[expert + 1])
        out[part] = swiglu(out[part], weights.gate[expert], weights.up[expert], weights.down[expert])
    close(combine_rows(out, rows), expert_ffn(x, weights, routing, spec))


@properties
@given(cases(), seeds, st.floats(-3, 3), st.floats(-3, 3))
def test_the_layer_is_linear_in_the_combine_weights(case: tuple, seed: int, a: float, b: float) -> None:
    spec, x, router, weights = case
    first = route(x, router, spec)
    second = replace(first, weights=np.random.default_rng(seed).standard_normal(first.weights.shape))
    mixed = replace(first, weights=a * first.weights + b * second.weights)
    expected = a * expert_ffn(x, weights, first, spec) + b * expert_ffn(x, weights, second, spec)
    close(expert_ffn(x, weights, mixed, spec), expected)


def apply_expert(weights: ExpertWeights, expert: int, hidden: np.ndarray) -> np.ndarray:
    gate, up = weights.gate[expert] @ hidden, weights.up[expert] @ hidden
    return weights.down[expert] @ (gate / (1 + np.exp(-gate)) * up)


def plain_moe(x: np.ndarray, router: np.ndarray, weights: ExpertWeights, top_k: int) -> np.ndarray:
    """A mixture of equal experts as everybody writes it: softmax, top K, renormalise, weighted sum; token by token."""
    y = np.zeros_like(x)
    for token, hidden in enumerate(x):
        raised = np.exp(router @ hidden)
        probability = raised / raised.sum()
        best = sorted(range(len(router)), key=lambda e, p=probability: (-p[e], e))[:top_k]
        for expert in best:
            share = probability[expert] / probability[best].sum()
            y[token] += share * apply_expert(weights, expert, hidden)
    return y


@properties
@given(cases(specs(st.integers(1, 6).map(lambda width: [width]))))
def test_one_uniform_group_is_a_plain_moe(case: tuple) -> None:
    spec, x, router, weights = case
    y = expert_ffn(x, weights, route(x, router, spec, "normalized"), spec)
    close(y, plain_moe(x, router.expert, weights, spec.top_k))


@properties
@given(cases(specs(st.tuples(st.integers(1, 6), st.integers(1, 4)).map(lambda pair: [pair[0]] * pair[1]))))
def test_groups_of_one_width_are_a_plain_moe_of_all_experts(case: tuple) -> None:
    """Groups only decide the routing: given it, grouping E equal experts or not is the same layer."""
    spec, x, router, weights = case
    routing = route(x, router, spec)
    plain = LayerSpec("plain", spec.hidden, spec.widths[:1], spec.experts, spec.top_k, 1)
    y = np.zeros_like(x)
    for token, hidden in enumerate(x):
        for expert, share in zip(routing.expert_ids[token], routing.weights[token], strict=True):
            y[token] += share * apply_expert(weights, expert, hidden)
    close(expert_ffn(x, weights, routing, spec), y)
    close(expert_ffn(x, weights, routing, plain), y)


def renamed(weights: ExpertWeights, new_id: np.ndarray) -> ExpertWeights:
    """The same experts, expert e now called new_id[e]."""
    old_id = np.argsort(new_id)
    gate, up, down = ([matrices[e] for e in old_id] for matrices in (weights.gate, weights.up, weights.down))
    return ExpertWeights(gate, up, down)


@properties
@given(cases(specs(st.lists(st.sampled_from([2, 5]), min_size=1, max_size=4))), seeds)
def test_renaming_experts_of_one_width_changes_nothing(case: tuple, seed: int) -> None:
    """Within a group and across groups of equal width: ids and weights move together."""
    spec, x, router, weights = case
    routing = route(x, router, spec)
    new_id = np.arange(spec.experts)
    for width in set(spec.widths):
        same = np.flatnonzero(spec.expert_widths == width)
        new_id[same] = np.random.default_rng([seed, width]).permutation(same)
    moved = Routing(new_id[routing.expert_ids], routing.weights)
    close(expert_ffn(x, renamed(weights, new_id), moved, spec), expert_ffn(x, weights, routing, spec))


@properties
@given(cases(), seeds, st.sampled_from(["released", "normalized"]))
def test_renaming_experts_inside_groups_before_the_router_changes_nothing(case: tuple, seed: int, combine: str) -> None:
    spec, x, router, weights = case
    generator = np.random.default_rng(seed)
    new_id = np.concatenate([generator.permutation(spec.experts_per_group) for _ in range(spec.groups)])
    new_id += spec.expert_groups * spec.experts_per_group
    other = Router(router.group, router.expert[np.argsort(new_id)])
    y = expert_ffn(x, weights, route(x, router, spec, combine), spec)
    close(expert_ffn(x, renamed(weights, new_id), route(x, other, spec, combine), spec), y)


@pytest.mark.parametrize("module", ["spec", "routing", "permutation", "schedule"])
def test_worked_examples_in_docstrings(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"mohge.reference.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
