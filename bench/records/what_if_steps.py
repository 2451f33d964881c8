"""Single steps of a what-if study in full: too large to keep of every scenario, kept of the few that are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .provenance import Provenance


@dataclass(frozen=True)
class StepRecord:
    """One scenario's step. P ranks.

    number, id:    of its `WhatIfRecord`;  baseline: whether it is the study's baseline policy
    rows, work, compute_s, memory: of each rank: rows, FLOPs, seconds of its experts, bytes of these and the buffer
    bound:         no placement has more even work on the loads it is scored on; None where ranks differ in speed
    straggler:     the rank that computes longest;  nodes: of equally many ranks
    bytes_matrix:  bytes from rank to rank, dispatch and combine together, [P][P], line = sender
    intervals:     what each rank does when: [rank, phase, part of the batch, from, to], seconds into the step
    """

    number: int
    id: str
    provenance: Provenance
    baseline: bool
    rows: list[float]
    work: list[float]
    compute_s: list[float]
    memory: list[float]
    straggler: int
    nodes: int
    bytes_matrix: list[list[float]]
    intervals: list[list[Any]]
    bound: float | None = None
