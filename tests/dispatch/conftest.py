"""Shared by every dispatch test: the cases, and the comparison with the plain reference.

Fixtures:
    routing_case                          every case below in turn (a RoutingCase)
    make_case                             RoutingCase itself, for cases of a test's own
    assert_same_plan(plan, case)          plan (NumPy or torch, any device) against the reference, bit for bit
    assert_same_schedule(schedule, plan, block_rows, columns, order, band=8)   the same for a TileSchedule
    list_requests(experts)                what `make_schedules` is asked for in one call: three lists, one without tiles
    usable_backend(name, device="cpu")    the backend called `name`; skips with its reason where it cannot work
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from mohge.dispatch import Backend, DispatchPlan, ListRequest, TileSchedule, load_backend, schedule_bound, unavailable
from mohge.reference import LayerSpec, Routing
from mohge.reference.permutation import permutation
from mohge.reference.schedule import tile_list


@dataclass(frozen=True)
class RoutingCase:
    """A routing by construction: `tokens` tokens choose `top_k` of `experts` experts at random.

    only:  the experts in use (the others stay empty); None means all
    dtype: of the expert ids
    """

    name: str
    tokens: int
    top_k: int
    experts: int
    only: tuple[int, ...] | None = None
    dtype: str = "int64"
    seed: int = 0

    @property
    def spec(self) -> LayerSpec:
        return LayerSpec(self.name, 4, (8,) * self.experts, 1, self.top_k, self.experts)

    @property
    def routing(self) -> Routing:
        generator = np.random.default_rng(self.seed)
        used = np.array(self.only if self.only is not None else range(self.experts))
        chosen = np.argsort(generator.random((self.tokens, len(used))), axis=1)[:, : self.top_k]
        weights = generator.random((self.tokens, self.top_k), dtype=np.float32)
        return Routing(used[chosen].astype(self.dtype), weights)


CASES = (
    # sizes
    RoutingCase("zero-tokens", tokens=0, top_k=2, experts=4),
    RoutingCase("one-token", tokens=1, top_k=2, experts=4),
    RoutingCase("odd", tokens=37, top_k=3, experts=7),
    RoutingCase("several-blocks", tokens=301, top_k=3, experts=9),
    RoutingCase("many-experts", tokens=131, top_k=5, experts=67),
    # shares
    RoutingCase("empty-experts", tokens=29, top_k=2, experts=8, only=(1, 4, 5)),
    RoutingCase("first-and-last-empty", tokens=50, top_k=2, experts=5, only=(1, 2, 3)),
    RoutingCase("all-on-first", tokens=33, top_k=1, experts=6, only=(0,)),
    RoutingCase("all-on-last-blocks", tokens=530, top_k=1, experts=6, only=(5,)),
    RoutingCase("one-expert", tokens=17, top_k=1, experts=1),
    RoutingCase("every-expert", tokens=19, top_k=5, experts=5),
    # id types
    RoutingCase("int32", tokens=45, top_k=2, experts=8, dtype="int32"),
    RoutingCase("uint8", tokens=45, top_k=2, experts=200, dtype="uint8"),
)


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def routing_case(request: pytest.FixtureRequest) -> RoutingCase:
    return request.param


@pytest.fixture(scope="session")
def make_case() -> type[RoutingCase]:
    return RoutingCase


def host(array: Any) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()


def assert_same_arrays(name: str, actual: Any, expected: np.ndarray) -> None:
    actual = host(actual)
    assert actual.dtype == expected.dtype, f"{name}: expected {expected.dtype}, got {actual.dtype}"
    np.testing.assert_array_equal(actual, expected, err_msg=name)


@pytest.fixture(scope="session")
def assert_same_plan() -> Callable[[DispatchPlan, RoutingCase], None]:
    def compare(plan: DispatchPlan, case: RoutingCase) -> None:
        expected = permutation(case.routing, case.spec)
        for name in ("expert_offsets", "row_token", "token_row"):
            assert_same_arrays(f"{case.name}: {name}", getattr(plan, name), getattr(expected, name).astype(np.int32))
        assert_same_arrays(f"{case.name}: row_weight", plan.row_weight, expected.row_weight.astype(np.float32))

    return compare


@pytest.fixture(scope="session")
def assert_same_schedule() -> Callable[..., None]:
    def compare(
        schedule: TileSchedule, plan: DispatchPlan, block_rows: int, columns: Any, order: Any, band: int = 8
    ) -> None:
        columns = host(columns) if not isinstance(columns, list) else np.array(columns)
        tiles = tile_list(np.diff(host(plan.expert_offsets)), block_rows, columns, order, band)
        bound = schedule_bound(plan.rows, plan.experts, block_rows, int(columns.max()))
        assert len(tiles) <= bound
        padded = np.full((3, bound), -1, np.int32)
        padded[:, : len(tiles)] = np.array(tiles, np.int32).reshape(-1, 3).T
        assert schedule.block_rows == block_rows
        assert_same_arrays("count", schedule.count, np.array([len(tiles)], np.int32))
        for name, expected in zip(("expert", "row", "column"), padded, strict=True):
            assert_same_arrays(name, getattr(schedule, name), expected)

    return compare


@pytest.fixture(scope="session")
def list_requests() -> Callable[[int], tuple[ListRequest, ...]]:
    def make(experts: int) -> tuple[ListRequest, ...]:
        columns = torch.arange(experts, dtype=torch.int32) * 5 % 3 + 1
        nothing = torch.zeros_like(columns)
        wide = columns.clone()
        wide[-1] = 4
        return (
            ListRequest(16, columns, int(columns.max())),
            ListRequest(4, nothing, 0, band=1),
            ListRequest(64, wide, 4, band=3),
        )

    return make


@pytest.fixture(scope="session")
def usable_backend() -> Callable[..., Backend]:
    def choose(name: str, device: str = "cpu") -> Backend:
        reason = unavailable(name, device)
        if reason is not None:
            pytest.skip(reason)
        return load_backend(name)

    return choose
