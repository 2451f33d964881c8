from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mohge.placement import allocate, lower_bound, policies_for
from mohge.reference import LayerSpec, expert_flops

COSTS = st.integers(0, 50)
properties = settings(max_examples=80, deadline=None)


@cache
def assignments(experts: int, ranks: int) -> np.ndarray:
    """Every placement of experts with counts within one, int[placements, E]."""
    every = np.array(list(itertools.product(range(ranks), repeat=experts)))
    held = (every[:, :, None] == np.arange(ranks)).sum(axis=1)
    return every[held.max(axis=1) - held.min(axis=1) <= 1]


def fullest(costs: np.ndarray, placements: np.ndarray, ranks: int) -> np.ndarray:
    """The largest rank's cost of each placement."""
    return np.stack([(costs * (placements == rank)).sum(axis=1) for rank in range(ranks)]).max(axis=0)


def even_in_every_size(sizes: np.ndarray, ranks: int) -> np.ndarray:
    """Every placement whose ranks hold n_s/P experts of each size s (within one), whatever that gives in total."""
    every = np.array(list(itertools.product(range(ranks), repeat=len(sizes))))
    keep = np.ones(len(every), dtype=bool)
    for size in set(sizes.tolist()):
        held = (every[:, sizes == size, None] == np.arange(ranks)).sum(axis=1)
        keep &= held.max(axis=1) - held.min(axis=1) <= 1
    return every[keep]


@properties
@given(st.lists(COSTS, min_size=1, max_size=7), st.integers(1, 4))
def test_bound_is_at_most_the_optimum(costs: list[int], ranks: int) -> None:
    values = np.array(costs)
    best = fullest(values, assignments(len(costs), ranks), ranks).min()
    assert lower_bound(costs, ranks) <= best
    assert lower_bound(costs, ranks) >= max(values.sum() / ranks, values.max())


@properties
@given(st.lists(st.tuples(COSTS, st.integers(0, 2)), min_size=1, max_size=7), st.integers(1, 3))
def test_size_constrained_bound_is_at_most_the_size_constrained_optimum(pairs: list, ranks: int) -> None:
    costs, sizes = np.array(pairs).T
    best = fullest(costs, even_in_every_size(sizes, ranks), ranks).min()
    assert lower_bound(costs, ranks, sizes) <= best


@properties
@given(st.lists(COSTS, min_size=6, max_size=6), st.sampled_from([(2, 3), (3, 2), (1, 2), (1, 3), (1, 6)]))
def test_sizes_only_raise_the_bound_where_ranks_divide_them(costs: list[int], shape: tuple[int, int]) -> None:
    classes, ranks = shape
    sizes = np.repeat(np.arange(classes), 6 // classes)
    assert lower_bound(costs, ranks, sizes) >= lower_bound(costs, ranks)


@properties
@given(
    st.sampled_from([((1, 3), 3), ((2, 3, 5), 2), ((4,), 5), ((1, 2, 4, 8), 1)]),
    st.integers(1, 4),
    st.lists(st.integers(0, 30), min_size=6, max_size=6),
)
def test_bound_then_optimum_then_every_policy(shape: tuple, ranks: int, rows: list[int]) -> None:
    widths, per_group = shape
    spec = LayerSpec("small", 2, widths, per_group, 1, 1)
    loads = np.array(rows[: spec.experts])
    assume(loads.any())
    work = expert_flops(loads, spec)
    best = fullest(work, assignments(spec.experts, ranks), ranks).min()
    for policy in policies_for(spec, loads, ranks):
        placement = allocate(policy, spec, loads, ranks)
        assert placement.bound == lower_bound(work, ranks) <= best <= placement.work.max()


@pytest.mark.parametrize(
    ("name", "costs", "ranks", "sizes", "bound"),
    [
        ("the mean", [4, 4, 4, 4], 2, None, 8),
        ("the dearest with the cheapest", [20, 3, 2, 1], 2, None, 21),
        ("two of the three dearest meet", [5, 5, 5, 0], 2, None, 10),
        ("four of seven dearest meet, P does not divide E", [6, 6, 6, 6, 6, 6, 6], 2, None, 24),
        ("one expert a rank", [7, 2, 3], 3, None, 7),
        ("one rank", [7, 2, 3], 1, None, 12),
        ("fewer experts than ranks", [7, 2], 3, None, 7),
        ("no work", [0, 0, 0], 2, None, 0),
        # P = n_s: the dearest of a size plus the cheapest of the other: 10 + 1.
        ("one of each size", [10, 0, 9, 1], 2, [0, 0, 1, 1], 11),
        # Two of each size a rank. Unconstrained 9 9 9 | 8 0 0 ... would pair better; here 9 + 9 meet, with 0 + 0.
        ("two of each size", [9, 9, 9, 0, 0, 0, 0, 0], 2, [0, 0, 0, 0, 1, 1, 1, 1], 18),
        ("one size is no constraint", [5, 5, 5, 0], 2, [3, 3, 3, 3], 10),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bound_by_hand(name: str, costs: list[int], ranks: int, sizes: list[int] | None, bound: float) -> None:
    assert lower_bound(costs, ranks, sizes) == bound, name


@pytest.mark.parametrize(
    ("costs", "ranks", "sizes", "message"),
    [
        ([], 2, None, r"costs: expected one number per expert, got shape \[0\]"),
        ([[1, 2]], 2, None, r"costs: expected one number per expert, got shape \[1, 2\]"),
        ([1, -2], 2, None, "costs: expected finite numbers of at least 0"),
        ([1, np.nan], 2, None, "costs: expected finite numbers of at least 0"),
        ([1, 2], 0, None, "ranks: expected a whole number of at least 1, got 0"),
        ([1, 2], 1.5, None, "ranks: expected a whole number of at least 1, got 1.5"),
        ([1, 2], 2, [1], r"sizes: expected one width class for each of 2 experts, got \[1\]"),
    ],
)
def test_bad_bound_input(costs: list, ranks: int, sizes: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        lower_bound(costs, ranks, sizes)
