"""Real OLMoE loads on mohge-3b widths: which expert gets which load is drawn, because the widths are not OLMoE's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mohge.placement import Placement, allocate, assignment, balance, lower_bound, transfer
from mohge.placement.loads import read_loads
from mohge.reference import LayerSpec, expert_flops

SPEC = LayerSpec.preset("mohge-3b")


@pytest.fixture(scope="module")
def slotted(shared_data: Path) -> list[np.ndarray]:
    """Each of the nine load vectors in eight seeded random orders."""
    loads = read_loads(shared_data / "olmoe-1b-7b.counts.csv", SPEC.experts)
    assert len(loads) == 9
    return [np.random.default_rng([7, seed]).permutation(entry.counts) for entry in loads for seed in range(8)]


def placements(policy: str, slotted: list[np.ndarray], ranks: int) -> list[Placement]:
    return [allocate(policy, SPEC, loads, ranks) for loads in slotted]


# Published for these data: AGA 1.28 (P = 4) and 1.52 (P = 8) times the bound in the mean.
@pytest.mark.parametrize(("ranks", "published"), [(4, 1.28), (8, 1.52)])
def test_aga_is_far_from_the_bound_and_lpt_near(slotted: list[np.ndarray], ranks: int, published: float) -> None:
    aga = [placement.work_over_bound for placement in placements("aga", slotted, ranks)]
    lpt = [placement.work_over_bound for placement in placements("lpt", slotted, ranks)]
    assert np.mean(aga) == pytest.approx(published, abs=0.06)
    assert np.mean(lpt) < 1.03
    assert all(1.0 <= low <= high for low, high in zip(lpt, aga, strict=True))


@pytest.mark.parametrize("ranks", [4, 8])
def test_aga_has_equal_memory_and_obeys_the_size_constrained_bound(slotted: list[np.ndarray], ranks: int) -> None:
    for placement, loads in zip(placements("aga", slotted, ranks), slotted, strict=True):
        assert placement.memory_max_over_mean == 1.0
        constrained = lower_bound(expert_flops(loads, SPEC), ranks, SPEC.expert_widths)
        assert placement.bound <= constrained <= placement.work.max()


def test_a_plan_looks_better_on_its_own_domain_than_on_another(shared_data: Path) -> None:
    """The domains of OLMoE as windows; published for such plans: 1.02 on their own, 1.45 on another domain."""
    loads = read_loads(shared_data / "olmoe-1b-7b.counts.csv", SPEC.experts)
    layers = sorted({entry.layer for entry in loads})
    by_key = {(entry.domain, entry.layer): entry.counts for entry in loads}
    windows = {
        domain: [by_key[domain, layer] for layer in layers] for domain in dict.fromkeys(entry.domain for entry in loads)
    }

    def work_over_mean(placement: Placement, counts: np.ndarray) -> float:
        return balance(counts * SPEC.expert_widths @ assignment(placement)).max_over_mean

    found = transfer(lambda counts: allocate("lpt", SPEC, counts, 8), work_over_mean, windows)
    print(f"planned and scored on one domain {found.on_own:.3f}, on others {found.on_others:.3f}")
    assert found.on_own < 1.05
    assert found.on_others > 1.2
    own = np.diag(found.matrix)
    assert (found.matrix >= own[:, None] - 1e-9).all()
