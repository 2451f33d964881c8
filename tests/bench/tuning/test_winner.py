"""Finals, the proposal, the table that launches read, and a recorded study played again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.cli.tune_view import show_study
from mohge.bench.records import Environment, Provenance, Run, RunWriter, TuningRecord, load_run
from mohge.bench.tuning import H200, Outcome, Result, StudyTask, apply_rows, load_tunable, proposed_rows, table_diff
from mohge.bench.tuning.board import Board, Claim
from mohge.bench.tuning.campaign import Campaign, run_campaign
from mohge.bench.tuning.evaluate import WorkerEvaluator
from mohge.bench.tuning.finals import leaders, run_finals, winner_of
from mohge.bench.tuning.plans import Wanted, tasks_for
from mohge.bench.tuning.summary import tuning_record
from mohge.bench.workloads import Case, parse_routing
from mohge.kernels import tuned
from mohge.kernels.tunable import Value
from mohge.reference import LayerSpec

MakeTask = Callable[..., StudyTask]


class Told(WorkerEvaluator):
    """An evaluator that is told what each delay takes: the ratio, and the ends of its interval in finals."""

    def __init__(self, finals: Mapping[int, tuple[float, float, float]]) -> None:
        self._finals, self.asked = finals, 0  # and no worker at all

    def finals(self, candidates: Sequence[Mapping[str, Any]]) -> list[Result]:
        self.asked += 1
        results = []
        for values in candidates:
            ratio, low, high = self._finals[values["delay"]]
            case = {"ratio": ratio, "ratio_low": low, "ratio_high": high}
            results.append(Result(Outcome.COMPLETE, ratio=ratio, time_us=10 * ratio, cases=[case]))
        return results


@pytest.fixture
def played(make_task: MakeTask, tmp_path: Path) -> tuple[Board, StudyTask]:
    """A study whose trials have been run: 8 is the current configuration, 1 the best, 12 the worst."""
    task = make_task("PLAIN", finalists=2)
    board = Board(task, load_tunable(task.implementation), f"sqlite:///{tmp_path}/study.db")
    for delay, ratio in ((8, 1.0), (0, 0.9), (1, 0.8), (4, 0.95), (12, 1.5)):
        claim = board.claim({"delay": delay})
        assert isinstance(claim, Claim)
        board.finish(claim, Result(Outcome.COMPLETE, ratio=ratio, time_us=10 * ratio, energy_j=1 / ratio))
    return board, task


def test_the_best_and_the_current_one_go_to_the_finals_once(played) -> None:
    board, task = played
    evaluator = Told({0: (0.7, 0.6, 0.8), 1: (0.75, 0.7, 0.8), 8: (1.0, 1.0, 1.0)})
    finalists = run_finals(board, task, evaluator)
    assert [entry["values"]["delay"] for entry in finalists] == [0, 1, 8]
    assert run_finals(board, task, evaluator) == finalists
    assert evaluator.asked == 1, "after a kill they were timed again"
    record = tuning_record(board, task, finalists)
    assert record.winner is not None
    assert record.winner["values"] == {"delay": 0}
    assert record.pareto == [2, 1, 3, 0, 4]


def test_an_interval_that_reaches_one_keeps_what_there_is(played) -> None:
    board, task = played
    told = Told({0: (0.98, 0.93, 1.01), 1: (1.1, 1.0, 1.2), 8: (1.0, 1.0, 1.0)})
    winner, verdict = winner_of(run_finals(board, task, told), task)
    assert winner is None
    assert verdict.startswith("keep the current configuration")
    assert "0.980" in verdict
    assert "1.010" in verdict


@pytest.mark.parametrize(("ratio", "tied"), [(1.0, True), (0.998, True), (1.002, True), (0.98, False)])
def test_predictions_too_near_to_each_other_keep_what_there_is(
    played, ratio: float, tied: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    board, measured = played
    task = replace(measured, mode="predicted", machine=H200)

    class Predicted(Told):
        def finals(self, candidates: Sequence[Mapping[str, Any]]) -> list[Result]:
            ratios = {0: ratio, 1: 1.3, 8: 1.0}
            return [Result(Outcome.COMPLETE, ratio=ratios[one["delay"]], time_us=10.0) for one in candidates]

    record = tuning_record(board, task, run_finals(board, task, Predicted({})))
    number = next(one["number"] for one in record.finalists if one["values"] == {"delay": 0})
    assert (record.winner is None) == tied
    assert record.notes.get("tied", []) == ([number] if tied else [])
    assert ("cannot tell it from 1 of 2 finalists" in record.notes["verdict"]) == tied
    show_study(record)
    shown = capsys.readouterr()
    assert ("tied, predicted" in shown.out + shown.err) == tied


def test_a_measured_ratio_is_never_tied_by_the_limits_of_a_prediction(played) -> None:
    board, task = played
    told = Told({0: (0.998, 0.997, 0.999), 1: (1.1, 1.0, 1.2), 8: (1.0, 1.0, 1.0)})
    record = tuning_record(board, task, run_finals(board, task, told))
    assert record.winner is not None
    assert "tied" not in record.notes


def test_every_routing_must_gain(played) -> None:
    board, task = played
    cases = [{"ratio": 0.9, "ratio_low": 0.85, "ratio_high": 0.95}, {"ratio": 0.8, "ratio_low": 0.6, "ratio_high": 1.1}]

    class Uneven(Told):
        def finals(self, candidates: Sequence[Mapping[str, Any]]) -> list[Result]:
            return [Result(Outcome.COMPLETE, ratio=0.9, time_us=9.0, cases=cases) for _ in candidates]

    winner, _ = winner_of(run_finals(board, task, Uneven({})), task)
    assert winner is None


def test_failed_trials_lead_nothing() -> None:
    results: dict[int, tuple[dict[str, Value], Result]] = {
        0: ({"delay": 1}, Result(Outcome.CRASHED, "lost")),
        1: ({"delay": 2}, Result(Outcome.COMPLETE, ratio=0.5)),
        2: ({"delay": 2}, Result(Outcome.DUPLICATE, ratio=0.5)),
        3: ({"delay": 3}, Result(Outcome.COMPLETE, ratio=0.4)),
    }
    assert leaders(results, 5) == [3, 1]


def record_of(
    implementation: str, values: dict[str, Any], provenance: Provenance = Provenance.MEASURED, **notes: Any
) -> TuningRecord:
    spec = LayerSpec.preset("mohge-3b")
    case = Case(spec, 16384, parse_routing("uniform"), "float32", "cpu").to_record()
    return TuningRecord(
        implementation=implementation,
        provenance=provenance,
        gpu="cpu",
        spec_class=tuned.spec_class(spec),
        tokens=16384,
        routing_class="any",
        case=case,
        objective="time",
        winner={"number": 3, "values": values, "time_us": 12.5},
        notes={"dtype": "float32", **notes},
    )


def run_with(*records: TuningRecord) -> Run:
    return Run(["mohge"], "now", "", Environment(), tuning=list(records))


def test_changing_the_table_changes_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    triton, spec = load_tunable("triton"), LayerSpec.preset("mohge-3b")
    before = triton.current_values(spec, 16384 * spec.top_k, "float32")
    changed = {**before, "fc1_band": 2, "fc2_num_stages": 2}
    assert changed != before
    table = tmp_path / "tuned.json"
    rows = proposed_rows(run_with(record_of("triton", changed)), "runs/x/run.json")
    lines = apply_rows(rows, table)
    assert "  + fc1_band = 2" in lines
    monkeypatch.setenv(tuned.VARIABLE, str(table))
    tuned.forget()
    try:
        assert triton.current_values(spec, 16384 * spec.top_k, "float32") == changed
        assert triton.current_values(spec, 64 * spec.top_k, "float32") != changed
    finally:
        tuned.forget()
    assert tuned.read_table(table)[0].source == "runs/x/run.json"


def test_the_difference_names_what_changes_and_nothing_else(tmp_path: Path) -> None:
    table = tmp_path / "tuned.json"
    apply_rows(proposed_rows(run_with(record_of("fake", {"a": 1, "b": 2})), "one"), table)
    (row,) = proposed_rows(run_with(record_of("fake", {"a": 1, "b": 3})), "two")
    lines = table_diff([row], tuned.read_table(table))
    assert lines[1:] == ["  - b = 2", "  + b = 3"]
    apply_rows([row], table)
    assert [dict(known.values) for known in tuned.read_table(table)] == [{"a": 1, "b": 3}]
    assert table_diff([row], tuned.read_table(table)) == []


def test_predictions_enter_the_packages_own_table_only_when_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "tuned.json"
    tuned.write_table([], own)
    monkeypatch.setattr(tuned, "TABLE", own)
    record = record_of("fake", {"a": 1}, Provenance.PREDICTED, machine=H200.to_dict())
    rows = proposed_rows(run_with(replace(record, gpu=None)), "one")
    with pytest.raises(ValueError, match="expected measured winners, got predicted ones"):
        apply_rows(rows, own)
    assert tuned.read_table(own) == ()
    apply_rows(rows, own, allow_predicted=True)
    (row,) = tuned.read_table(own)
    assert (row.provenance, row.gpu) == ("predicted", "NVIDIA H200")
    apply_rows(rows, tmp_path / "other.json")


def test_nothing_is_proposed_without_a_winner_or_from_a_replay() -> None:
    kept = replace(record_of("fake", {"a": 1}), winner=None)
    replayed = record_of("fake", {"a": 1}, replayed="some/run.json#0")
    assert proposed_rows(run_with(kept, replayed), "one") == []


def test_a_recorded_study_replays_to_the_same_winner(played, tmp_path: Path) -> None:
    board, task = played
    finalists = run_finals(board, task, Told({0: (0.7, 0.6, 0.8), 1: (0.75, 0.7, 0.8), 8: (1.0, 1.0, 1.0)}))
    recorded = tuning_record(board, task, finalists)
    writer = RunWriter.create(tmp_path, "recorded", command=["mohge"], environment=Environment())
    writer.put_tuning(recorded)

    wanted = Wanted(task.implementation, task.spec, "1", device="cpu", replay=writer.folder, sampler="random", trials=5)
    (again,) = tasks_for(wanted)
    second = RunWriter.create(tmp_path, "replay", command=["mohge"], environment=Environment())
    (record,) = run_campaign(Campaign((again,), f"sqlite:///{tmp_path}/again.db"), second, lambda _: None)
    assert record.provenance is Provenance.SIMULATED
    assert str(writer.path) in record.notes["replayed"] or str(writer.folder) in record.notes["replayed"]
    assert "looked up" in record.objective
    assert record.winner is not None
    assert recorded.winner is not None
    assert record.winner["values"] == recorded.winner["values"]
    known = {trial["values"]["delay"]: trial["ratio"] for trial in recorded.trials}
    tried = [trial for trial in record.trials if trial["outcome"] == "complete"]
    assert {trial["values"]["delay"]: trial["ratio"] for trial in tried} == known
    assert proposed_rows(load_run(second.folder), "x") == []
    json.dumps(again.to_dict())


def test_a_study_grows_in_place_in_the_run_file(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "tune", command=["mohge"], environment=Environment())
    one, other = record_of("fake", {"a": 1}), replace(record_of("fake", {"a": 1}), study="other")
    for record in (one, other, replace(one, notes={"dtype": "float32", "verdict": "better"})):
        writer.put_tuning(record)
    assert [record.notes.get("verdict") for record in load_run(writer.folder).tuning] == ["better", None]


def test_triton_can_be_examined_and_predicted_as_it_is(tmp_path: Path) -> None:
    wanted = Wanted("triton", LayerSpec.preset("mohge-3b"), "1024", device="cpu", trials=1)
    (task,) = tasks_for(wanted)
    assert task.mode == "predicted"
    assert task.current == task.built_in
    with WorkerEvaluator(task, lambda _: None, tmp_path) as evaluator:
        result = evaluator.evaluate(task.current)
    assert result.outcome is Outcome.COMPLETE, result.reason
    assert result.ratio == 1.0
    assert [entry["name"] for entry in result.resources] == ["gate_up", "down"]
    assert all(entry["tensor_instructions"] for entry in result.resources)
    # The weights alone take 76 us to read, and no model may beat that.
    assert result.time_us is not None
    assert 76 < result.time_us < 1000
