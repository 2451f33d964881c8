"""Two runs, or two implementations of one run, compared case by case."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..records import Run
from . import environments
from .anchors import Anchors
from .matching import Key
from .result import Comparison, Missing, Options, Row
from .rows import Judged, judge, pair_row, run_row
from .sides import Matched, Side, all_keys, match, nothing_in_common

DEFAULT = Options()
Make = Callable[[Key, str], Judged]


def compare_runs(
    a: Sequence[Run], b: Sequence[Run], options: Options = DEFAULT, titles: tuple[str, str] = ("A", "B")
) -> Comparison:
    """Every implementation on every case that runs `a` and runs `b` share: b against a.

    One run a side takes its run-to-run variance from the implementations that did not change, or assumes it; several
    runs a side show it. Raises ValueError, with every reason, when the environments differ in what matters (unless
    `options.force`), when nothing can be compared, and for an anchor that neither side has.
    """
    if not a or not b:
        raise ValueError(f"runs: expected at least one on each side, got {len(a)} and {len(b)}")
    sides = Side.of("A", a), Side.of("B", b)
    keys = all_keys(*sides, case=options.case)
    keys = [key for key in keys if not options.implementations or key[1] in options.implementations]
    if not keys:
        raise ValueError(f"nothing to compare: no record{_asked(options)}")
    matched = match(*sides, keys)
    if not matched.timed and not matched.changes and len(matched.missing) == len(keys):
        raise ValueError(f"nothing to compare: no case and implementation in common; {nothing_in_common(*sides)}")
    refused = _refused([*a, *b], sides, matched.timed, options)
    anchors = Anchors(*sides, options)
    anchors.check()
    judged, missing = _rows(sides, matched, options, lambda key, which: run_row(sides, key, which, anchors, options))
    return Comparison(
        a=titles[0],
        b=titles[1],
        runs_a=len(a),
        runs_b=len(b),
        options=options,
        rows=judged,
        changes=matched.changes,
        missing=(*matched.missing, *missing),
        anchors=anchors.used(judged),
        warnings=(*environments.warnings([*_names("A", a), *_names("B", b)], [*a, *b]), *anchors.moved(matched.timed)),
        refused=refused,
        multiplicity=_multiplicity(judged),
    )


def compare_implementations(runs: Sequence[Run], a: str, b: str, options: Options = DEFAULT) -> Comparison:
    """Implementation `b` against `a` on every case of one run, or of several: samples of one round are pairs.

    Raises ValueError as `compare_runs` does, and for an implementation that no run has.
    """
    if not runs:
        raise ValueError("runs: expected at least one, got none")
    if a == b:
        raise ValueError(f"implementations: expected two different ones, got {a} twice")
    sides = Side.of("A", runs, a), Side.of("B", runs, b)
    known = dict.fromkeys(key[1] for key in all_keys(*sides))
    for name in (a, b):
        if name not in known:
            raise ValueError(f"implementations: {name} has no record here, known: {', '.join(known) or 'none'}")
    keys = list(dict.fromkeys((key[0], b, key[2]) for key in all_keys(*sides, case=options.case) if key[1] in (a, b)))
    matched = match(*sides, keys)
    if not matched.timed and not matched.changes:
        raise ValueError(f"nothing to compare: no case{_asked(options)} has both {a} and {b}")
    refused = _refused(runs, sides, matched.timed, options)
    judged, missing = _rows(sides, matched, options, lambda key, which: pair_row(sides, key, which, options))
    return Comparison(
        a=a,
        b=b,
        runs_a=len(runs),
        runs_b=len(runs),
        options=replace(options, implementations=(a, b)),
        rows=judged,
        changes=matched.changes,
        missing=(*matched.missing, *missing),
        warnings=tuple(environments.warnings(_names("run", runs), runs)),
        refused=refused,
        multiplicity=_multiplicity(judged),
    )


def _rows(
    sides: tuple[Side, Side], matched: Matched, options: Options, make: Make
) -> tuple[tuple[Row, ...], list[Missing]]:
    """The judged rows, and what has no time on one side or both."""
    found: list[Judged] = []
    missing: list[Missing] = []
    for key in matched.timed:
        for which in options.which:
            lacking = [side.name for side in sides if not side.samples(key, which)]
            if lacking:
                case = sides[0].records(key)[0].case
                missing.append(Missing(case, key[1], " and ".join(lacking), f"no {which} time"))
            else:
                found.append(make(key, which))
    if not found and not matched.changes:
        raise ValueError(f"nothing to compare: no {' or '.join(options.which)} times on both sides{_phases(sides[0])}")
    return judge(found, options), missing


def _phases(side: Side) -> str:
    """The phases that can be asked for, in words."""
    names = dict.fromkeys(name for run in side.runs for record in run.values() for name in record.phases)
    return f"; phases: {', '.join(names)}" if names else ""


def _refused(runs: Sequence[Run], sides: tuple[Side, Side], keys: Sequence[Key], options: Options) -> tuple[str, ...]:
    """Why this comparison should not be made; raises ValueError unless it is forced."""
    found = environments.refusals(runs)
    for key in keys:
        for which in options.which:
            series = [samples for side in sides for _, samples in side.samples(key, which)]
            found += [environments.timer_refusal(key[1], series[0], other) for other in series[1:]]
    reasons = tuple(dict.fromkeys(reason for reason in found if reason))
    if reasons and not options.force:
        raise ValueError(f"not comparable: {'; '.join(reasons)} (--force compares all the same)")
    return reasons


def _asked(options: Options) -> str:
    """The implementations and cases asked for, in words."""
    names = f" of {', '.join(options.implementations)}" if options.implementations else ""
    return names + (f" of a case named {options.case!r}" if options.case else "")


def _names(side: str, runs: Sequence[Run]) -> list[str]:
    return [side] if len(runs) == 1 else [f"{side} {number}" for number in range(1, len(runs) + 1)]


def _multiplicity(rows: Sequence[Row]) -> str:
    """How many comparisons at once were allowed for, in words."""
    tested = sum(math.isfinite(row.p_value) for row in rows)
    if tested < 2:
        return ""
    return f"{tested} rows at once: a false faster or slower anywhere in at most 5 % of comparisons (Holm)"
