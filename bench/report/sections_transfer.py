"""The report's section of plans scored on loads that they were not made from."""

from __future__ import annotations

from math import inf

from ..records import Provenance, Run, TransferRecord
from .figures_transfer import mean_scores, transfer_matrix
from .formats import digits, is_number, whole
from .readings_what_if import best_transfer, transfer_reading
from .section import Section, Variant

MOST_LAYERS = 8  # up to which every layer can be chosen beside the mean


def transfer_section(run: Run) -> list[Section]:
    """The section, where plans were scored elsewhere."""
    if not run.transfers:
        return []
    section = Section(
        "transfer",
        "Plans scored on loads they were not made from",
        "Largest over mean work of a rank: planned on the loads of the line, scored on those of the column.",
        str(Provenance.SIMULATED),
        "No plan could be made.",
    )
    best, first = best_transfer(run.transfers), 0
    for record in run.transfers:
        if record is best:
            first = len(section.variants)
        for label, scores, reading in _pages(record):
            figure = transfer_matrix(record.windows, scores)
            if figure is not None:
                section.variants.append(Variant(label, figure, reading, *_table(run, record)))
    return [section.starting(first)]


def _pages(record: TransferRecord) -> list[tuple[str, list[list[float]], str]]:
    """The mean over layers and, where there are few, every layer: title, scores and reading."""
    name = f"{record.policy} · {record.spec} · {whole(record.ranks)} ranks · {record.trace}"
    name += f" · {record.replicas} spare copies" if record.replicas else ""
    count = len(record.layers)
    pages = [(f"{name} · mean of {count} layers" if count > 1 else name, mean_scores(record), transfer_reading(record))]
    if 1 < count <= MOST_LAYERS and len(record.scores) == count:
        for number, scores in zip(record.layers, record.scores, strict=True):
            pages.append((f"{name} · layer {number}", scores, _layer_reading(number, scores)))
    return pages


def _layer_reading(number: int, scores: list[list[float]]) -> str:
    worst = max(value for line in scores for value in line)
    return f"Layer {number}: at worst {digits(worst)} times the mean. Bold: scored where it was made. 1 is even."


def _table(run: Run, record: TransferRecord) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """All policies that were tried in the same place, their own loads beside others."""
    same = [
        one
        for one in run.transfers
        if (one.spec, one.ranks, one.replicas, one.trace) == (record.spec, record.ranks, record.replicas, record.trace)
    ]
    same.sort(key=lambda one: one.on_others if is_number(one.on_others) else inf)
    rows = tuple((one.policy, digits(one.on_own), digits(one.on_others), one.reason or "") for one in same)
    header = ("policy", "on its own loads", "on others", "why not" if any(one.reason for one in same) else "")
    return header, rows
