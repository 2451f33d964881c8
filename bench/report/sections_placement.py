"""The report's sections of placements: what each rank gets under every policy, and how far the simulation is off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..records import CaseRecord, PlacementRecord, Provenance, Run
from .cases import Group, case_meta, case_title, placement_groups
from .figures_placement import drawable, per_rank
from .figures_placement_measured import makespan, measured_beside_simulated, signed, timed_ranks
from .formats import NONE, digits, flops_text, is_number, percent_text, time_interval_text, time_text, whole
from .readings_placement import (
    measured_reading,
    measured_verdict,
    placement_reading,
    placement_sentence,
    slowest_interval,
)
from .section import Section, Variant
from .verdict import Verdict

Placed = tuple[str, tuple[PlacementRecord, ...]]
Rows = tuple[tuple[str, ...], ...]
_RATIOS = (
    "policy",
    "straggler",
    "its work",
    "work, max / mean",
    "work / bound",
    "work / bound for equal widths",
    "rows, max / mean",
    "memory, max / mean",
)
_TIMES = (
    "policy",
    "makespan, measured",
    "95 % interval",
    "makespan, simulated",
    "error",
    "slowest rank, measured",
    "simulated",
    "largest error of a rank",
)


def is_only_placing(run: Run) -> bool:
    """Whether a run has placed and no implementation was measured on the cases that were placed, only ranks of them."""
    cases = {record.case.key for record in run.records}
    return bool(run.placements) and not any(placement.case.key in cases for placement in run.placements)


def placement_sections(run: Run, main: Group | None) -> list[Section]:
    """What each rank gets and, where ranks were measured, how far the simulation is off. main: shown first."""
    placed = _placed(run)
    kinds = [placement.provenance for placement in run.placements]
    provenance = next((kind for kind in kinds if kind != Provenance.MEASURED), Provenance.MEASURED if kinds else None)
    section = Section(
        "placement",
        "What a placement of these experts would cost",
        "Every rank under each policy, on the routing "
        f"{'of this batch' if is_only_placing(run) else 'measured above'}; the most even policy first.",
        str(provenance or Provenance.PREDICTED),
        "This run holds no placements.",
    )
    first = 0
    for label, rows in placed:
        figure = per_rank(rows)
        if figure is not None:
            if main and rows[0].case.key == main.case.key:
                first = len(section.variants)
            table = tuple(_ratios(row) for row in drawable(rows))
            section.variants.append(
                Variant(label, figure, placement_reading(rows), _RATIOS, table, _notes(rows), _meta(rows))
            )
    measured = any(placement.measured is not None for placement in run.placements)
    return [section.starting(first), *([_measured(placed)] if measured else [])]


def _placed(run: Run) -> list[Placed]:
    """The placements of a case on the same ranks, and by whom they were computed, each with a title."""
    found: list[Placed] = []
    for case, ranks, rows in placement_groups(run):
        by_name: dict[str, list[PlacementRecord]] = {}
        for row in rows:
            by_name.setdefault(row.measured.implementation if row.measured is not None else "", []).append(row)
        found += [(_title(case, ranks, name), tuple(own)) for name, own in by_name.items()]
    return found


def _title(case: CaseRecord, ranks: int, implementation: str) -> str:
    return f"{case_title(case)} · {ranks} ranks{f' · computed by {implementation}' if implementation else ''}"


def _meta(rows: Sequence[PlacementRecord]) -> dict[str, Any]:
    """What the placements of a case are about, for the page's filter."""
    times = rows[0].measured
    return case_meta(rows[0].case) | ({"implementation": times.implementation} if times is not None else {})


def _ratios(row: PlacementRecord) -> tuple[str, ...]:
    known = row.straggler is not None and 0 <= row.straggler < len(row.work)
    work = row.work[row.straggler] if known and row.straggler is not None else None
    ratios = (
        row.work_max_over_mean,
        row.work_over_bound,
        row.work_over_size_bound,
        row.rows_max_over_mean,
        row.memory_max_over_mean,
    )
    straggler = f"rank {row.straggler}" if known else NONE
    return (row.policy, straggler, flops_text(work), *(digits(ratio) for ratio in ratios))


def _notes(rows: Sequence[PlacementRecord]) -> tuple[str, ...]:
    """What policies had to bend and what solvers said, each once."""
    said = []
    for row in rows:
        if row.notes.get("placement"):
            said.append(f"{row.policy}: {row.notes['placement']}.")
        solver = row.notes.get("solver")
        if isinstance(solver, dict) and is_number(solver.get("gap")):
            said.append(
                f"{row.policy}: {solver.get('solver')}, {solver.get('status')}, at most {percent_text(solver['gap'])} "
                "above the best possible."
            )
    return tuple(dict.fromkeys(said))


def _measured(placed: Sequence[Placed]) -> Section:
    section = Section(
        "placement_measured",
        "Simulated ranks against measured ones",
        "Each rank’s experts with each rank’s rows, run one rank after another on this device, beside the time the "
        "simulation gives them.",
        str(Provenance.MEASURED),
        "No rank could be timed.",
    )
    for label, rows in placed:
        figure = measured_beside_simulated(rows)
        if figure is not None:
            said, table = measured_reading(rows), _measured_rows(rows)
            section.variants.append(Variant(label, figure, said, _TIMES, table, _origins(rows), _meta(rows)))
    return section


def _measured_rows(rows: Sequence[PlacementRecord]) -> Rows:
    table = []
    for placement, times in timed_ranks(rows):
        whole_s, ends = makespan(times), slowest_interval((placement, times))
        slowest = times.measured_s.index(times.makespan_s) if whole_s is not None else None
        simulated = times.simulated_s.index(max(times.simulated_s))
        errors = [error for error in times.errors if is_number(error)]
        table.append(
            (
                placement.policy,
                time_text(whole_s * 1e6) if whole_s is not None else NONE,
                time_interval_text(ends[0] * 1e6, ends[1] * 1e6) if ends else NONE,
                time_text(times.simulated_makespan_s * 1e6),
                signed(times.makespan_error),
                f"rank {slowest}" if slowest is not None else NONE,
                f"rank {simulated}",
                signed(max(errors, key=abs)) if errors else NONE,
            )
        )
    return tuple(table)


def _origins(rows: Sequence[PlacementRecord]) -> tuple[str, ...]:
    """Where the simulated seconds are from, how far that model is off, and which ranks were not timed."""
    said = []
    for row in rows:
        if row.measured is None:
            continue
        said.append(f"Simulated seconds: {row.measured.costs}.")
        if row.notes.get("costs"):
            said.append(f"{str(row.notes['costs'])[:1].upper()}{str(row.notes['costs'])[1:]}.")
        said += [f"{row.policy}, rank {rank} was not timed: {why}." for rank, why in row.measured.reasons.items()]
    return tuple(dict.fromkeys(said))


def placing_verdict(run: Run) -> Verdict:
    """Which policy leaves the slowest rank least time, where ranks were measured, or else least work."""
    placed = _placed(run)
    timed = [rows for _, rows in placed if any(makespan(times) is not None for _, times in timed_ranks(rows))]
    remarks = []
    if timed:
        rows = min(timed, key=_quickest)
        kind, sentence = measured_verdict(rows)
        remarks.append(measured_reading(rows).partition(" Solid line:")[0])
    elif any(row.measured is not None for row in run.placements):
        rows = placed[0][1]
        kind, sentence = measured_verdict(rows)
    else:
        rows = max((own for _, own in placed), key=lambda own: own[0].ranks)
        kind, sentence = "predicted", f"Predicted, not measured: {placement_sentence(rows)}"
    case, others = rows[0].case, len(placed) - 1
    if others:
        named = "the quickest" if timed else "that on the most ranks"
        remarks.append(f"Of {whole(len(placed))} cases {named} is named here, all are drawn.")
    if run.environment.gpu is None and timed:
        remarks.append("There was no GPU: this is an answer for this CPU.")
    if run.finished is None:
        remarks.append("The run was interrupted: what it had finished is drawn.")
    return Verdict(kind, f"{case_title(case).replace(' · ', ', ')}: {sentence}", tuple(remarks))


def _quickest(rows: Sequence[PlacementRecord]) -> float:
    return min(seconds for _, times in timed_ranks(rows) if (seconds := makespan(times)) is not None)
