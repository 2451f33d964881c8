"""Compiling before the turn: what is begun, what is given back, and that a compiler's crash costs its own trial."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from mohge.bench.records import RunWriter, collect_environment
from mohge.bench.tuning import Outcome, Result, StudyTask, load_tunable
from mohge.bench.tuning.ahead import Examiners
from mohge.bench.tuning.campaign import Campaign, run_campaign
from mohge.bench.tuning.loop import work
from mohge.bench.tuning.outcome import key_of
from mohge.bench.tuning.plans import compilers_for
from mohge.bench.tuning.sweep import open_board, sweep_in

MakeTask = Callable[..., StudyTask]


class Looking:
    """An evaluator that begins `ahead` configurations before their turn, and notes what it is told."""

    def __init__(self, ahead: int, ends: Callable[[int], bool] = lambda _: False) -> None:
        self.ahead, self._ends = ahead, ends
        self.told: list[tuple[str, Any]] = []

    def begin(self, values: Mapping[str, Any]) -> None:
        self.told.append(("begin", values["delay"]))

    def evaluate(self, values: Mapping[str, Any]) -> Result:
        self.told.append(("evaluate", values["delay"]))
        tried = sum(what == "evaluate" for what, _ in self.told)
        if self._ends(tried):
            raise KeyboardInterrupt
        return Result(Outcome.COMPLETE, ratio=1.0, time_us=1.0)

    def finals(self, candidates: Sequence[Mapping[str, Any]]) -> list[Result]:
        return [self.evaluate(values) for values in candidates]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def storages(folder: Path) -> dict[str, str]:
    return {"sweep": sweep_in(folder), "grid": f"sqlite:///{folder}/study.db"}


@pytest.mark.parametrize("sampler", ["sweep", "grid"])
def test_configurations_are_begun_in_the_order_of_their_turns(
    make_task: MakeTask, tmp_path: Path, sampler: str
) -> None:
    task = make_task("PLAIN", mode="predicted", sampler=sampler)
    board = open_board(task, load_tunable(task.implementation), storages(tmp_path)[sampler])
    evaluator = Looking(2)
    work(board, task, evaluator, lambda _: None)
    begun = [delay for what, delay in evaluator.told if what == "begin"]
    assert begun == [delay for what, delay in evaluator.told if what == "evaluate"]
    assert sorted(begun) == [0, 1, 4, 8, 12]
    assert [what for what, _ in evaluator.told[:4]] == ["begin", "begin", "begin", "evaluate"]


@pytest.mark.parametrize("sampler", ["sweep", "grid"])
def test_no_more_are_begun_than_will_be_tried(make_task: MakeTask, tmp_path: Path, sampler: str) -> None:
    task = make_task("PLAIN", mode="predicted", sampler=sampler, trials=3)
    board = open_board(task, load_tunable(task.implementation), storages(tmp_path)[sampler])
    evaluator = Looking(4)
    assert work(board, task, evaluator, lambda _: None) == "3 configurations were tried"
    assert sum(what == "begin" for what, _ in evaluator.told) == 3


@pytest.mark.parametrize("sampler", ["sweep", "grid"])
def test_what_was_begun_and_not_tried_is_left_to_whoever_goes_on(
    make_task: MakeTask, tmp_path: Path, sampler: str
) -> None:
    task = make_task("PLAIN", mode="predicted", sampler=sampler)
    url, tunable = storages(tmp_path)[sampler], load_tunable(task.implementation)
    first = Looking(2, ends=lambda tried: tried == 2)
    with pytest.raises(KeyboardInterrupt):
        work(open_board(task, tunable, url), task, first, lambda _: None)
    board, second = open_board(task, tunable, url), Looking(2)
    work(board, task, second, lambda _: None)
    complete = [values["delay"] for values, found in board.results().values() if found.outcome is Outcome.COMPLETE]
    assert sorted(complete) == [0, 1, 4, 8, 12]
    assert not board.running()


def test_nothing_is_begun_when_the_time_is_up(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task("PLAIN", mode="predicted", sampler="sweep")
    board, evaluator = open_board(task, load_tunable(task.implementation), sweep_in(tmp_path)), Looking(2)
    assert work(board, task, evaluator, lambda _: None, until=time.monotonic()) == "the time is up"
    assert evaluator.told == []
    assert board.trials() == []


class Compiler:
    """In the place of a process: examined in the pool's threads, until `killed`."""

    def __init__(self) -> None:
        self.killed, self.over = threading.Event(), False

    def kill(self) -> None:
        self.killed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True


def test_examiners_replace_a_process_that_dies_and_kill_what_nobody_waits_for() -> None:
    made: list[Compiler] = []

    def start() -> Any:
        made.append(Compiler())
        return made[-1]

    def examine(process: Any, values: dict[str, Any]) -> str:
        if values["what"] == "hangs":
            assert process.killed.wait(60)
        if values["what"] in ("dies", "hangs"):
            raise OSError(values["what"])
        return key_of(values)

    with Examiners(1, start, examine) as examiners:
        for what in ("good", "dies", "better", "hangs", "never"):
            examiners.begin({"what": what})
        assert examiners.found({"what": "good"}) == '{"what":"good"}'
        with pytest.raises(OSError, match="dies"):
            examiners.found({"what": "dies"})
        assert examiners.found({"what": "better"}) == '{"what":"better"}'
    assert len(made) == 2
    assert all(process.over for process in made)


@pytest.mark.parametrize("mode", ["measured", "predicted"])
def test_a_study_with_compilers_finds_what_one_without_does(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("FAKE_TUNABLES_COMPILERS", str(tmp_path / "compilers"))
    task = make_task("CRASHING", mode=mode, sampler="sweep", finalists=1)
    writer = RunWriter.create(tmp_path, "tune", command=["mohge"], environment=collect_environment("cpu"))
    with writer:
        campaign = Campaign((task,), sweep_in(writer.folder), compilers=2)
        (record,) = run_campaign(Campaign.from_dict(campaign.to_dict()), writer, lambda _: None)
    found = {(trial["values"]["delay"], trial["values"]["binary"]): trial["outcome"] for trial in record.trials}
    assert found == {(delay, binary): OUTCOMES[binary] for delay in (0, 4, 8) for binary in OUTCOMES}
    assert record.winner is not None
    assert record.winner["values"] == {"delay": 0, "binary": "good"}
    by = set((tmp_path / "compilers").read_text(encoding="utf-8").splitlines())
    assert len(by) >= 2
    assert str(os.getpid()) not in by


OUTCOMES = {"good": "complete", "dies": "crashed"}


def test_only_where_a_gpu_is_timed_on_cores_are_taken_unasked(make_task: MakeTask) -> None:
    assert compilers_for(make_task("PLAIN")) == 0
    assert compilers_for(make_task("PLAIN", mode="predicted")) == 0
    assert compilers_for(replace(make_task("PLAIN"), device="cuda:1")) > 0
    assert compilers_for(replace(make_task("PLAIN", mode="predicted"), device="cuda")) == 0
