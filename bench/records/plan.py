"""What a run was asked to do, so that it can go on after a kill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Plan:
    """device: as asked for (cpu, cuda, cuda:1);  jobs: in order, as `runner.jobs.Job` writes itself, paths absolute;
    compiled: implementations whose kernels are compiled ahead of time;  traces: SHA-256 of each trace, by its path.
    """

    device: str
    jobs: list[dict[str, Any]] = field(default_factory=list)
    compiled: list[str] = field(default_factory=list)
    traces: dict[str, str] = field(default_factory=dict)
