"""A row: samples to an effect, the verdict on all rows at once, and what must be said with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..records import CaseRecord, Record, Samples
from ..timing import FEWEST, LEVEL
from .anchors import Anchors
from .effects import across, paired
from .matching import Key, Rounds, rounds, together
from .result import PHASES, Options, Ratio, Row, Verdict
from .sides import Side
from .verdict import Effect, decide, holm, remedy

_CLOCK_SHARE = 0.01


@dataclass(frozen=True)
class Judged:
    """A row before its verdict. effect: None with too few rounds to say anything."""

    case: CaseRecord
    implementation: str
    which: str
    a: tuple[Rounds, ...]
    b: tuple[Rounds, ...]
    effect: Effect | None
    method: str
    raw: Effect | None = None
    anchors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shared: bool = False

    @property
    def left_out(self) -> int:
        """Suspect rounds, once where both sides share them."""
        return sum(run.left_out for side in ((self.a,) if self.shared else (self.a, self.b)) for run in side)


def pair_row(sides: tuple[Side, Side], key: Key, which: str, options: Options) -> Judged:
    """Two implementations in the same run or runs."""
    a, b = (dict(side.samples(key, which)) for side in sides)
    both = [(a[number], b[number]) for number in a if number in b]
    case = sides[0].records(key)[0].case
    name = f"{sides[1].implementation} against {sides[0].implementation}"
    notes = _timed_differently(*both[0]) if both else ()
    if both and not which.startswith(PHASES) and all(together(*pair) for pair in both):
        runs = tuple(rounds(pair) for pair in both)
        effect = paired(runs) if _enough(runs) else None
        method = "paired rounds" + (f", variance over {len(runs)} runs" if len(runs) > 1 else "")
        turned = tuple(Rounds(run.series[::-1], run.left_out) for run in runs)  # the first series is the side's own
        return Judged(case, name, which, runs, turned, effect, method, notes=notes, shared=True)
    first, second = (tuple(rounds([samples]) for samples in side.values()) for side in (a, b))
    effect = across(first, second, options.run_to_run) if _enough(first) and _enough(second) else None
    method = "one after the other, not in the same rounds"
    if len(first) + len(second) == 2:
        method += f", {_assumption(options)}"
    return Judged(case, name, which, first, second, effect, method, notes=notes)


def run_row(sides: tuple[Side, Side], key: Key, which: str, anchors: Anchors, options: Options) -> Judged:
    """One implementation in runs of A and of B."""
    names = anchors.of(key, which)
    a, b = (tuple(rounds(series) for series in anchors.series(side, key, which, names)) for side in sides)
    case = sides[0].records(key)[0].case
    first, second = (side.samples(key, which)[0][1] for side in sides)
    notes = (*_timed_differently(first, second), *_other_clock(*(side.records(key)[0] for side in sides)))
    if not (_enough(a) and _enough(b)):
        return Judged(case, key[1], which, a, b, None, "", anchors=names, notes=notes)
    single = len(a) + len(b) == 2 and options.run_to_run is None
    shown = anchors.variance(key, which) if single else None
    effect = across(a, b, options.run_to_run, (shown or 0.0) * (1 + 1 / max(1, len(names))))
    raw = across(_alone(a), _alone(b), options.run_to_run) if names else None
    method = f"over {', '.join(names)} of the same rounds" if names else "no anchor"
    if len(a) + len(b) > 2:
        method += f", variance over {len(a)} and {len(b)} runs"
    else:
        method += f", {_assumption(options)}" + (" or how these disagree" if shown is not None else "")
    return Judged(case, key[1], which, a, b, effect, method, raw, names, notes)


def judge(found: Sequence[Judged], options: Options) -> tuple[Row, ...]:
    """The verdicts, which depend on how many rows there are."""
    tested = [row.effect for row in found if row.effect is not None]
    adjusted = iter(holm([effect.p_value for effect in tested]))
    return tuple(_row(row, next(adjusted) if row.effect else math.nan, len(tested), options) for row in found)


def _row(row: Judged, p_adjusted: float, tested: int, options: Options) -> Row:
    verdict, notes, more_samples, more_runs = Verdict.UNDECIDED, list(row.notes), None, None
    medians = [_median(side) for side in (row.a, row.b)]
    ratio = Ratio(medians[1] / medians[0], math.nan, math.nan)
    p_value = math.nan
    if row.effect is None:
        fewest = min(run.count for run in (*row.a, *row.b))
        more_samples = FEWEST - fewest
        notes.append(f"only {fewest} usable rounds: at least {more_samples} more are needed")
    else:
        ratio, p_value = row.effect.ratio, row.effect.p_value
        verdict = decide(row.effect, p_adjusted, options.threshold)
        if verdict is Verdict.UNDECIDED:
            wanted = remedy(row.effect, options.threshold, tested)
            more_samples, more_runs = wanted.samples, wanted.runs
            notes.append(wanted.text)
            if p_value <= 1 - LEVEL < p_adjusted:
                notes.append(f"told apart from 1 alone, not among {tested} rows")
    if row.left_out:
        notes.append(f"{row.left_out} suspect rounds left out")
    return Row(
        case=row.case,
        implementation=row.implementation,
        which=row.which,
        a_us=medians[0],
        b_us=medians[1],
        ratio=ratio,
        verdict=verdict,
        p_value=p_value,
        p_adjusted=p_adjusted,
        method=row.method,
        samples=(sum(run.count for run in row.a), sum(run.count for run in row.b)),
        raw=row.raw.ratio if row.raw else None,
        anchors=row.anchors,
        left_out=row.left_out,
        more_samples=more_samples,
        more_runs=more_runs,
        note="; ".join(notes),
    )


def _enough(runs: Sequence[Rounds]) -> bool:
    return bool(runs) and all(run.count >= FEWEST for run in runs)


def _alone(runs: Sequence[Rounds]) -> tuple[Rounds, ...]:
    """Without the anchors, in the same rounds."""
    return tuple(Rounds(run.series[:1], run.left_out) for run in runs)


def _median(runs: Sequence[Rounds]) -> float:
    """Microseconds: the geometric mean over runs of the median of the first series."""
    logs = [math.log(float(np.median(run.series[0]))) for run in runs if run.count]
    return math.exp(float(np.mean(logs))) if logs else math.nan


def _assumption(options: Options) -> str:
    """Where the run-to-run variance comes from with one run a side."""
    if options.run_to_run is None:
        return "run-to-run variance from the spread of the samples"
    if options.run_to_run == 0:
        return "run-to-run variance not covered"
    return f"a run-to-run deviation of {options.run_to_run * 100:g} % as given"


def _other_clock(a: Record, b: Record) -> tuple[str, ...]:
    """Told where the clock moved by more than a percent: then it, and not the code, may have changed the time."""
    mhz = [record.clocks.sm_mhz if record.clocks else None for record in (a, b)]
    if mhz[0] is None or mhz[1] is None or abs(mhz[1] / mhz[0] - 1) <= _CLOCK_SHARE:
        return ()
    return (f"SM clock {mhz[0]:.0f} MHz in A, {mhz[1]:.0f} MHz in B",)


def _timed_differently(a: Samples, b: Samples) -> tuple[str, ...]:
    return () if a.method == b.method else (f"timed as {a.method!r} and {b.method!r}",)
