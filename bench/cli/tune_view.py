"""What `mohge tune` shows: a bar while it works, the finalists of each study, and what the table would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from ..records import TuningRecord
from ..report.formats import time_text
from ..tuning import Outcome, StudyTask
from ..tuning.outcome import COUNTED, Result
from .output import console, progress_bar, table

# Several parameters differ from the current configuration; more than these are counted.
_MOST_SHOWN = 6


class TuneProgress:
    """A bar over the trials of all studies; use as a context manager and hand `event` to the campaign."""

    def __init__(self, tasks: Sequence[StudyTask]) -> None:
        self._bar = progress_bar("{task.fields[best]}")
        total = sum(task.trials for task in tasks)
        self._task = self._bar.add_task("", total=total, what="starting", best="")
        self._best: float | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def event(self, event: dict[str, Any]) -> None:
        """Show what the campaign says it is doing, and the best ratio of the study so far."""
        if event["event"] == "begin":
            self._bar.update(self._task, what=event["what"].replace("[", "\\["))
        elif event["event"] == "study":
            self._best = None
            self._bar.update(self._task, best="")
            console.print(_announced(event["task"]), highlight=False, soft_wrap=True, markup=False)
        elif event["event"] == "trial":
            self._trial(event["result"])

    def _trial(self, result: Result) -> None:
        if result.outcome in COUNTED:
            self._bar.advance(self._task)
        if result.outcome is Outcome.COMPLETE and result.ratio is not None:
            self._best = min(self._best or result.ratio, result.ratio)
            self._bar.update(self._task, best=f"best {self._best:.3f} x current")


def _announced(task: StudyTask) -> str:
    routings = ", ".join(source.text for source in task.sources)
    how = {
        "measured": f"measured on {task.gpu}",
        "predicted": f"predicted for {task.gpu}; nothing is run",
        "replayed": f"replayed from {task.replay.rpartition('#')[0]}; nothing is run",
    }[task.mode]
    return (
        f"{task.implementation}, {task.spec.name}, {task.tokens} tokens, {task.routing_class} ({routings}), "
        f"{task.dtype}: {how}"
    )


def show_study(record: TuningRecord) -> None:
    """One study: how its trials ended, its finalists beside the current configuration, and the verdict."""
    case, label = record.case, record.notes["mode"]
    title = f"\n{record.implementation} · {case.spec} · up to {record.tokens} tokens · {record.routing_class} · {label}"
    current = record.notes["current"]
    tied = record.notes.get("tied", [])
    rows = [_row(entry, current, f"tied, {label}" if entry["number"] in tied else label) for entry in record.finalists]
    numbers = ("trial", "x current", "95 % interval", "time")
    table(title, [*numbers, "differs from the current one in"], rows, right=numbers)
    counts = Counter(trial["outcome"] for trial in record.trials)
    ended = record.notes["ended"]
    trials = f"{len(record.trials)} trials: " if record.trials else "no trials"
    console.print(
        trials
        + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
        + (f"; {ended}" if ended else ""),
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    held = [str(trial["number"]) for trial in record.trials if any(case.get("held_back") for case in trial["cases"])]
    if held:
        said = f"timed while the clocks were held back: trial {', '.join(held)}"
        console.print(said, highlight=False, soft_wrap=True, markup=False)
    if record.importance:
        shares = [f"{name} {share:.0%}" for name, share in list(record.importance.items())[:5]]
        console.print(f"what matters most: {', '.join(shares)}", highlight=False, soft_wrap=True, markup=False)
    console.print(record.notes["verdict"], highlight=False, soft_wrap=True, markup=False, style="bold")


def show_changes(lines: Sequence[str], where: str) -> None:
    """What a table would change or has changed."""
    for line in lines or ["no change"]:
        style = "green" if line.lstrip().startswith("+") else "red" if line.lstrip().startswith("-") else ""
        console.print(line, highlight=False, soft_wrap=True, markup=False, style=style)
    console.print(where, highlight=False, soft_wrap=True, markup=False)


def _row(entry: dict[str, Any], current: dict[str, Any], label: str) -> list[str]:
    values = entry["values"]
    differs = [f"{name} {values.get(name)}" for name in values if values.get(name) != current.get(name)]
    more = f" and {len(differs) - _MOST_SHOWN} more" if len(differs) > _MOST_SHOWN else ""
    changes = ", ".join(differs[:_MOST_SHOWN]) + more if differs else "nothing: it is the current one"
    if entry["ratio"] is None:
        return [str(entry["number"]), str(entry["outcome"]), "", "", entry["reason"]]
    low, high = entry["ratio_low"], entry["ratio_high"]
    interval = f"{low:.3f} to {high:.3f}" if low is not None else ("none: " + label)
    said = f"{changes}; {entry['reason']}" if entry.get("reason") else changes
    return [str(entry["number"]), f"{entry['ratio']:.3f}", interval, time_text(entry["time_us"]), said]
