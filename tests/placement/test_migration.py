from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mohge.placement import Cluster, Link, closest_labels, migration, pay_back
from mohge.reference import LayerSpec

SPEC = LayerSpec("tiny", hidden=1, widths=(1, 2), experts_per_group=3, top_k=1, top_groups=1)  # 3 and 6 parameters
WIRE = Link("wire", 1.0, 2.0)
SLOW = Link("slow", 1.0, 1.0)


def placed(*replicas: Any, ranks: int = 4) -> SimpleNamespace:
    return SimpleNamespace(
        ranks=ranks, replicas=[copies if isinstance(copies, tuple) else (copies,) for copies in replicas]
    )


OLD = placed(0, 1, 2, 3, 0, 1)


def test_staying_costs_nothing() -> None:
    still = migration(OLD, OLD, SPEC, cluster=Cluster("c", 1, 4, WIRE))
    assert (still.moves, still.bytes, still.seconds) == ((), 0, 0)


def test_moves_bytes_and_seconds_by_hand() -> None:
    # Expert 0 (3 parameters) goes from rank 0 to 3, expert 4 (6) from rank 0 to 2; expert 5 gets a second copy.
    new = placed(3, 1, 2, 3, 2, (1, 2))
    found = migration(OLD, new, SPEC, cluster=Cluster("c", 1, 4, WIRE))
    assert found.moves == ((0, 0, 3), (4, 0, 2), (5, 1, 2))
    assert found.bytes == 2 * (3 + 6 + 6)
    assert found.seconds == 1 + 24 / 2  # rank 2 receives most: 24 bytes
    assert migration(OLD, new, SPEC, parameter_bytes=14).bytes == 7 * found.bytes
    assert migration(OLD, new, SPEC).seconds is None


def test_dropping_a_copy_is_free_and_copies_come_from_the_own_node() -> None:
    old = placed((0, 3), 1, 2, 3, 0, 1)
    assert migration(old, placed(0, 1, 2, 3, 0, 1), SPEC).bytes == 0
    nodes = Cluster("c", 2, 2, WIRE, SLOW)
    found = migration(old, placed((0, 2, 3), 1, 2, 3, 0, 1), SPEC, cluster=nodes)
    assert found.moves == ((0, 3, 2),)
    assert found.seconds == 1 + 6 / 2


def test_sources_share_the_sending() -> None:
    old = placed((0, 1), (0, 1), 2, 3, 0, 1)
    found = migration(old, placed((0, 1, 2), (0, 1, 3), 2, 3, 0, 1), SPEC)
    assert sorted(source for _, source, _ in found.moves) == [0, 1]


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_labels_save_as_much_as_any_relabelling_could(nodes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    old, new = (placed(*generator.integers(0, 4, 6).tolist()) for _ in range(2))

    def relabelled(labels: Any) -> SimpleNamespace:
        return placed(*(int(labels[copies[0]]) for copies in new.replicas))

    def allowed(labels: tuple[int, ...]) -> bool:
        width = 4 // nodes
        return all(
            len({labels[rank] // width for rank in range(node * width, (node + 1) * width)}) == 1
            for node in range(nodes)
        )

    labels = closest_labels(old, new, SPEC, nodes)
    assert sorted(labels.tolist()) == [0, 1, 2, 3]
    assert allowed(tuple(labels.tolist()))
    best = min(
        migration(old, relabelled(every), SPEC).bytes for every in itertools.permutations(range(4)) if allowed(every)
    )
    assert migration(old, relabelled(labels), SPEC).bytes == best


@pytest.mark.parametrize(
    ("migration_s", "old_s", "new_s", "steps", "net_s", "worth"),
    [
        (10.0, 3.0, 1.0, 5.0, 190.0, True),
        (300.0, 3.0, 1.0, 150.0, -100.0, False),
        (10.0, 1.0, 1.0, math.inf, -10.0, False),
        (10.0, 1.0, 2.0, math.inf, -110.0, False),
        (0.0, 2.0, 1.0, 0.0, 100.0, True),
        (0.0, 1.0, 1.0, 0.0, 0.0, False),
    ],
)
def test_pay_back(migration_s: float, old_s: float, new_s: float, steps: float, net_s: float, worth: bool) -> None:
    found = pay_back(migration_s, old_s, new_s, horizon=100)
    assert (found.steps, found.net_s, found.worth) == (steps, net_s, worth)
    assert str(found).startswith("worth it: " if worth else "not worth it: ")


def test_pay_back_in_words() -> None:
    assert str(pay_back(0.01, 0.003, 0.001, 100)) == "worth it: pays after 5 steps, gains 190 ms in 100 steps"
    assert str(pay_back(0.3, 0.003, 0.001, 100)) == "not worth it: pays after 150 steps, loses 100 ms in 100 steps"
    assert str(pay_back(0.1, 1e-6, 3e-6, 9)) == "not worth it: a step is not quicker afterwards (2.0 us slower)"


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="new: expected a placement of 6 experts on 4 ranks, got 6 on 5"):
        migration(OLD, placed(0, 1, 2, 3, 4, 0, ranks=5), SPEC)
    with pytest.raises(ValueError, match="cluster 'c': expected placements on 2 ranks, got 4"):
        migration(OLD, OLD, SPEC, cluster=Cluster("c", 1, 2, WIRE))
    with pytest.raises(ValueError, match="parameter_bytes: expected a number above 0"):
        migration(OLD, OLD, SPEC, parameter_bytes=0)
    with pytest.raises(ValueError, match="nodes: expected a divisor of 4 ranks, got 3"):
        closest_labels(OLD, OLD, SPEC, 3)
    with pytest.raises(ValueError, match="new_step_s: expected seconds"):
        pay_back(1, 1, math.nan, 1)
    with pytest.raises(ValueError, match="horizon: expected a whole number of steps"):
        pay_back(1, 1, 1, 0)
