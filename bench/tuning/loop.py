"""Working on a study until it is done; any number of processes may do so at once."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from ...kernels.tunable import Value
from ..runner.process import Children, Event, die_with_parent
from .board import Board, Claim
from .evaluate import Evaluator, make_evaluator
from .outcome import COUNTED, Outcome, Result, key_of
from .presence import Beating
from .sweep import open_board
from .task import StudyTask, load_tunable

HELPER = (sys.executable, "-m", "mohge.bench.tuning.loop")
# After this many suggestions in a row that nothing came of, random ones are asked for; after the second, it is over.
SPREAD_AFTER, GIVE_UP_AFTER = 20, 400
_TIME_IS_UP = "the time is up"


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
    Configurations are claimed, and begun, as long before their turn as the evaluator says it is of use; those whose
    turn does not come are given back.
    """
    choice = _Choice(board, task, seeds or [])
    with _Claimed(board) as claimed:
        while time.monotonic() < until:
            ended = ""
            while not ended and len(claimed) <= evaluator.ahead:
                found = choice.next()
                if isinstance(found, Claim):
                    claimed.add(found)
                    evaluator.begin(found.values)
                elif isinstance(found, Result):
                    choice.ended(found)
                    on_event({"event": "trial", "result": found})
                else:
                    ended = found
                if time.monotonic() >= until:
                    return _TIME_IS_UP
            if not len(claimed):
                return ended
            result = claimed.try_first(evaluator, on_event)
            choice.ended(result)
            on_event({"event": "trial", "result": result})
    return _TIME_IS_UP


class _Choice:
    """What to try next: a claim, the result of one that need not be tried, or why there is nothing more, in words."""

    def __init__(self, board: Board, task: StudyTask, seeds: list[dict[str, Value]]) -> None:
        self._board, self._task, self._idle = board, task, 0
        self._first = [
            ("current", dict(task.current)),
            ("built-in", dict(task.built_in)),
            *(("seed", one) for one in seeds),
        ]

    def next(self) -> Claim | Result | str:
        board = self._board
        lost = board.recover()
        if lost:
            return board.claim(lost[0], "again")
        while self._first:
            origin, values = self._first.pop(0)
            if key_of(values) not in board.taken():  # or resuming would add a duplicate each time
                return board.claim(values, origin)
        if board.counted() >= self._task.trials:
            return f"{self._task.trials} configurations were tried"
        if board.exhausted():
            return "every combination of the choices was tried"
        if self._idle >= GIVE_UP_AFTER:
            return f"nothing new in {GIVE_UP_AFTER} suggestions"
        return board.claim(spread=self._idle >= SPREAD_AFTER)

    def ended(self, result: Result) -> None:
        """A claim has come to this."""
        self._idle = 0 if result.outcome in COUNTED else self._idle + 1


class _Claimed:
    """Claims in their order, beating until they are tried; those left when the block ends are given back."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._claims: deque[tuple[Claim, Beating]] = deque()

    def __len__(self) -> int:
        return len(self._claims)

    def add(self, claim: Claim) -> None:
        self._claims.append((claim, claim.beating().__enter__()))

    def try_first(self, evaluator: Evaluator, on_event: Callable[[Event], None]) -> Result:
        claim, beating = self._claims.popleft()
        on_event({"event": "begin", "what": f"trial {claim.number}"})
        try:
            result = evaluator.evaluate(claim.values)
        except BaseException as error:  # interrupted, or nothing can be tried here: the configuration is free again
            self._board.finish(claim, Result(Outcome.LOST, f"not ended: {error or type(error).__name__}"))
            raise
        finally:
            beating.__exit__(None, None, None)
        return self._board.finish(claim, result)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for claim, beating in self._claims:
            beating.__exit__(None, None, None)
            self._board.give_back(claim)


def start_helper(
    task: StudyTask,
    url: str,
    questions: Path,
    children: Children,
    *,
    lock: bool,
    seconds: float | None,
    compilers: int = 0,
) -> Any:
    """Start another process that works on the same study until it is done, and ends with this one."""
    import subprocess

    process = children.start(HELPER, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stdin is not None
    request = {"task": task.to_dict(), "url": url, "questions": str(questions), "lock": lock, "seconds": seconds}
    request["compilers"] = compilers
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
    options = {"lock": request["lock"], "compilers": request["compilers"]}
    with make_evaluator(task, lambda _: None, Path(request["questions"]), **options) as evaluator:
        work(board, task, evaluator, lambda _: None, until=until)


if __name__ == "__main__":
    main()
