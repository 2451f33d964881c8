"""Who tries what: no configuration twice, nothing of a killed process lost, whatever the storage."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mohge.bench.tuning import Outcome, Result, StudyTask, load_tunable
from mohge.bench.tuning.board import Board, Claim
from mohge.bench.tuning.presence import me

MakeTask = Callable[..., StudyTask]
DONE = Result(Outcome.COMPLETE, ratio=0.5, time_us=7.0)


@pytest.fixture
def open_board(make_task: MakeTask, url: str) -> Callable[..., Board]:
    def open_board(name: str = "PLAIN", **changes: Any) -> Board:
        task = make_task(name, **changes)
        return Board(task, load_tunable(task.implementation), url)

    return open_board


def claimed(claim: Claim | Result) -> Claim:
    assert isinstance(claim, Claim), claim
    return claim


def dead_worker() -> dict[str, Any]:
    """What `me` would say in a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return {**me(), "pid": ended.pid, "born": "1"}


def leave_dead(board: Board, claim: Claim) -> None:
    """Make it look as if the process that claims had been killed."""
    claim._trial.set_user_attr("worker", dead_worker())


def test_a_configuration_is_tried_once_and_the_sampler_told_twice(open_board) -> None:
    one, other = open_board(), open_board()
    assert one.finish(claimed(one.claim({"delay": 4})), DONE) == DONE
    again = other.claim({"delay": 4})
    assert isinstance(again, Result)
    assert (again.outcome, again.ratio, again.reason) == (Outcome.DUPLICATE, 0.5, "the configuration of trial 0")
    assert [trial.value for trial in other.trials()] == [0.5, 0.5]


def test_what_another_process_is_trying_is_not_tried_too(open_board) -> None:
    one, other = open_board(), open_board()
    first = claimed(one.claim({"delay": 4}))
    assert isinstance(other.claim({"delay": 4}), Result)
    assert other.counted() == 1
    one.finish(first, DONE)
    assert [trial.state.name for trial in one.trials()] == ["COMPLETE", "FAIL"]


def test_parameters_that_mean_nothing_do_not_make_two_configurations(open_board) -> None:
    board = open_board("FAULTY")
    claim = claimed(board.claim({"delay": 0, "fault": "none", "idle": 1}))
    assert claim.values == {"delay": 0, "fault": "none"}
    assert isinstance(board.claim({"delay": 0, "fault": "none", "idle": 0}), Result)


def test_a_broken_rule_is_a_pruned_trial_with_the_rule(open_board) -> None:
    board = open_board()
    result = board.claim({"delay": 13})
    assert isinstance(result, Result)
    assert (result.outcome, result.reason) == (Outcome.INVALID, "delay: expected no 13")
    assert board.trials()[0].state.name == "PRUNED"
    assert board.trials()[0].user_attrs["outcome"] == "invalid"
    assert board.counted() == 0


def test_a_killed_trial_is_free_again_and_the_finished_one_is_not(open_board) -> None:
    board = open_board()
    board.finish(claimed(board.claim({"delay": 0})), DONE)
    leave_dead(board, claimed(board.claim({"delay": 4})))
    other = open_board()
    assert other.recover() == [{"delay": 4}]
    assert claimed(other.claim({"delay": 4}, "again")).number == 2
    assert other.recover() == []
    states = [(trial.state.name, trial.user_attrs.get("outcome")) for trial in other.trials()]
    assert states == [("COMPLETE", "complete"), ("FAIL", "lost"), ("RUNNING", None)]


def test_a_duplicate_does_not_keep_a_lost_configuration_from_being_tried(open_board) -> None:
    one, other = open_board(), open_board()
    lost = claimed(one.claim({"delay": 4}))
    assert isinstance(other.claim({"delay": 4}), Result)
    leave_dead(one, lost)
    assert other.recover() == [{"delay": 4}]


def test_a_result_written_before_the_kill_is_told_after_it(open_board) -> None:
    board = open_board()
    claim = claimed(board.claim({"delay": 4}))
    claim._trial.set_user_attr("result", DONE.to_dict())
    leave_dead(board, claim)
    assert open_board().recover() == []
    (trial,) = board.trials()
    assert (trial.state.name, trial.value) == ("COMPLETE", 0.5)
    assert board.results() == {0: ({"delay": 4}, DONE)}


def test_the_trial_of_a_live_process_is_left_alone(open_board) -> None:
    board = open_board()
    claimed(board.claim({"delay": 4}))
    assert open_board().recover() == []
    assert board.running()


def test_the_grid_ends_when_everything_was_suggested(open_board) -> None:
    board = open_board()
    seen = Counter()
    while not board.exhausted():
        claim = board.claim()
        if isinstance(claim, Claim):
            seen[claim.values["delay"]] += 1
            board.finish(claim, DONE)
    assert seen == dict.fromkeys((0, 1, 4, 8, 12), 1)


def test_energy_makes_two_objectives(open_board) -> None:
    board = open_board(energy=True, sampler="nsga2")
    board.finish(claimed(board.claim({"delay": 0})), Result(Outcome.COMPLETE, ratio=0.5, energy_j=2.0))
    board.finish(claimed(board.claim({"delay": 1})), Result(Outcome.COMPLETE, ratio=0.7))
    assert [(trial.state.name, trial.values) for trial in board.trials()] == [("COMPLETE", [0.5, 2.0]), ("FAIL", None)]
    assert isinstance(board.claim(), Claim | Result)
