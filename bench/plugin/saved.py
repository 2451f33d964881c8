"""What a saved benchmark is called and what it says of its times: the same in pytest and in an exported run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..records import Samples
from ..records.codec import plain
from ..timing import counting


@dataclass(frozen=True)
class Named:
    """A test of the suite by pytest-benchmark's names. params: by argument name, in the order of the test's id."""

    file: str
    function: str
    params: dict[str, str]

    @property
    def param(self) -> str:
        """The part of the id in brackets."""
        return "-".join(self.params.values())

    @property
    def name(self) -> str:
        """The test with its parameters."""
        return f"{self.function}[{self.param}]"

    @property
    def fullname(self) -> str:
        """The same with its file, as pytest writes it inside the suite."""
        return f"{self.file}::{self.name}"

    @property
    def group(self) -> str:
        """What its rivals share."""
        return group_name(self.function, self.params)


def group_name(function: str, params: dict[str, str]) -> str:
    """The group of a test: the function, and what is measured apart from the case; last the case itself."""
    parts = [params.get(name) for name in ("phase", "operation", "case")]
    return " ".join(part for part in (function.removeprefix("test_"), *parts) if part)


def case_name(spec: str, tokens: int | None, routing: str | None, dtype: str | None) -> str:
    """A case in a test's id: what tells cases of one grid apart, in words without spaces."""
    plain_routing = (routing or "").replace("/", "_").replace(":", "-")
    return f"{spec.replace('/', '_')}-{tokens}tokens-{plain_routing}-{dtype}"


def counted(samples: Samples) -> list[float]:
    """The samples, in microseconds, that their median is of."""
    return [samples.samples_us[place] for place in counting(len(samples.samples_us), samples.suspects)]


def description(samples: Samples, device: str, *, cold: bool) -> dict[str, Any]:
    """How the times were taken, and what they are; an interval that there is none of is null."""
    return plain(
        {
            "device": device,
            "caches": "cold" if cold else "hot",
            "method": samples.method,
            "timer": samples.timer,
            "stop": samples.stop,
            "median_us": samples.median_us,
            "low_us": samples.low_us,
            "high_us": samples.high_us,
            "suspects": len(samples.suspects),
            "provenance": "measured",
        }
    )
