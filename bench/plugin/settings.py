"""How a call is measured: the command line's defaults, under the marker's, under the call's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Settings of one measurement.

    device:      auto (a GPU where torch can use one), cpu, cuda or cuda:N
    cold:        flush the caches before every sample; otherwise each follows the same call, untimed
    seconds:     longest time, for all calls that are measured against each other together
    min_samples: per call;  max_samples: likewise
    target:      half width of the median's 95 % interval, as a share of the median, that is narrow enough
    warmup:      seconds each call runs untimed before
    timer:       the way to time in a word (auto, cpu, events, graph, cupti), a `mohge.bench.timing.Timer` to use, or a
                 function that makes one for a device
    """

    device: str = "auto"
    cold: bool = False
    seconds: float = 2.0
    min_samples: int = 10
    max_samples: int = 1000
    target: float = 0.01
    warmup: float = 0.1
    timer: Any = "auto"

    def updated(self, given: Mapping[str, Any], where: str) -> Settings:
        """With what is given; None leaves a setting as it is. Raises ValueError naming `where` for an unknown one."""
        for name in given:
            if name not in NAMES:
                raise ValueError(f"{where}: expected settings out of {', '.join(NAMES)}, got {name!r}")
        return replace(self, **{name: value for name, value in given.items() if value is not None})


NAMES = tuple(item.name for item in fields(Settings))
