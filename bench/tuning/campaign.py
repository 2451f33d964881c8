"""Studies one after another into a run file: trials, finals, record; resumed where a process was killed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..records import RunWriter, TuningRecord
from ..runner.process import Children, Event
from .board import Board
from .evaluate import Evaluator, make_evaluator
from .finals import run_finals
from .loop import start_helper, work
from .process import UnusableError
from .replay import ReplayEvaluator
from .summary import tuning_record
from .sweep import open_board
from .task import StudyTask, load_tunable

# The folder, in the run's, of the questions that all its workers put to the gate; it goes when the campaign ends.
QUESTIONS = "questions"
# How often the run file follows the storage, which has every trial at once.
_WRITE_S = 2.0
_LOOK_S = 0.2
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Campaign:
    """What a run of `mohge tune` is asked to do.

    url:     the storage, as `storage.storage_url` gives it
    workers: processes on this machine for each study
    compilers: further ones, for all of these together, that compile configurations before their turn
    minutes: for all studies together, None for no limit
    lock:    wait for the device before something is timed
    """

    tasks: tuple[StudyTask, ...]
    url: str
    workers: int = 1
    compilers: int = 0
    minutes: float | None = None
    lock: bool = True

    @property
    def compilers_each(self) -> int:
        """Compilers of one worker."""
        return -(-self.compilers // self.workers)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for the run file."""
        tasks = [task.to_dict() for task in self.tasks]
        return {**vars(self), "tasks": tasks}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Campaign:
        """The inverse of `to_dict`."""
        return cls(**{**table, "tasks": tuple(StudyTask.from_dict(task) for task in table["tasks"])})


def run_campaign(campaign: Campaign, writer: RunWriter, on_event: OnEvent) -> list[TuningRecord]:
    """Work on every study until it is done; the records, which are in the run file too.

    Events: begin (what is being done), study (its task begins), trial (with its result), done (with the record).
    """
    ends = None if campaign.minutes is None else time.monotonic() + campaign.minutes * 60
    records = []
    try:
        for place, task in enumerate(campaign.tasks):
            now = time.monotonic()
            until = float("inf") if ends is None else now + max(0.0, ends - now) / (len(campaign.tasks) - place)
            on_event({"event": "study", "task": task})
            record = _study(campaign, task, until, writer, on_event)
            records.append(record)
            on_event({"event": "done", "record": record})
    finally:
        shutil.rmtree(writer.folder / QUESTIONS, ignore_errors=True)
    return records


def _study(campaign: Campaign, task: StudyTask, until: float, writer: RunWriter, on_event: OnEvent) -> TuningRecord:
    board = open_board(task, load_tunable(task.implementation), campaign.url)
    written = [0.0]

    def note(event: Event) -> None:
        if event["event"] == "trial" and time.monotonic() - written[0] > _WRITE_S:
            writer.put_tuning(tuning_record(board, task))
            written[0] = time.monotonic()
        on_event(event)

    ended, finalists, children = "", None, Children()
    try:
        questions = writer.folder / QUESTIONS
        options: dict[str, Any] = {"lock": campaign.lock, "compilers": campaign.compilers_each}
        with make_evaluator(task, note, questions, children=children, **options) as evaluator:
            ended = _all_trials(campaign, task, board, evaluator, questions, children, until, note)
            on_event({"event": "begin", "what": "timing the best again"})
            finalists = run_finals(board, task, evaluator)
    except UnusableError as error:
        ended = str(error)
    finally:
        children.stop()
        with contextlib.suppress(ValueError):
            writer.put_tuning(tuning_record(board, task, ended=ended))
    record = tuning_record(board, task, finalists, ended=ended)
    writer.put_tuning(record)
    return record


def _all_trials(
    campaign: Campaign,
    task: StudyTask,
    board: Board,
    evaluator: Evaluator,
    questions: Path,
    children: Children,
    until: float,
    on_event: OnEvent,
) -> str:
    """Trials until the study is done here and in every other process; why it ended, in words."""
    seconds = None if until == float("inf") else max(0.0, until - time.monotonic())
    options: dict[str, Any] = {"lock": campaign.lock, "seconds": seconds, "compilers": campaign.compilers_each}
    helpers = [start_helper(task, campaign.url, questions, children, **options) for _ in range(campaign.workers - 1)]
    seeds = evaluator.configurations if isinstance(evaluator, ReplayEvaluator) else None
    while True:
        ended = work(board, task, evaluator, on_event, until=until, seeds=seeds)
        while board.running() and not board.recover():
            on_event({"event": "begin", "what": "waiting for the other workers' last trials"})
            time.sleep(_LOOK_S)
        if not board.recover() or time.monotonic() >= until:
            break
    for helper in helpers:
        helper.wait()
        if helper.returncode:
            line = (helper.stderr.read().strip().splitlines() or ["no message"])[-1]
            on_event({"event": "begin", "what": f"a helping worker ended early: {line}"})
        helper.stderr.close()
        children.end(helper)
    return ended
