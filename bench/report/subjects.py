"""What a run is about: the question on top of its page, the sentence that answers it, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass

from ..records import Run
from .readings_what_if import what_if_verdict
from .scenarios import is_only_what_if
from .sections_placement import is_only_placing, placing_verdict
from .studies import is_only_tuning, tuning_verdict
from .verdict import Verdict, verdict

QUESTION = (
    "Which implementation of the heterogeneous grouped expert FFN is fastest on this machine, "
    "and what would its placement cost?"
)
TUNING_QUESTION = "Is there a launch configuration that is faster than the one in use, and by how much?"
PLACING_QUESTION = "Which placement of these experts leaves the slowest rank the least time?"

WHAT_IF_QUESTION = "Which placement is best where, how far is it from the bound, and is balancing worth it?"


@dataclass(frozen=True)
class Subject:
    """question: with the verdict that answers it;  compares: whether implementations are, so the table belongs."""

    question: str
    verdict: Verdict
    compares: bool = True


def subject(run: Run) -> Subject:
    """What the page of a run is about."""
    if is_only_tuning(run):
        return Subject(TUNING_QUESTION, tuning_verdict(run), compares=False)
    if is_only_placing(run):
        return Subject(PLACING_QUESTION, placing_verdict(run), compares=False)
    if is_only_what_if(run):
        return Subject(WHAT_IF_QUESTION, what_if_verdict(run), compares=False)
    return Subject(QUESTION, verdict(run))
