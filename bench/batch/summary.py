"""What a part gave, to be read in a minute: summary.json and summary.md, written again after every step."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..records import load_run
from ..records.files import write_atomically
from .step import Step

MOST_ERRORS = 5
_ERROR = re.compile(r"^E  |^(FAILED|ERROR)\b|\bError\b|^mohge: |========= (Invalid|Error|Barrier|Race)|^failed: ")
_TESTS = re.compile(r"\d+ (passed|failed|errors?|skipped|deselected)")
PASSED = ("passed",)


@dataclass(frozen=True)
class Result:
    """One step: status passed, failed, time limit, no time, not installed or not begun.

    why:     in a few words;  errors: the first lines of its log that tell of trouble
    records: how many records of its runs have each status;  reasons: why, of those that did not pass
    """

    step: str
    status: str
    why: str = ""
    estimate: float = 0.0
    limit: float = 0.0
    seconds: float = 0.0
    errors: tuple[str, ...] = ()
    records: dict[str, int] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    command: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The result in one line."""
        counts = ", ".join(f"{count} {status}" for status, count in self.records.items())
        text = f"{self.status} in {self.seconds:.0f} s"
        return "; ".join(filter(None, (text, self.why, counts, *self.errors[:1])))

    def ended(self, step: Step, code: int, late: bool, log: Path, folder: Path) -> Result:
        """The result of a step that has ended with this exit code, `late` when its limit ended it."""
        text = log.read_text(encoding="utf-8", errors="replace")
        status = "time limit" if late else "passed" if code == 0 or code in step.answers else "failed"
        tests = [line for line in text.splitlines() if _TESTS.search(line)][-1:]
        why = step.answers.get(code) or (f"exit code {code}" if status == "failed" else "")
        why = "; ".join(filter(None, (why, *(line.strip("= ") for line in tests))))
        errors = first_errors(text) if status != "passed" else ()
        records, reasons = recorded(folder)
        return replace(self, status=status, why=why, errors=errors, records=records, reasons=reasons)


def first_errors(text: str) -> tuple[str, ...]:
    """The first lines that tell of trouble, each once; the last line where none does."""
    lines = [line.strip()[:200] for line in text.splitlines() if line.strip()]
    found = tuple(dict.fromkeys(line for line in lines if _ERROR.search(line)))[:MOST_ERRORS]
    return found or tuple(lines[-1:])


def recorded(folder: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """How many records of the runs below `folder` have each status, and why some did not pass, each reason once."""
    counts: Counter[str] = Counter()
    reasons: dict[str, None] = {}
    for path in sorted(folder.glob("**/run.json")):
        try:
            run = load_run(path)
        except ValueError as error:
            reasons[str(error)] = None
            continue
        for record in run.records:
            counts[str(record.status)] += 1
            if record.status not in PASSED:
                reasons[f"{record.implementation}: {record.status}: {record.reason.strip()[:160]}"] = None
        for study in run.tuning:
            counts.update(f"trial {trial['outcome']}" for trial in study.trials)
            reasons[f"{study.implementation}, {study.tokens} tokens: {study.notes.get('verdict', '')}"] = None
    return dict(counts), tuple(reasons)


def write_summary(part: str, budget: float, results: Sequence[Result], folder: Path) -> None:
    """Write summary.json and summary.md, whole or not at all."""
    table: dict[str, Any] = {"part": part, "budget_s": budget, "steps": [asdict(result) for result in results]}
    write_atomically(folder / "summary.json", [json.dumps(table, indent=1)])
    write_atomically(folder / "summary.md", [_markdown(part, budget, results)])


def _markdown(part: str, budget: float, results: Sequence[Result]) -> str:
    spent = sum(result.seconds for result in results)
    lines = [
        f"# {part}: {spent:.0f} of {budget:.0f} s",
        "",
        "| step | status | s | estimate | |",
        "|---|---|--:|--:|---|",
    ]
    for result in results:
        counts = ", ".join(f"{count} {status}" for status, count in result.records.items())
        said = "; ".join(filter(None, (result.why, counts))).replace("|", "\\|")
        lines.append(f"| {result.step} | {result.status} | {result.seconds:.0f} | {result.estimate:.0f} | {said} |")
    for result in results:
        trouble = [*result.errors, *result.reasons]
        if trouble:
            lines += ["", f"**{result.step}**", "", *(f"    {line}" for line in trouble)]
    return "\n".join(lines) + "\n"
