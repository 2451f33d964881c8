"""A configuration that is tried: what became of it, and its figures beside those of the current one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...kernels.tunable import Value
from ..records import Clocks, Samples, Status
from ..records.codec import plain
from ..timing import counted_pairs, ratio_interval
from .outcome import Outcome, Result

OUTCOMES = {
    Status.PASSED: Outcome.COMPLETE,
    Status.INCORRECT: Outcome.INCORRECT,
    Status.OUT_OF_MEMORY: Outcome.OUT_OF_MEMORY,
}


@dataclass
class Candidate:
    """A configuration being tried: what became of it, and its figures case by case."""

    values: dict[str, Value]
    status: Status = Status.PASSED
    reason: str = ""
    cases: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, status: Status, reason: str) -> None:
        """It is out; the first reason stands."""
        if self.status is Status.PASSED:
            self.status, self.reason = status, reason

    def result(self) -> Result:
        """The result, from the case where it does worst against the current configuration."""
        if self.status is not Status.PASSED:
            return Result(OUTCOMES.get(self.status, Outcome.CRASHED), self.reason, cases=self.cases)
        worst = max(self.cases, key=lambda entry: entry["ratio"])
        energy = worst.get("energy_j")
        said = "; ".join(f"{entry['routing']}: {entry['held_back']}" for entry in self.cases if entry["held_back"])
        return Result(Outcome.COMPLETE, said, worst["ratio"], worst["time_us"], energy, cases=self.cases)


def clock_facts(name: str, clocks: Clocks | None) -> dict[str, Any]:
    """The clocks as plain data; the rule, which is the same for all trials, stands in the study's notes."""
    if clocks is None:
        return {}
    return {name: {key: value for key, value in plain(clocks).items() if key != "rule"}}


def figures(mine: Mapping[str, Samples], current: Mapping[str, Samples], counts: str) -> dict[str, Any]:
    """The figures of one case: times with their intervals, and the ratio of those that count with its own."""
    ratio = ratio_interval(*counted_pairs(mine[counts], current[counts]))
    times = {
        kind: {
            "median_us": samples.median_us,
            "low_us": samples.low_us,
            "high_us": samples.high_us,
            "samples": len(samples.samples_us),
            "suspects": len(samples.suspects),
            "method": samples.method,
            "stop": samples.stop,
        }
        for kind, samples in mine.items()
    }
    return {
        **times,
        "counts": counts,
        "time_us": mine[counts].median_us,
        "current_us": current[counts].median_us,
        "ratio": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
    }
