"""The best of a study timed again against each other, and whether one of them really beats what is used now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...kernels.tunable import Value
from .board import Board
from .evaluate import Evaluator
from .outcome import Outcome, Result, key_of
from .task import StudyTask

# A model without latency, L2 order or clocks cannot tell times apart that are nearer than this share.
TOLD_APART = 0.005


def leaders(results: Mapping[int, tuple[dict[str, Value], Result]], count: int) -> list[int]:
    """Numbers of the `count` completed trials with the least ratio, each configuration once, best first."""
    complete = {n: found for n, (_, found) in results.items() if found.outcome is Outcome.COMPLETE and found.ratio}
    return sorted(complete, key=lambda number: (complete[number].ratio, number))[:count]


def run_finals(board: Board, task: StudyTask, evaluator: Evaluator) -> list[dict[str, Any]]:
    """The finalists, the current configuration among them, best first. Kept in the study: the same ones are timed
    once, also when the process was killed after it.
    """
    results = board.results()
    chosen = leaders(results, task.finalists)
    current = next((n for n, (values, _) in results.items() if key_of(values) == key_of(task.current)), None)
    numbers = chosen + ([current] if current is not None and current not in chosen else [])
    known = board.noted("finals")
    if known is not None and known["numbers"] == numbers:
        return known["finalists"]
    found = evaluator.finals([results[number][0] for number in numbers]) if numbers else []
    entries = [
        {"number": number, "values": results[number][0], **result.to_dict(), **_interval(result)}
        for number, result in zip(numbers, found, strict=True)
    ]
    entries.sort(key=lambda entry: (entry["ratio"] is None, entry["ratio"] or 0.0))
    board.note("finals", {"numbers": numbers, "finalists": entries})
    return entries


def winner_of(finalists: list[dict[str, Any]], task: StudyTask) -> tuple[dict[str, Any] | None, str]:
    """The finalist that beats the current configuration, or None; and the verdict in words.

    It is the one with the least worst ratio over the cases; it wins when in every case the whole 95 % interval of its
    ratio lies below 1. A prediction has no interval: there, being below 1 by TOLD_APART is enough; what is nearer is
    tied with the current configuration, which stays.
    """
    current = key_of(task.current)
    better = [one for one in finalists if one["outcome"] == Outcome.COMPLETE and key_of(one["values"]) != current]
    if not better:
        return None, "keep the current configuration: no other one got so far"
    best = better[0]
    if tied(best, task):
        many = sum(tied(one, task) for one in better)
        return None, (
            f"keep the current configuration: predicted times cannot tell it from {many} of {len(better)} finalists "
            f"(within {TOLD_APART * 100:g} %, as when all are bound by the same bytes); only measuring on a GPU decides"
        )
    faster = f"{best['ratio']:.3f} times the time of the current one"
    interval = f" ({best['ratio_low']:.3f} to {best['ratio_high']:.3f})" if best["ratio_high"] is not None else ""
    if (best["ratio_high"] is not None and best["ratio_high"] >= 1) or best["ratio"] >= 1:
        return None, f"keep the current configuration: the best other one takes {faster}{interval}"
    return best, f"trial {best['number']} takes {faster}{interval}"


def tied(entry: dict[str, Any], task: StudyTask) -> bool:
    """Whether a finalist is predicted to take as long as the current configuration, as far as a prediction tells."""
    other = key_of(entry["values"]) != key_of(task.current)
    return task.mode == "predicted" and other and entry["ratio"] is not None and abs(entry["ratio"] - 1) < TOLD_APART


def _interval(result: Result) -> dict[str, float | None]:
    """The interval of the worst case's ratio, and the highest upper end of all: every case must be faster."""
    with_one = [case for case in result.cases if case.get("ratio_high") is not None]
    if not with_one:
        return {"ratio_low": None, "ratio_high": None}
    worst = max(with_one, key=lambda case: case["ratio"])
    return {"ratio_low": worst["ratio_low"], "ratio_high": max(case["ratio_high"] for case in with_one)}
