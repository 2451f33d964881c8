"""The router in torch against the reference: the same experts and weights, and the same rule for ties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mohge.bench.workloads import DeviceRouter
from mohge.dispatch import make_plan
from mohge.reference import LayerSpec, Router, route


@dataclass(frozen=True)
class Shape:
    """A layer, and how many tokens it routes."""

    name: str
    spec: LayerSpec
    tokens: int


def spec(groups: int, per_group: int, top_k: int, top_groups: int, hidden: int = 48) -> LayerSpec:
    return LayerSpec(
        "s",
        hidden=hidden,
        widths=tuple(range(8, 8 + groups)),
        experts_per_group=per_group,
        top_k=top_k,
        top_groups=top_groups,
    )


SHAPES = [
    Shape("the released 3B router", spec(8, 8, 6, 4), 257),
    Shape("one group", spec(1, 8, 3, 1), 33),
    Shape("one expert a group", spec(8, 1, 4, 4), 33),
    Shape("every expert of the kept groups", spec(4, 2, 4, 2), 33),
    Shape("odd sizes", spec(5, 3, 4, 3, hidden=37), 101),
    Shape("one token", spec(4, 4, 3, 2), 1),
    Shape("no tokens", spec(4, 4, 3, 2), 0),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_it_routes_as_the_reference_does(shape: Shape) -> None:
    x = np.random.default_rng(3).standard_normal((shape.tokens, shape.spec.hidden))
    matrices = Router.random(shape.spec, 5)
    # The router keeps float32 matrices: the reference gets the same numbers.
    rounded = Router(matrices.group.astype(np.float32), matrices.expert.astype(np.float32))
    expected = route(x, rounded, shape.spec)
    got = DeviceRouter.on(matrices, shape.spec, "cpu")(torch.from_numpy(x))
    np.testing.assert_array_equal(got.expert_ids.numpy(), expected.expert_ids)
    np.testing.assert_allclose(got.weights.numpy(), expected.weights, rtol=1e-6)


def test_ties_go_to_the_lower_id() -> None:
    layer = spec(4, 4, 3, 2)
    same = Router(np.zeros((4, 48)), np.zeros((16, 48)))
    got = DeviceRouter.on(same, layer, "cpu")(torch.ones(5, 48))
    assert got.expert_ids.tolist() == [[0, 1, 2]] * 5
    np.testing.assert_allclose(got.weights.numpy(), 1 / 3, rtol=1e-6)


def test_an_expert_of_a_kept_group_goes_first_even_where_its_probability_is_zero() -> None:
    layer = spec(2, 2, 2, 1)
    group, expert = np.zeros((2, 48)), np.zeros((4, 48))
    group[1] = 1.0
    expert[2, 0], expert[3, 0] = 500.0, -500.0
    got = DeviceRouter.on(Router(group, expert), layer, "cpu")(torch.ones(1, 48))
    assert got.expert_ids.tolist() == [[2, 3]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_plan_can_be_made_of_it_in_every_dtype(dtype: torch.dtype) -> None:
    layer = spec(8, 8, 6, 4)
    routing = DeviceRouter.on(Router.random(layer, 1), layer, "cpu")(torch.randn(65, 48).to(dtype))
    plan = make_plan(routing, layer)
    assert plan.rows == 65 * 6
    assert routing.weights.dtype == torch.float32
    np.testing.assert_allclose(routing.weights.sum(dim=1).numpy(), 1.0, rtol=1e-5)
