"""Working on a study until it is done; any number of processes may do so at once."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...kernels.tunable import Value
from ..runner.process import Children, Event, die_with_parent
from .board import Board, Claim
from .evaluate import Evaluator, make_evaluator
from .outcome import COUNTED, Outcome, Result, key_of
from .sweep import open_board
from .task import StudyTask, load_tunable

HELPER = (sys.executable, "-m", "mohge.bench.tuning.loop")
# After this many suggestions in a row that nothing came of, random ones are asked for; after the second, it is over.
SPREAD_AFTER, GIVE_UP_AFTER = 20, 400


def work(
    board: Board,
    task: StudyTask,
    evaluator: Evaluator,
    on_event: Callable[[Event], None],
    *,
    until: float = float("inf"),
    seeds: list[dict[str, Value]] | None = None,
) -> str:
    """Try configurations until the study has its number of trials, its space is used up, the sampler finds nothing
    new, or the monotonic clock reads `until`. Why it ended, in words.

    The current and the built-in configuration come first, then `seeds`, then what a killed process left unfinished.
    """
    first = [
        ("current", dict(task.current)),
        ("built-in", dict(task.built_in)),
        *(("seed", one) for one in seeds or []),
    ]
    idle = 0
    while True:
        if time.monotonic() >= until:
            return "the time is up"
        lost = board.recover()
        if not lost and not first and board.counted() >= task.trials:
            return f"{task.trials} configurations were tried"
        if lost:
            claim = board.claim(lost[0], "again")
        elif first:
            origin, values = first.pop(0)
            if _known(board, values):
                continue
            claim = board.claim(values, origin)
        elif board.exhausted():
            return "every combination of the choices was tried"
        elif idle >= GIVE_UP_AFTER:
            return f"nothing new in {GIVE_UP_AFTER} suggestions"
        else:
            claim = board.claim(spread=idle >= SPREAD_AFTER)
        result = _tried(board, claim, evaluator, on_event) if isinstance(claim, Claim) else claim
        idle = 0 if result.outcome in COUNTED else idle + 1
        on_event({"event": "trial", "result": result})


def _known(board: Board, values: Mapping[str, Value]) -> bool:
    """Whether a configuration has been tried, so that resuming does not add a duplicate each time."""
    key = key_of(values)
    tried = {key_of(known): result for known, result in board.results().values()}
    return key in tried and tried[key].outcome is not Outcome.LOST


def _tried(board: Board, claim: Claim, evaluator: Evaluator, on_event: Callable[[Event], None]) -> Result:
    on_event({"event": "begin", "what": f"trial {claim.number}"})
    try:
        with claim.beating():
            result = evaluator.evaluate(claim.values)
    except BaseException as error:  # interrupted, or nothing can be tried here: the configuration is free again
        board.finish(claim, Result(Outcome.LOST, f"not ended: {error or type(error).__name__}"))
        raise
    return board.finish(claim, result)


def start_helper(
    task: StudyTask, url: str, questions: Path, children: Children, *, lock: bool, seconds: float | None
) -> Any:
    """Start another process that works on the same study until it is done, and ends with this one."""
    import subprocess

    process = children.start(HELPER, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stdin is not None
    request = {"task": task.to_dict(), "url": url, "questions": str(questions), "lock": lock, "seconds": seconds}
    process.stdin.write(json.dumps(request))
    process.stdin.close()
    return process


def main() -> None:
    """Be a helper: read what to work on, work, end."""
    die_with_parent()
    request = json.load(sys.stdin)
    task = StudyTask.from_dict(request["task"])
    board = open_board(task, load_tunable(task.implementation), request["url"])
    until = float("inf") if request["seconds"] is None else time.monotonic() + request["seconds"]
    with make_evaluator(task, lambda _: None, Path(request["questions"]), lock=request["lock"]) as evaluator:
        work(board, task, evaluator, lambda _: None, until=until)


if __name__ == "__main__":
    main()
