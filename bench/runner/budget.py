"""Seconds for timing, shared by the cases of a job: what quick cases do not need, slow ones have."""

from __future__ import annotations

from dataclasses import dataclass

# Rounds after which an interval says something; a case gets the seconds for so many where they can be had. With 20
# the four cases of mohge-3b on a CPU had 20, 12, 20 and 6 rounds, the last of them the one that the answer is about.
ENOUGH_ROUNDS = 10
# Of an equal share, what every measurement may take however quick its rounds are.
LEAST_SHARE = 0.6


@dataclass
class Budget:
    """What is left for the measurements to come.

    share:   seconds each would have if all had the same
    turns:   measurements to come;  seconds: for all of them together
    """

    share: float
    turns: int
    seconds: float

    @classmethod
    def of(cls, share: float, turns: int) -> Budget:
        """Of `share` seconds for each of `turns` measurements."""
        return cls(share, turns, share * turns)

    def allot(self, round_s: float) -> float:
        """Seconds for the next measurement, whose first round took `round_s`: for ENOUGH_ROUNDS such rounds, but at
        most an equal share of what is left, and at least LEAST_SHARE of what was an equal share at first.
        """
        return max(LEAST_SHARE * self.share, min(ENOUGH_ROUNDS * round_s, self.seconds / self.turns))

    def spend(self, seconds: float) -> None:
        """A measurement has taken so long: one less is to come."""
        self.turns -= 1
        self.seconds -= seconds
