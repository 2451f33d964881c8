"""How a trial ended, and what it found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from ...kernels.tunable import Tunable, Value
from ...reference import LayerSpec


class Outcome(StrEnum):
    """The `outcome` of a trial; Optuna's own state stands beside it.

    COMPLETE        correct and timed, or predicted
    INVALID         breaks a rule of the kernels; nothing was compiled
    PRUNED_STATIC   compiled, and its binary says it cannot be good; nothing was run
    INCORRECT       the gate rejected its output
    CRASHED, TIMEOUT, OUT_OF_MEMORY
                    took its process down or raised; did not end in time; did not fit
    DUPLICATE       the configuration of an earlier trial, whose result stands here too
    LOST            its process was killed or interrupted before it ended; the configuration is tried again
    NOT_RECORDED    replayed from a record that does not have it
    """

    COMPLETE = "complete"
    INVALID = "invalid"
    PRUNED_STATIC = "pruned_static"
    INCORRECT = "incorrect"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    DUPLICATE = "duplicate"
    LOST = "lost"
    NOT_RECORDED = "not_recorded"


# Optuna's state of each. A pruned trial tells the sampler that this corner is bad; a failed one tells it nothing.
STATES = {
    Outcome.COMPLETE: "COMPLETE",
    Outcome.INVALID: "PRUNED",
    Outcome.PRUNED_STATIC: "PRUNED",
    Outcome.INCORRECT: "FAIL",
    Outcome.CRASHED: "FAIL",
    Outcome.TIMEOUT: "FAIL",
    Outcome.OUT_OF_MEMORY: "FAIL",
    Outcome.LOST: "FAIL",
    Outcome.NOT_RECORDED: "PRUNED",
}
# Those that cost a compilation or more: what a study's number of trials counts.
COUNTED = frozenset(
    {
        Outcome.COMPLETE,
        Outcome.PRUNED_STATIC,
        Outcome.INCORRECT,
        Outcome.CRASHED,
        Outcome.TIMEOUT,
        Outcome.OUT_OF_MEMORY,
    }
)


@dataclass(frozen=True)
class Result:
    """What a trial found.

    ratio:     its time over that of the current configuration, timed in the same rounds (or predicted alike), in the
               case where it does worst; below 1 is faster
    time_us:   its time in that case
    energy_j:  energy of one call there
    seconds:   the trial took
    cases:     routing, routing_class, hot and cold times, ratio with its interval, what was checked, of each case
    resources: registers, spills, shared_bytes, tensor_instructions of each kernel, as compiled
    """

    outcome: Outcome
    reason: str = ""
    ratio: float | None = None
    time_us: float | None = None
    energy_j: float | None = None
    seconds: float = 0.0
    cases: list[dict[str, Any]] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "outcome": str(self.outcome)}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Result:
        """The inverse of `to_dict`; fields it does not know are skipped. Raises ValueError for an unknown outcome."""
        known = {name: table[name] for name in cls.__dataclass_fields__ if name in table}
        return cls(**{**known, "outcome": Outcome(table["outcome"])})


def key_of(values: Mapping[str, Value]) -> str:
    """One text for equal configurations, whatever the order of their parameters."""
    return json.dumps(dict(sorted(values.items())), separators=(",", ":"))


def without_idle(
    tunable: Tunable, values: Mapping[str, Value], spec: LayerSpec, dtype: str
) -> tuple[dict[str, Value], str | None]:
    """The values without those that mean nothing beside the others, and the rule they break, if any.

    A parameter means nothing when the configuration is as good without it (`Tunable.space`): two configurations that
    differ only there are one.
    """
    rule = tunable.check_values(values, spec, dtype)
    if rule is not None:
        return dict(values), rule
    kept = dict(values)
    for name in values:
        fewer = {other: value for other, value in kept.items() if other != name}
        if tunable.check_values(fewer, spec, dtype) is None:
            kept = fewer
    return kept, None
