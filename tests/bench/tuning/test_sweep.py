"""Sweeping without Optuna: every valid combination once, kept and gone on with, in the record of any other study."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mohge.bench.records import RunWriter, collect_environment, load_run
from mohge.bench.tuning import StudyTask, load_tunable
from mohge.bench.tuning.campaign import Campaign, run_campaign
from mohge.bench.tuning.outcome import Outcome, Result
from mohge.bench.tuning.sweep import SweepBoard, sweep_in


def complete(ratio: float) -> Result:
    return Result(Outcome.COMPLETE, ratio=ratio, time_us=10 * ratio)


def test_every_valid_combination_is_tried_once(make_task: Callable[..., StudyTask], tmp_path: Path) -> None:
    task = make_task("FAULTY", mode="predicted", sampler="sweep")
    board = SweepBoard(task, load_tunable(task.implementation), tmp_path / "sweep.jsonl")
    tried = []
    while not board.exhausted():
        claim = board.claim()
        tried.append(claim.values)  # type: ignore[union-attr]
        board.finish(claim, complete(1.0))  # type: ignore[arg-type]
    # A delay of 13 breaks a rule and "idle" means nothing: six faults are left.
    assert sorted(str(one["fault"]) for one in tried) == ["crash", "hang", "memory", "none", "raise", "wrong"]
    assert all(one["delay"] == 0 and "idle" not in one for one in tried)
    assert board.counted() == 6


def test_a_killed_sweep_goes_on(make_task: Callable[..., StudyTask], tmp_path: Path) -> None:
    task, path = make_task("PLAIN", mode="predicted", sampler="sweep"), tmp_path / "sweep.jsonl"
    board = SweepBoard(task, load_tunable(task.implementation), path)
    first = board.claim()
    board.finish(first, complete(0.5))  # type: ignore[arg-type]
    board.claim()  # at which it is killed
    path.write_bytes(path.read_bytes() + b'{"study": "cut sho')
    again = SweepBoard(task, load_tunable(task.implementation), path)
    assert [result.ratio for _, result in again.results().values()] == [0.5]
    again.note("finals", {"numbers": [0]})
    rest = []
    while not again.exhausted():
        claim = again.claim()
        rest.append(claim.values["delay"])  # type: ignore[union-attr]
        again.finish(claim, complete(1.0))  # type: ignore[arg-type]
    assert sorted([first.values["delay"], *rest]) == [0, 1, 4, 8, 12]  # type: ignore[union-attr]
    third = SweepBoard(task, load_tunable(task.implementation), path)
    assert third.exhausted()
    assert third.noted("finals") == {"numbers": [0]}


def test_another_file_is_refused(make_task: Callable[..., StudyTask], tmp_path: Path) -> None:
    task, path = make_task("PLAIN", mode="predicted"), tmp_path / "other.jsonl"
    path.write_text(json.dumps({"name": 1}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected the trials of a sweep"):
        SweepBoard(task, load_tunable(task.implementation), path)


def test_a_campaign_without_optuna_gives_the_same_record(
    make_task: Callable[..., StudyTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    task = make_task("PLAIN", mode="predicted", sampler="sweep", trials=9, finalists=2)
    environment = collect_environment("cpu")
    writer = RunWriter.create(tmp_path, "tune", command=[], environment=environment, git=None, source_hash="")
    with writer:
        run_campaign(Campaign((task,), sweep_in(writer.folder)), writer, lambda _: None)
    (record,) = load_run(writer.path).tuning
    assert record.trials[0]["values"]["delay"] == 8
    assert sorted(trial["values"]["delay"] for trial in record.trials) == [0, 1, 4, 8, 12]
    assert {trial["state"] for trial in record.trials} == {"COMPLETE"}
    assert record.winner is not None
    assert record.winner["values"]["delay"] == 0
