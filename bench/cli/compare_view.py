"""A comparison for people: a table per case, Markdown, and the lines below."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..comparison import Comparison, Missing, Ratio, Row
from ..comparison.matching import case_title
from .output import console, table

_RAW = "raw B / A"  # shown only where anchors make it another ratio
_NUMBERS = ("A", "B", _RAW, "B / A", "95 % interval")
_COLUMNS = ("implementation", *_NUMBERS, "verdict", "note")
_NONE = "–"
_SHOWN = 8  # lines of what could not be compared, before "and N more"


def show(result: Comparison) -> None:
    """Print the tables, what changed its status, and what could not be compared."""
    console.print(f"A: {result.a}\nB: {result.b}", highlight=False, soft_wrap=True, markup=False)
    columns = _columns(result)
    for title, rows in _by_case(result.rows):
        table(f"\n{title}", columns, [_cells(row, columns) for row in rows], right=_NUMBERS)
    console.print()
    for line in details(result):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def markdown(result: Comparison) -> str:
    """The same for a pull request."""
    lines = [f"B: {result.b}, against A: {result.a}"]
    columns = _columns(result)
    for title, rows in _by_case(result.rows):
        marks = ("--:" if column in _NUMBERS else "---" for column in columns)
        lines += ["", f"**{title}**", "", f"| {' | '.join(columns)} |", f"|{'|'.join(marks)}|"]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in _cells(row, columns))} |" for row in rows]
    below = [f"- {line}" for line in details(result)]
    return "\n".join([*lines, *(["", *below] if below else [])]) + "\n"


def details(result: Comparison) -> list[str]:
    """One line for each thing to know beside the tables."""
    lines = _methods(result.rows)
    lines += [f"refused without --force: {reason}" for reason in result.refused]
    lines += [f"warning: {text}" for text in result.warnings]
    for change in result.changes:
        what = f"{change.implementation} on {case_title(change.case)}"
        if change.regression:
            lines.append(f"no longer passes: {what}: {change.after}, {change.reason}")
        elif change.before is not change.after:
            lines.append(f"status changed: {what}: {change.before} to {change.after}")
    lines += _missing(result.missing)
    still = sum(change.before is change.after for change in result.changes)
    if still:
        lines.append(f"not passed on either side: {_cases(still)}")
    return lines


def summary(result: Comparison, code: int, fail_on: str) -> list[str]:
    """The last lines: counts, how they were made, and why the exit code is what it is."""
    counts = [f"{count} {verdict}" for verdict, count in result.counts.items()]
    lines = [f"{', '.join(counts)} (threshold {result.options.threshold * 100:g} %)"]
    if result.multiplicity:
        lines.append(result.multiplicity)
    if not code:
        lines.append("exit code 0: " + ("whatever was found" if fail_on == "never" else f"nothing {_failing(fail_on)}"))
    else:
        broken = [f"{_cases(len(result.broken))} no longer passing"] if result.broken else []
        found = [f"{result.counts['slower']} slower"] if result.counts["slower"] else []
        found += [f"{result.counts['undecided']} undecided"] if fail_on == "undecided" else []
        lines.append(f"exit code 1: {', '.join([*broken, *found])}")
    return lines


def _failing(fail_on: str) -> str:
    """What would have made the exit code 1."""
    return "slower, undecided or no longer passing" if fail_on == "undecided" else "slower or no longer passing"


def _by_case(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    found: dict[object, list[Row]] = {}
    for row in rows:
        found.setdefault((row.case.key, row.which), []).append(row)
    return [(f"{case_title(members[0].case)}: {members[0].which}", members) for members in found.values()]


def _columns(result: Comparison) -> list[str]:
    return [name for name in _COLUMNS if name != _RAW or result.anchors]


def _cells(row: Row, columns: Sequence[str]) -> list[str]:
    cells = {
        "implementation": row.implementation,
        "A": _time(row.a_us),
        "B": _time(row.b_us),
        _RAW: _ratio((row.raw or row.ratio).value),
        "B / A": _ratio(row.ratio.value),
        "95 % interval": _interval(row.ratio),
        "verdict": str(row.verdict),
        "note": row.note,
    }
    return [cells[name] for name in columns]


def _methods(rows: Sequence[Row]) -> list[str]:
    """How the ratios were made: once where all are made alike."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.method:
            found.setdefault(row.method, []).append(row.implementation)
    return [f"{', '.join(dict.fromkeys(names))}: {method}" for method, names in found.items()]


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"


def _time(microseconds: float) -> str:
    """Three digits and a fitting unit; this runs on the measuring machine, where the report's libraries are not."""
    units = ((1e6, "s"), (1e3, "ms"), (0.0, "µs"))
    size, unit = next((pair for pair in units if microseconds >= pair[0] * 0.9995), (0.0, ""))
    return f"{microseconds / (size or 1.0):.3g} {unit}" if unit else _NONE


def _ratio(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else _NONE


def _interval(ratio: Ratio) -> str:
    if not math.isfinite(ratio.low + ratio.high):
        return _NONE
    return f"{ratio.low:.3f} to {ratio.high:.3f}" if ratio.high < 1000 else f"{ratio.low:.2g} to {ratio.high:.2g}"


def _missing(missing: Sequence[Missing]) -> list[str]:
    lines = [f"not compared: {entry.implementation} on {case_title(entry.case)}: {_why(entry)}" for entry in missing]
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"not compared: {len(lines) - _SHOWN} more (--json)"]


def _why(entry: Missing) -> str:
    return entry.reason if entry.reason.startswith("only") else f"{entry.reason} in {entry.side}"
