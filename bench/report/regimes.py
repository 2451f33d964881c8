"""Decode and prefill: which tokens are which, what each implementation reaches there, and where the lead changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import geometric_mean

from .cases import Group
from .palette import ordered
from .roofline import Limit, Roofs, limit_of
from .verdict import told_apart

MOST_DECODE, LEAST_PREFILL = 512, 1024  # tokens; what lies between belongs to neither
DECODE, PREFILL = "decode", "prefill"


@dataclass(frozen=True)
class Share:
    """What one implementation reaches in one regime.

    share:  geometric mean of its shares of the limiting roof over `tokens`
    tokens: those that every implementation of the regime has, or all of its own where there are none in common
    limits: one for each of these
    """

    name: str
    regime: str
    share: float
    tokens: tuple[int, ...]
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Lead:
    """Who is fastest at a number of tokens; None where the first two cannot be told apart, or only one was timed."""

    tokens: int
    name: str | None


def regime_of(tokens: int | None) -> str:
    """DECODE, PREFILL, or empty for what is neither."""
    if not tokens:
        return ""
    if tokens <= MOST_DECODE:
        return DECODE
    return PREFILL if tokens >= LEAST_PREFILL else ""


def shares_of(series: Sequence[Group], roofs: Roofs) -> list[Share]:
    """Every implementation in every regime that it was timed in, by the order of legends."""
    found = []
    for regime in (DECODE, PREFILL):
        limits: dict[str, dict[int, Limit]] = {}
        for group in series:
            for record in group.timed if regime_of(group.case.tokens) == regime else ():
                limit = limit_of(record, roofs)
                if limit is not None:
                    limits.setdefault(record.implementation, {})[record.case.tokens or 0] = limit
        common = set.intersection(*map(set, limits.values())) if limits else set()
        found += [_share(name, regime, limits[name], common) for name in ordered(limits)]
    return found


def _share(name: str, regime: str, limits: dict[int, Limit], common: set[int]) -> Share:
    tokens = tuple(sorted(common or limits))
    chosen = tuple(limits[count] for count in tokens)
    return Share(name, regime, geometric_mean([one.share for one in chosen]), tokens, chosen)


def leads(series: Sequence[Group]) -> list[Lead]:
    """Who leads at each number of tokens, by rising tokens."""
    found = []
    for group in series:
        ranked = group.fastest
        if group.case.tokens and ranked:
            first, *others = ranked
            sure = bool(others) and told_apart(first, others[0])
            found.append(Lead(group.case.tokens, first.implementation if sure else None))
    return sorted(found, key=lambda lead: lead.tokens)


def crossovers(found: Sequence[Lead]) -> list[tuple[Lead, Lead]]:
    """The neighbours among the decided leads between which the lead goes from one implementation to another."""
    decided = [lead for lead in found if lead.name is not None]
    return [(before, after) for before, after in pairwise(decided) if before.name != after.name]
