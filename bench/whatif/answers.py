"""What the records of a study answer: the best placement, the choices nobody can object to, and whether to balance.

A *question* is what is given: the layer, the tokens and how they are routed. A *choice* is what can be decided: ranks,
cluster, policy, replicas, cap and the way of sending. Times of two choices are compared under the same question only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median
from typing import Any, NamedTuple

from ...placement import PayBack, pareto_front
from ..records import WhatIfRecord


class Question(NamedTuple):
    """What is given."""

    spec: str
    tokens: int
    routing: str
    group_loss: float
    seed: int


class Choice(NamedTuple):
    """What can be decided."""

    ranks: int
    cluster: str
    policy: str
    replicas: int
    capacity: float | None
    style: str


@dataclass(frozen=True)
class Best:
    """The quickest choice on one cluster with some number of ranks, over all questions of a layer and its tokens.

    choice:     the one whose geometric mean of seconds is least among those possible under every question
    seconds:    that mean;  against: that of the baseline over it, above 1 when the choice is quicker; None without one
    memory:     bytes on the fullest rank, at most;  traffic: bytes on all links, mean
    questions:  how many there are;  won: under how many of them no other choice is quicker
    """

    spec: str
    tokens: int
    choice: Choice
    seconds: float
    against: float | None
    memory: int
    traffic: float
    questions: int
    won: int


@dataclass(frozen=True)
class Worth:
    """Whether balancing is worth it: the choice with the greatest net benefit over the baseline, migration paid.

    record: the scenario;  paid: what changing to it brings
    """

    record: WhatIfRecord
    paid: PayBack


def question(record: WhatIfRecord) -> Question:
    """What is given in a scenario."""
    return Question(*(getattr(record, name) for name in Question._fields))


def choice(record: WhatIfRecord) -> Choice:
    """What is decided in a scenario."""
    return Choice(*(getattr(record, name) for name in Choice._fields))


def best(records: Iterable[WhatIfRecord], baseline: str) -> list[Best]:
    """The quickest choice for each layer, number of tokens, ranks and cluster, in the order of the records."""
    grouped = _grouped(records, lambda record: (record.spec, record.tokens, record.ranks, record.cluster))
    found = [_best(of_group, baseline) for of_group in grouped.values()]
    return [each for each in found if each is not None]


def _best(records: Sequence[WhatIfRecord], baseline: str) -> Best | None:
    questions = set(map(question, records))
    by_choice = {
        key: of_choice
        for key, of_choice in _grouped(filter(_possible, records), choice).items()
        if len(of_choice) == len(questions)
    }
    if not by_choice:
        return None
    means = {key: geometric_mean(max(_seconds(record), 1e-12) for record in own) for key, own in by_choice.items()}
    quickest = min(means, key=means.__getitem__)
    now = [mean for key, mean in means.items() if (key.policy, key.replicas, key.capacity) == (baseline, 0, None)]
    own = by_choice[quickest]
    least = {key: min(map(_seconds, same)) for key, same in _grouped(filter(_possible, records), question).items()}
    return Best(
        spec=own[0].spec,
        tokens=own[0].tokens,
        choice=quickest,
        seconds=means[quickest],
        against=min(now) / means[quickest] if now else None,
        memory=max(record.memory or 0 for record in own),
        traffic=sum(record.traffic or 0.0 for record in own) / len(own),
        questions=len(questions),
        won=sum(_seconds(record) <= least[question(record)] for record in own),
    )


def fronts(records: Iterable[WhatIfRecord]) -> dict[Question, list[WhatIfRecord]]:
    """Under each question the choices that no other beats in seconds, memory and traffic at once, quickest first."""
    found = {}
    for asked, same in _grouped(filter(_possible, records), question).items():
        kept = pareto_front([[_seconds(record), record.memory, record.traffic] for record in same])
        found[asked] = sorted((same[index] for index in kept), key=_seconds)
    return found


def worth(records: Iterable[WhatIfRecord], horizon: int) -> list[Worth]:
    """For each question, number of ranks, cluster and way of sending: the change that gains most, or loses least."""
    compared = [record for record in records if record.net_s is not None]
    grouped = _grouped(compared, lambda record: (*question(record), record.ranks, record.cluster, record.style))
    return [_worth(max(_changes(same), key=lambda record: record.net_s or 0.0), horizon) for same in grouped.values()]


def _changes(records: Sequence[WhatIfRecord]) -> Sequence[WhatIfRecord]:
    """Those that change anything, or all where none does."""
    return [record for record in records if record.migration_bytes or record.saved_s] or records


def _worth(record: WhatIfRecord, horizon: int) -> Worth:
    assert record.saved_s is not None
    assert record.net_s is not None
    after = math.inf if record.pays_after is None else record.pays_after
    return Worth(record, PayBack(record.saved_s, after, record.net_s, horizon))


def in_one_sentence(found: Sequence[Worth]) -> str:
    """Is balancing worth it here, over everything that was asked?"""
    gains = [each for each in found if each.paid.worth]
    if not found:
        return "nothing to say of balancing: the baseline could not be placed anywhere"
    horizon = found[0].paid.horizon
    if not gains:
        return f"balancing is worth it in none of {len(found)} cases: no change pays within {horizon} steps"
    steps = math.ceil(median(each.paid.steps for each in gains))
    net = median(each.paid.net_s for each in gains)
    return (
        f"balancing is worth it in {len(gains)} of {len(found)} cases: there it pays after {steps} steps and gains "
        f"{net * 1e3:.3g} ms of one layer's time in {horizon} steps, both in the median"
    )


def reasons(records: Iterable[WhatIfRecord]) -> Counter[str]:
    """Why scenarios are impossible, and how many for that reason, those of several policies together."""
    by_reason: dict[str, Counter[str]] = {}
    for record in records:
        if not record.possible:
            said = record.reason.removeprefix(f"policy {record.policy!r}").lstrip(": ")
            by_reason.setdefault(said, Counter())[record.policy if said != record.reason else ""] += 1
    return Counter(
        {
            f"{', '.join(filter(None, policies))}: {said}".removeprefix(": "): policies.total()
            for said, policies in by_reason.items()
        }
    )


def _possible(record: WhatIfRecord) -> bool:
    return record.possible


def _seconds(record: WhatIfRecord) -> float:
    assert record.seconds is not None  # of what is possible
    return record.seconds


def _grouped(records: Iterable[WhatIfRecord], key: Callable[[WhatIfRecord], Any]) -> dict[Any, list[WhatIfRecord]]:
    found: dict[Any, list[WhatIfRecord]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    return found
