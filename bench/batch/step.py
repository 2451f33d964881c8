"""One step of a part: a command, what it should take, and what it may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

MODULE = "module:"
Command = Callable[[float, str], list[str]]


@dataclass(frozen=True)
class Step:
    """A command that is given a time.

    name:     also the name of its log and of its folder
    command:  from the seconds it is granted and its own folder to the command line
    estimate: seconds it should take;  least: with fewer left it is not begun;  most: it never gets more
    needs:    a program, or "module:NAME" of Python, without which it is left out, said in the summary
    answers:  exit codes that are an answer and no failure, with what they mean
    environment: variables set for it
    """

    name: str
    command: Command
    estimate: float
    least: float = 10.0
    most: float = 300.0
    needs: str = ""
    answers: dict[int, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def granted(self, left: float, later: Sequence[Step]) -> float:
        """Seconds out of `left`: all that the estimates of the later steps do not claim, and at least its own estimate
        where there is so much. So what one step did not need is the next one's, and the first come first.
        """
        spare = left - sum(step.estimate for step in later)
        return max(0.0, min(self.most, left, max(spare, self.estimate)))


def planned(steps: Sequence[Step], budget: float) -> list[float]:
    """Seconds each step would be granted if every one before took its estimate; 0 for one that would not be begun."""
    left, grants = budget, []
    for number, step in enumerate(steps):
        grant = step.granted(left, steps[number + 1 :])
        grants.append(grant if grant >= step.least else 0.0)
        left -= min(step.estimate, grants[-1])
    return grants
