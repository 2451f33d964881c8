"""The report's sections of single steps of a study: every rank, the bytes between ranks, who does what when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..records import CaseRecord, PlacementRecord, Provenance, Run, StepRecord, WhatIfRecord
from ..whatif.settings import GIVEN, main_setting, settings, solved
from .figures_placement import per_rank
from .figures_steps import timelines, traffic
from .formats import bytes_text, digits, time_text
from .plot import Figure
from .readings_what_if import baseline_of
from .scenarios import choice_name, meta, short_name, title
from .section import Section, Variant


@dataclass(frozen=True)
class Pair:
    """The steps of one setting: its scenario and its step in full, the baseline first."""

    label: str
    given: dict[str, Any]
    steps: tuple[tuple[WhatIfRecord, StepRecord], ...]


def step_sections(run: Run) -> list[Section]:
    """Every rank, traffic and time-lines of the steps that the run keeps in full; nothing where it keeps none."""
    pairs = _pairs(run)
    if not pairs:
        return []
    found = settings(run.what_if)
    main = main_setting(found).given if found else {}
    first = next((index for index, pair in enumerate(pairs) if pair.given == main), 0)
    about = f"{baseline_of(run)} beside the quickest choice"

    def section(name: str, heading: str, lead: str, draw: Callable[[Pair], tuple[Figure | None, str]]) -> Section:
        made = Section(name, heading, lead, str(Provenance.SIMULATED), "No step was kept in full.")
        for pair in pairs:
            figure, reading = draw(pair)
            made.variants.append(Variant(pair.label, figure, reading, meta=meta(pair.given)))
        return made.starting(first)

    return [
        section("step_ranks", "Every rank of a step", f"What each rank computes and holds: {about}.", _ranks),
        section(
            "step_timeline", "Who does what when", f"One step of every rank: {about}; ▸ marks the straggler.", _when
        ),
        section("step_traffic", "Bytes between ranks", f"Dispatch and combine of a step together: {about}.", _traffic),
    ]


def _pairs(run: Run) -> list[Pair]:
    rows = solved(run.what_if)
    by_number = {record.number: record for record in rows}
    found: dict[tuple[object, ...], list[tuple[WhatIfRecord, StepRecord]]] = {}
    for step in sorted(run.steps, key=lambda step: not step.baseline):
        record = by_number.get(step.number)
        if record is not None:
            found.setdefault(tuple(getattr(record, axis) for axis in GIVEN), []).append((record, step))
    pairs = []
    for values, steps in sorted(found.items(), key=lambda item: min(record.number for record, _ in item[1])):
        given: dict[str, Any] = dict(zip(GIVEN, values, strict=True))
        pairs.append(Pair(title(given, rows), given, tuple(steps)))
    return pairs


def _ranks(pair: Pair) -> tuple[Figure | None, str]:
    figure = per_rank([_placement(*step) for step in pair.steps], [short_name(record) for record, _ in pair.steps])
    said = [
        f"{choice_name(record)}: rank {step.straggler} computes longest, {time_text(max(step.compute_s) * 1e6)}, "
        f"{digits(record.work_over_bound)} times the bound on work"
        for record, step in pair.steps
    ]
    return figure, (
        f"{'; '.join(said)}. Dotted: the mean rank. Solid: the bound on work. Dark: the fullest rank. "
        "Memory: experts and the buffer that receives rows."
    )


def _placement(record: WhatIfRecord, step: StepRecord) -> PlacementRecord:
    """A step as what the figure of placements draws."""
    return PlacementRecord(
        case=CaseRecord(record.spec, record.tokens, record.routing, None, ""),
        policy=record.policy,
        ranks=record.ranks,
        rank_of=[],
        rows=step.rows,
        work=step.work,
        provenance=step.provenance,
        seconds=step.compute_s,
        memory=step.memory,
        bound=step.bound,
        straggler=step.straggler,
        work_over_bound=max(step.work) / step.bound if step.bound else None,
    )


def _when(pair: Pair) -> tuple[Figure | None, str]:
    steps = [(short_name(record), step.intervals, step.straggler) for record, step in pair.steps]
    ranks = max(len(step.rows) for _, step in pair.steps)
    ends = [_end(step) for _, step in pair.steps]
    said = [f"{name} takes {time_text(end * 1e6)}" for (name, *_), end in zip(steps, ends, strict=True)]
    waits = [
        f"under {short_name(record)} the ranks wait {digits(100 * _waiting(step), 2)} % of it for the straggler"
        for record, step in pair.steps
    ]
    tail = "Exchanges begin when every rank is ready. Dotted: the straggler is done."
    return timelines(steps, ranks), f"{'; '.join(said)}; {', '.join(waits)}. {tail}"


def _end(step: StepRecord) -> float:
    return max((float(row[4]) for row in step.intervals), default=0.0)


def _waiting(step: StepRecord) -> float:
    """Mean share of the step that a rank waits for the slowest to have computed."""
    end, slowest = _end(step), max(step.compute_s, default=0.0)
    return sum(slowest - own for own in step.compute_s) / len(step.compute_s) / end if end and step.compute_s else 0.0


def _traffic(pair: Pair) -> tuple[Figure | None, str]:
    matrices = [(short_name(record), step.bytes_matrix) for record, step in pair.steps]
    figure = traffic(matrices, max(step.nodes for _, step in pair.steps))
    return figure, f"{'. '.join(_sent(record, step) for record, step in pair.steps)}."


def _sent(record: WhatIfRecord, step: StepRecord) -> str:
    """How much a step sends, and which rank receives most of it."""
    between = f", {bytes_text(record.between)} of it between nodes" if step.nodes > 1 else ""
    said = f"{choice_name(record)} sends {bytes_text(record.traffic)}{between}"
    received = [sum(column) for column in zip(*step.bytes_matrix, strict=True)]
    if not sum(received):
        return said
    busiest, mean = received.index(max(received)), sum(received) / len(received)
    return f"{said}; rank {busiest} receives most, {digits(received[busiest] / mean)} times the mean"
