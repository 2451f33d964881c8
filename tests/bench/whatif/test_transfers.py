"""Plans scored elsewhere: which there are, and their scores against placements made one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mohge.bench.records import TransferRecord
from mohge.bench.records.codec import decode, plain
from mohge.bench.whatif import Wanted, make_study, parse_grid
from mohge.bench.whatif.transfers import best_elsewhere, key_of, means, plans_of, scored
from mohge.placement import allocate, rescore

SPEC = "hidden = 32\nwidths = [32, 64]\nexperts_per_group = 4\ntop_k = 2\ntop_groups = 2\n"
ROWS = {("text", 0): 1, ("text", 3): 2, ("code", 0): 3, ("code", 3): 4, ("math", 0): 5, ("math", 3): 6}


def counts(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 100, 8)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    spec, table, tokens = tmp_path / "small.toml", tmp_path / "some.counts.csv", tmp_path / "some.topk.npz"
    spec.write_text(SPEC, encoding="utf-8")
    header = "domain,layer," + ",".join(f"expert_{expert}" for expert in range(8))
    lines = [f"{domain},{layer},{','.join(map(str, counts(seed)))}" for (domain, layer), seed in ROWS.items()]
    table.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    ids = np.argsort(np.random.default_rng(0).random((40, 2, 8)), axis=2)[:, :, :2].astype(np.uint8)
    start, domain = np.array([0, 40]), np.array(["text"])
    np.savez(tokens, expert_ids=ids, sample_start=start, domain=domain, experts=8, layers=np.array([0, 1]))
    return spec, table, tokens


def plans(spec: Path, trace: Path, grid: str, **done: Any) -> list:
    study = make_study(Wanted(parse_grid([f"spec={spec}", grid]).to_dict(), trace=str(trace)))
    return plans_of(study, **done)


def test_scores_are_those_of_single_placements(files: tuple[Path, Path, Path]) -> None:
    spec, table, _ = files
    found = plans(spec, table, "ranks=2,4 policy=lpt,aga cluster=auto,h200x8-2nodes")
    assert [plan.key for plan in found] == [("small", r, p, 0) for r in (2, 4) for p in ("lpt", "aga")]
    plan = found[2]
    assert plan.layers == (0, 3)
    record = scored(plan)
    for at, layer in enumerate((0, 3)):
        for own, name in enumerate(("text", "code", "math")):
            placement = allocate("lpt", plan.spec, counts(ROWS[name, layer]), 4)
            for other, elsewhere in enumerate(("text", "code", "math")):
                score = rescore(placement, counts(ROWS[elsewhere, layer])).work_max_over_mean
                assert record.scores[at][own][other] == pytest.approx(score)
    assert record.on_others is not None
    assert record.on_own is not None
    assert record.on_own < record.on_others
    np.testing.assert_allclose(means(record), np.mean(record.scores, axis=0))
    assert decode(TransferRecord, plain(record), "record") == record
    records = [scored(plan) for plan in found]
    assert {each.ranks: each.policy for each in best_elsewhere(records)} == {
        ranks: min((r for r in records if r.ranks == ranks), key=lambda r: r.on_others or 9).policy for ranks in (2, 4)
    }
    assert plans(spec, table, "ranks=2,4 policy=lpt,aga", done={key_of(each) for each in records}) == []


def test_windows_and_layers_of_the_grid(files: tuple[Path, Path, Path]) -> None:
    spec, table, tokens = files
    (plan,) = plans(spec, table, "domain=text,math layer=3 policy=lpt")
    assert (list(plan.windows), plan.layers) == (["text", "math"], (3,))
    (plan,) = plans(spec, tokens, "policy=lpt")
    assert list(plan.windows) == ["first half of text", "second half of text"]
    assert sum(int(window.sum()) for window in plan.windows.values()) == 40 * 2 * 2
    assert plans(spec, table, "domain=text policy=lpt") == []  # one window of counts has no halves
    assert len(plans(f"{spec},mohge-3b", table, "domain=each policy=lpt")) == 1  # type: ignore[arg-type]


def test_what_cannot_be_planned_says_why(files: tuple[Path, Path, Path]) -> None:
    spec, table, _ = files
    (plan,) = plans(spec, table, "policy=lpt replicas=2")
    record = scored(plan)
    assert record.status == "impossible"
    assert "places every expert once" in record.reason
    assert record.on_own is None
