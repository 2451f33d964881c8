"""Ranks of a placement as jobs of their own, costs out of records, and measured beside simulated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mohge.bench.cli import main
from mohge.bench.records import CaseRecord, Provenance, Record, Samples, Status, load_run
from mohge.bench.runner.jobs import Job
from mohge.bench.runner.placing import place_loads
from mohge.bench.runner.placing_measured import PREDICT, jobs_of, measured_records, plan_measurement, rank_times
from mohge.bench.runner.rank_costs import measured_costs, points_of
from mohge.bench.runner.rank_layers import rank_job, rank_layer, table_jobs, table_rows
from mohge.bench.workloads import Case, parse_routing
from mohge.placement import Roofline, rank_seconds
from mohge.reference import LayerSpec

SPEC = LayerSpec("six", hidden=16, widths=(24, 8, 16), experts_per_group=2, top_k=2, top_groups=2, shared_width=8)
LIKE = Job(SPEC, "cpu", "float32", "measured", (), ("torch_loop",))


def record(spec: LayerSpec, tokens: int, seconds: float, **changes: Any) -> Record:
    """A measured record of a uniform routing that took `seconds`."""
    case = CaseRecord(spec.name, tokens, "uniform", "float32", "cpu", id=f"{spec.name}-{tokens}", layer=spec.to_dict())
    hot = Samples([seconds * 1e6], seconds * 1e6, seconds * 0.9e6, seconds * 1.1e6, "wall clock", "enough")
    told = {"implementation": "torch_loop", "provenance": Provenance.MEASURED, "status": Status.PASSED, "hot": hot}
    return Record(**{**told, "case": case, **changes})


class TestRankLayers:
    def test_experts_stand_narrowest_first_with_their_rows(self) -> None:
        layer = rank_layer(SPEC, 1, [0, 3, 4, 2], [5, 0, 7, 0, 9, 0], "six, rank 1")
        assert layer.experts.tolist() == [2, 3, 4, 0]
        assert layer.counts.tolist() == [7, 0, 9, 5]
        assert layer.spec == LayerSpec(
            "six, rank 1", hidden=16, widths=(8, 8, 16, 24), experts_per_group=1, top_k=1, top_groups=1
        )
        assert layer.rows == 21

    @pytest.mark.parametrize(
        ("held", "message"),
        [([], "rank 2: expected at least one expert, got none"), ([0, 2], "rank 2: .* got some of expert 4$")],
    )
    def test_what_is_no_rank(self, held: list[int], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            rank_layer(SPEC, 2, held, [5, 0, 7, 0, 9, 0], "six")

    def test_the_job_has_exactly_the_ranks_rows(self, tmp_path: Path) -> None:
        layer = rank_layer(SPEC, 0, [0, 2, 3, 4], [5, 0, 7, 0, 9, 0], "six, rank 0")
        job = Job.from_dict(json.loads(json.dumps(rank_job(layer, tmp_path / "ranks", LIKE).to_dict())))
        routing = job.case(0).inputs().routing
        assert np.bincount(np.asarray(routing.expert_ids).ravel(), minlength=4).tolist() == [7, 0, 9, 5]
        assert (job.implementations, job.case(0).tokens) == (("torch_loop",), 21)

    def test_a_file_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        layer = rank_layer(SPEC, 0, [0], [5, 0, 0, 0, 0, 0], "six, rank 0")
        with pytest.raises(ValueError, match=r"rank-0\.csv: cannot be written: "):
            rank_job(layer, tmp_path / "file", LIKE)


class TestTables:
    @pytest.mark.parametrize(
        ("counts", "rows"),
        [([0, 1, 256], [1, 4, 16, 64, 256]), ([7, 7], [3, 4, 5, 6, 7]), ([0], [1, 2]), ([2], [1, 2])],
    )
    def test_rows_span_what_the_ranks_have(self, counts: list[int], rows: list[int]) -> None:
        assert table_rows(counts) == rows

    def test_jobs_for_three_widths_and_the_start_up(self) -> None:
        spec = replace(SPEC, widths=(8, 16, 24, 32, 40))
        jobs = table_jobs(spec, [1, 4], experts=3, like=LIKE)
        assert [(job.spec.widths, job.spec.experts) for job in jobs] == [((8,), 1), ((8,), 3), ((24,), 3), ((40,), 3)]
        assert [tokens for tokens, _ in jobs[2].cases] == [3, 6, 9, 12]
        routing = jobs[1].case(3).inputs().routing
        assert np.bincount(np.asarray(routing.expert_ids).ravel()).tolist() == [4, 4, 4]

    def test_times_that_add_up_are_found_again(self) -> None:
        """The points of the table are the times the records were made from, and so is a rank of mixed widths."""
        model = Roofline(16, flops_per_s=1e9, bytes_per_s=1e12, overhead_s=1e-4)
        jobs = table_jobs(SPEC, [1, 100], experts=3, like=LIKE)
        records = []
        for job in jobs:
            for tokens, _ in job.cases:
                each = tokens // job.spec.experts
                seconds = rank_seconds(model, np.full((job.spec.experts, 1), each), job.spec.expert_widths)
                records.append(record(job.spec, tokens, float(seconds[0])))
        costs = measured_costs(records, "torch_loop", 16, "float32", "cpu", "made up")
        assert costs.error is not None
        assert costs.error.worst < 0.2  # its overhead still has one row in it
        rows = np.array([[40], [3], [77], [0], [9], [100]])
        found, wanted = (rank_seconds(each, rows, SPEC.expert_widths) for each in (costs.table, model))
        np.testing.assert_allclose(found, wanted, rtol=0.03)

    def test_only_records_of_like_experts_count(self) -> None:
        alike = LayerSpec("alike", 16, (8,), experts_per_group=3, top_k=1, top_groups=1)
        good = [record(alike, 3 * rows, 1e-3 * rows) for rows in (1, 2, 4)]
        bad = [
            record(SPEC, 6, 1.0),
            record(replace(alike, hidden=32), 6, 1.0),
            record(replace(alike, shared_width=4), 6, 1.0),
            record(replace(alike, top_k=2), 6, 1.0),
            record(alike, 6, 1.0, implementation="padded_bmm"),
            record(alike, 6, 1.0, provenance=Provenance.SIMULATED),
            record(alike, 6, 1.0, status=Status.INCORRECT, hot=None),
        ]
        points = points_of([*good, *bad], "torch_loop", 16, "float32", "cpu")
        assert points.rows.tolist() == [1, 2, 4]
        assert points.overhead_s == pytest.approx(1e-3)
        np.testing.assert_allclose(points.seconds, [1e-3, 1e-3 + 1e-3 / 3, 2e-3])
        with pytest.raises(
            ValueError, match="costs: expected measured records of torch_loop with experts of one width"
        ):
            measured_costs(bad, "torch_loop", 16, "float32", "cpu", "made up")
        with pytest.raises(ValueError, match="at least two numbers of rows for some width, got fewer"):
            measured_costs(good[:1], "torch_loop", 16, "float32", "cpu", "made up")


def measurement(tmp_path: Path, costs: str = PREDICT, tokens: int = 30) -> Any:
    case = Case(SPEC, tokens, parse_routing("zipf:1.0"))
    asked = plan_measurement(case, lambda counts: place_loads(SPEC, counts, 2, ["aga", "lpt"], "float32"), LIKE, costs)
    return asked, jobs_of(asked, tmp_path)


class TestPlacements:
    def test_replicas_share_the_rows_of_their_expert(self) -> None:
        """Two copies of the hottest expert: whole rows on both, none lost."""
        asked = plan_measurement(
            Case(SPEC, 31, parse_routing("zipf:2.0")),
            lambda counts: place_loads(SPEC, counts, 4, ["eplb"], "float32", replicas=2),
            LIKE,
            PREDICT,
        )
        (ranks,) = asked.ranks
        rows = np.zeros(6, dtype=int)
        for layer in ranks.layers:
            np.add.at(rows, layer.experts, layer.counts)
        np.testing.assert_array_equal(rows, np.bincount(asked.expert_ids.ravel(), minlength=6))
        held = np.bincount(np.concatenate([layer.experts for layer in ranks.layers]), minlength=6)
        assert held.sum() == 8
        assert held.max() > 1

    def test_ranks_share_the_rows_of_the_batch(self, tmp_path: Path) -> None:
        asked, jobs = measurement(tmp_path)
        assert [job.spec.name for job in jobs] == [f"six, {p}, rank {r} of 2" for p in ("aga", "lpt") for r in (0, 1)]
        for ranks in asked.ranks:
            assert [layer.rows for layer in ranks.layers] == ranks.placement.rows.tolist()
            assert sorted(np.concatenate([layer.experts for layer in ranks.layers])) == list(range(6))

    def test_measured_beside_simulated(self, tmp_path: Path) -> None:
        asked, _ = measurement(tmp_path)
        ranks = asked.ranks[0]
        records = [(layer, record(layer.spec, layer.rows, 2e-5 * (layer.rank + 1))) for layer in ranks.layers]
        simulated: Any = type("Simulated", (), {"phases": {"compute": np.array([3e-5, 3e-5])}, "cost_source": "p: x"})
        times = rank_times("torch_loop", simulated, records)
        assert (times.measured_s, times.makespan_s) == ([pytest.approx(2e-5), pytest.approx(4e-5)], pytest.approx(4e-5))
        assert times.errors == [pytest.approx(0.5), pytest.approx(-0.25)]
        assert (times.makespan_error, times.reasons) == (pytest.approx(-0.25), {})
        assert times.cases == [entry.case.id for _, entry in records]

    def test_a_rank_that_failed_leaves_no_makespan(self, tmp_path: Path) -> None:
        asked, _ = measurement(tmp_path)
        first, second = asked.ranks[0].layers
        failed = record(first.spec, 3, 1.0, status=Status.CRASHED, hot=None, reason="signal SIGSEGV")
        idle = replace(second, counts=second.counts * 0)
        simulated: Any = type("Simulated", (), {"phases": {"compute": np.array([3e-5, 0.0])}, "cost_source": "p: x"})
        times = rank_times("torch_loop", simulated, [(first, failed), (idle, None)])
        assert (times.measured_s, times.makespan_s, times.makespan_error) == ([None, 0.0], None, None)
        assert times.errors == [None, None]
        assert times.reasons == {"0": "crashed: signal SIGSEGV"}

    def test_no_tokens_and_no_costs(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="tokens: expected at least 1 to measure ranks, got 0"):
            measurement(tmp_path, tokens=0)
        with pytest.raises(ValueError, match="absent"):
            measurement(tmp_path, costs=str(tmp_path / "absent"))


@pytest.mark.timeout(600)
def test_the_command_measures_every_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Six experts of one width on two ranks, for real on the CPU: gate, timer, tables, records, exit code."""
    spec = tmp_path / "one.toml"
    spec.write_text("hidden = 32\nwidths = [16]\nexperts_per_group = 6\ntop_k = 2\ntop_groups = 1\n")
    words = ["place", "--measure", "--spec", str(spec), "--ranks", "2", "--policy", "lpt", "--tokens", "40"]
    words += ["--device", "cpu", "--implementations", "torch_loop", "--seconds", "0.02", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json", str(tmp_path / "placements.json")])
    assert ended.value.code == 0
    assert "makespan" in capsys.readouterr().err
    (folder,) = tmp_path.glob("*-place")
    run = load_run(folder)
    assert run.finished
    assert all(entry.status is Status.PASSED and entry.hot for entry in run.records)
    (placement,) = run.placements
    times = placement.measured
    assert times is not None
    assert (placement.provenance, placement.seconds) == (Provenance.MEASURED, times.measured_s)
    assert sum(times.rows) == 80
    assert times.makespan_s == max(seconds for seconds in times.measured_s if seconds is not None)
    assert times.costs.startswith("measured: torch_loop in ")
    assert set(times.cases) <= {entry.case.id for entry in run.records}
    assert json.loads((tmp_path / "placements.json").read_text())[0]["measured"]["rows"] == times.rows

    # Another placement of the same layer takes its costs from that run, or from nowhere, and says which.
    layer = LayerSpec.from_toml(spec)
    case = Case(layer, 40, parse_routing("uniform"))
    asked = plan_measurement(
        case, lambda counts: place_loads(layer, counts, 3, ["aga"], "float32"), LIKE, costs=str(folder)
    )
    (record_,) = measured_records(asked, replace(run, records=[]), folder)
    assert record_.measured is not None
    assert record_.provenance is Provenance.SIMULATED
    assert record_.measured.costs.startswith("measured: torch_loop in ")
    other = replace(asked, like=replace(LIKE, implementations=("padded_bmm",)))
    (record_,) = measured_records(other, replace(run, records=[]), folder)
    assert record_.measured is not None
    assert record_.measured.costs.startswith("predicted: ")
    assert record_.notes["costs"].startswith("predicted: costs: expected measured records of padded_bmm")
