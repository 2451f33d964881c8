from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.cli import main
from mohge.bench.records import PlacementRecord

SPEC = "hidden = 8\nwidths = [2, 6]\nexperts_per_group = 4\ntop_k = 2\ntop_groups = 2\n"
LOADS = (
    "domain,layer,expert_0,expert_1,expert_2,expert_3,expert_4,expert_5,expert_6,expert_7\ntext,0,90,4,3,2,20,5,5,1\n"
)


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `mohge place` on a layer of eight experts: exit code, rows of JSON, what was said."""
    (tmp_path / "layer.toml").write_text(SPEC, encoding="utf-8")
    (tmp_path / "loads.counts.csv").write_text(LOADS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def run(words: str, out: str = "rows.json") -> tuple[int, list[dict[str, Any]], str]:
        with pytest.raises(SystemExit) as ended:
            main(["place", "--spec", "layer.toml", "--loads", "loads.counts.csv", "--json", out, *words.split()])
        rows = json.loads(Path(out).read_text(encoding="utf-8")) if Path(out).exists() else []
        return int(ended.value.code or 0), rows, " ".join(capsys.readouterr().err.split())

    return run


def test_all_names_who_placed_and_who_could_not(place: Any) -> None:
    code, rows, said = place("--ranks 3")
    assert code == 0
    assert [row["policy"] for row in rows] == ["aga", "contiguous", "round_robin", "lpt", "eplb", "stratified"]
    assert "not placed by one_size_per_rank: needs a whole number of ranks for every width" in said
    assert "aga: 3 ranks do not divide 8 experts: 2 hold 3, 1 hold 2" in said
    assert set(rows[0]) - {"domain", "layer"} <= set(PlacementRecord.__dataclass_fields__)


def test_replicas_come_with_their_ranks_and_shares(place: Any) -> None:
    code, rows, said = place("--ranks 4 --replicas 4 --nodes 2 --by work")
    assert code == 0
    (row,) = rows
    assert row["policy"] == "eplb"
    assert sum(len(ranks) for ranks in row["rank_of"]) == 12
    assert [len(ranks) for ranks in row["rank_of"]] == [len(shares) for shares in row["shares"]]
    assert row["notes"]["placement"] == "groups stay on one of 2 nodes"
    assert "not placed by aga, contiguous, one_size_per_rank, round_robin, lpt, stratified: places every" in said


def test_exact_tells_what_its_solver_said(place: Any) -> None:
    code, rows, said = place("--policy exact --ranks 2 --time-limit 5 --solver highs")
    assert code == 0
    (row,) = rows
    assert {name: row["notes"]["solver"][name] for name in ("solver", "status", "unit", "time_limit_s")} == {
        "solver": "highs",
        "status": "optimal",
        "unit": "FLOPs",
        "time_limit_s": 5.0,
    }
    assert row["work_over_bound"] == pytest.approx(1.0, abs=1e-5)
    assert "exact: highs, optimal; at most 0.00% above the best possible FLOPs (limit 5 s)" in said


def test_speeds_slots_and_memory_reach_the_policy(place: Any) -> None:
    _, (row,), _ = place("--policy lpt --ranks 2 --slots any --speeds 1,3 --swaps")
    assert row["work"][1] > 2 * row["work"][0]
    _, (row,), _ = place("--policy lpt --ranks 2 --slots 2,6")
    assert [row["rank_of"].count(rank) for rank in (0, 1)] == [2, 6]
    # 96 and 288 bytes an expert: 768 a rank when even, and contiguous needs 1152 for the wide ones.
    code, rows, said = place("--ranks 2 --memory-cap 0.8KB")
    assert code == 0
    assert "contiguous" not in {row["policy"] for row in rows}
    assert all(max(row["memory"]) <= 800 for row in rows)
    assert "memory_cap: expected at most 800 bytes of experts on rank 1, got 1152" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--policy aga --replicas 2", "policy 'aga' places every expert once, and 2 replicas were asked for"),
        ("--policy aga --swaps", "policy 'aga': unknown option 'swaps'"),
        ("--ranks 2 --speeds 1,fast", "--speeds: expected numbers with commas between, got '1,fast'"),
        ("--ranks 2 --speeds 1,0", "speeds: expected numbers above 0"),
        ("--ranks 2 --slots 3.5,4.5", "--slots: expected numbers with commas between, got '3.5,4.5'"),
        ("--ranks 2 --slots 3,4", "slots: expected numbers from 0 to 8 with the sum 8"),
        ("--ranks 2 --memory-cap 1x", "--memory-cap: expected numbers with commas between, got '1x'"),
        ("--ranks 2 --memory-cap 1.2.3KB", "--memory-cap: expected numbers"),
        ("--ranks 2 --memory-cap 100", "no policy can place this: aga: memory_cap"),
        ("--ranks 2 --replicas -1", "replicas: expected a whole number of at least 0, got -1"),
        ("--ranks 3 --nodes 2", "nodes: expected a number that divides 3 ranks, got 2"),
        ("--policy exact --ranks 2 --time-limit 0", "time_limit_s: expected seconds above 0, got 0"),
        ("--policy lpt --ranks 2 --by tokens", "by: expected one of work, rows, got 'tokens'"),
        ("--policy eplb --ranks 2 --mode up", "mode: expected one of auto, hierarchical, global, got 'up'"),
    ],
)
def test_bad_input_is_one_line_and_code_2(place: Any, words: str, message: str) -> None:
    code, rows, said = place(words)
    assert code == 2
    assert rows == []
    assert message in said
