from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mohge.placement.timeline import Interval, lay_out


def step(chunks: int = 1, **change: Any) -> tuple[Interval, ...]:
    arguments = {
        "route": np.array([1.0, 2.0]),
        "shared": np.zeros(2),
        "compute": lambda parts: np.array([8.0, 4.0]) / parts,
        "dispatch": lambda parts: 4.0 / parts,
        "combine": lambda parts: 6.0 / parts,
        **change,
    }
    return lay_out(chunks=chunks, **arguments)


def of(intervals: tuple[Interval, ...], rank: int) -> list[tuple[str, int, float, float]]:
    return [(own.phase, own.chunk, own.start_s, own.end_s) for own in intervals if own.rank == rank]


def test_one_phase_after_another_by_hand() -> None:
    assert of(step(), 0) == [("route", 0, 0, 1), ("dispatch", 0, 2, 6), ("compute", 0, 6, 14), ("combine", 0, 14, 20)]
    # Rank 1 routes longer, computes less, and then waits for rank 0.
    assert of(step(), 1) == [("route", 0, 0, 2), ("dispatch", 0, 2, 6), ("compute", 0, 6, 10), ("combine", 0, 14, 20)]


def test_two_chunks_by_hand() -> None:
    assert of(step(2), 0) == [
        ("route", 0, 0, 1),
        ("dispatch", 0, 2, 4),
        ("compute", 0, 4, 8),
        ("dispatch", 1, 4, 6),
        ("combine", 0, 8, 11),
        ("compute", 1, 8, 12),
        ("combine", 1, 12, 15),
    ]


def test_the_shared_expert_runs_before_the_exchange_or_beside_it() -> None:
    shared = np.array([3.0, 0.0])
    assert ("shared", 0, 1, 4) in of(step(shared=shared), 0)
    assert max(own.end_s for own in step(shared=shared)) == 22
    assert ("dispatch", 0, 2, 4) in of(step(2, shared=shared), 0)
    assert ("shared", 0, 1, 4) in of(step(2, shared=shared), 0)


@pytest.mark.parametrize("chunks", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", range(4))
def test_what_no_schedule_may_break(chunks: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    compute, exchange = draw.random(5), draw.random(2)
    made = lay_out(
        draw.random(5),
        draw.random(5),
        lambda parts: compute / parts,
        lambda parts: exchange[0] / parts,
        lambda parts: exchange[1] / parts,
        chunks,
    )
    spans = {(own.phase, own.chunk, own.rank): own for own in made}
    for rank, chunk in itertools.product(range(5), range(chunks)):
        assert spans["compute", chunk, rank].start_s >= spans["dispatch", chunk, rank].end_s
        assert spans["combine", chunk, rank].start_s >= max(spans["compute", chunk, other].end_s for other in range(5))
    for rank, kinds in itertools.product(range(5), (("dispatch", "combine"), ("route", "shared", "compute"))):
        own = sorted(
            (span for span in made if span.rank == rank and span.phase in kinds), key=lambda span: span.start_s
        )
        for before, after in itertools.pairwise(own):
            assert after.start_s >= before.end_s - 1e-12
    end = max(span.end_s for span in made)
    assert end >= max(compute.max(), exchange.sum())


@pytest.mark.parametrize("chunks", [0, -1, 1.5, True])
def test_impossible_chunks_are_named(chunks: Any) -> None:
    with pytest.raises(ValueError, match="chunks: expected a whole number of at least 1"):
        step(chunks)
