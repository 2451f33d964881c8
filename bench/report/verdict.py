"""The verdict in a sentence, and the rows of the table behind it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..comparison import together
from ..records import BASELINE, Environment, Record, Run, Samples
from ..timing import FEWEST, Interval, counted_pairs, ratio_interval
from .cases import (
    Group,
    case_meta,
    case_phrase,
    has_interval,
    has_times,
    hot_median,
    implementations,
    interval_or_count,
    is_measured,
    is_timed,
    main_case,
    scale_text,
    without_versions,
)
from .formats import (
    NONE,
    counted,
    digits,
    interval_text,
    is_number,
    listed,
    percent_text,
    scientific,
    speedup_interval,
    time_text,
)
from .own_ceiling import own_share
from .palette import colour

_NOWHERE = Environment()


@dataclass(frozen=True)
class Verdict:
    """kind: "decided", "undecided" or "not measured";  remarks: what else must be known to read the sentence."""

    kind: str
    sentence: str
    remarks: tuple[str, ...] = ()


def verdict(run: Run) -> Verdict:
    """Which implementation is fastest on the main case, if that can be said."""
    remarks = _remarks(run)
    if not run.records:
        return Verdict("not measured", "Not measured: this run holds no records.", remarks)
    group = main_case(run)
    if group is None:
        kinds = listed(sorted({str(record.provenance) for record in run.records}))
        return Verdict("not measured", f"Not measured: every record of this run is {kinds}.", remarks)
    ranked = group.fastest
    if not ranked:
        return Verdict("not measured", f"Not measured: {_outcomes(group)} on {case_phrase(group.case)}.", remarks)
    remarks = _case_remarks(group) + remarks
    if len(ranked) == 1:
        only = ranked[0]
        sentence = (
            f"Undecided: only {only.implementation} was timed on {case_phrase(group.case)}, {_time(only)}; "
            "there is nothing to compare it with."
        )
        return Verdict("undecided", sentence, remarks)
    return _compare(group, ranked[0], ranked[1], remarks)


def _compare(group: Group, first: Record, second: Record, remarks: tuple[str, ...]) -> Verdict:
    where = case_phrase(group.case)
    if told_apart(first, second):
        ratio = longer(first, second)
        interval = interval_text(ratio.low, ratio.high)
        takes = f"takes {digits(ratio.value)} times{f' ({interval})' if interval else ''} as long"
        ahead = "" if second.implementation == BASELINE else f"; the next, {second.implementation}, {takes}"
        sentence = f"{first.implementation} is fastest on {where}: {_time(first)}, {_over_baseline(first)}{ahead}."
        return Verdict("decided", sentence, remarks)
    sentence = f"Undecided between {_doubt(first, second, where)}. {first.implementation}: {_over_baseline(first)}."
    return Verdict("undecided", sentence, remarks)


def _doubt(first: Record, second: Record, where: str) -> str:
    """Which two timed records cannot be told apart, and why."""
    ratio = longer(first, second)
    names = [record.implementation for record in (first, second)]
    if is_number(ratio.low):
        times = [time_text(hot_median(record)) for record in (first, second)]
        takes = f"{names[1]} takes {interval_text(ratio.low, ratio.high)} times as long, which includes 1"
        return f"{names[0]} ({times[0]}) and {names[1]} ({times[1]}) on {where}: {takes}"
    rounds = min(_counted(record) for record in (first, second))
    few = f"with only {counted(rounds, 'sample')}, too few for an interval"
    why = few if rounds < FEWEST else "and the intervals overlap"
    return f"{names[0]} and {names[1]} on {where}: {_time(first)} against {_time(second)}, {why}"


def longer(first: Record, second: Record) -> Interval:
    """How many times as long `second` takes: from the rounds they share, where they were timed in the same ones.

    Else there is no interval: what one of them met, the other may have missed.
    """
    assert first.hot is not None
    assert second.hot is not None
    if together(first.hot, second.hot) and all(_are_times(record) for record in (first, second)):
        return _interval_of(*(np.array(part).tobytes() for part in counted_pairs(second.hot, first.hot)))
    return Interval(second.hot.median_us / first.hot.median_us, math.nan, math.nan)


@lru_cache(maxsize=10_000)
def _interval_of(longer_: bytes, shorter: bytes) -> Interval:
    """The interval of the ratio of two series of samples, float64[n] each: sections ask for the same ones again."""
    return ratio_interval(np.frombuffer(longer_), np.frombuffer(shorter))


def told_apart(first: Record, second: Record) -> bool:
    """Whether the second of two timed records takes longer beyond doubt: the interval of the ratio lies above 1 or,
    where they were not timed in the same rounds, the intervals of their medians do not meet.
    """
    ratio = longer(first, second)
    if is_number(ratio.low):
        return ratio.low > 1
    assert first.hot is not None
    assert second.hot is not None
    if not (has_interval(first.hot) and has_interval(second.hot)) or together(first.hot, second.hot):
        return False
    return first.hot.high_us < second.hot.low_us


def _are_times(record: Record) -> bool:
    return bool(record.hot) and all(is_number(us) and us > 0 for us in record.hot.samples_us)


def _counted(record: Record) -> int:
    return len(record.hot.samples_us) if record.hot else 0


def _time(record: Record) -> str:
    assert record.hot is not None
    return f"{time_text(record.hot.median_us)} ({_interval(record.hot)})"


def _over_baseline(record: Record) -> str:
    if record.implementation == BASELINE:
        return "so padding every expert costs nothing here"
    speedup = record.speedup
    if speedup is None or not is_number(speedup.ratio):
        return f"its ratio over {BASELINE} not measured"
    interval = interval_text(speedup.low, speedup.high)
    text = f"{digits(speedup.ratio)} times{f' ({interval})' if interval else ''} as fast as {speedup.baseline}"
    return f"{text}, {speedup.doubt}" if speedup.doubt else text


def _outcomes(group: Group) -> str:
    counts = Counter(str(record.status).replace("_", " ") for record in group.records)
    untimed = counts.pop("passed", 0)
    parts = [f"{count} {status}" for status, count in counts.items()] + ([f"{untimed} without a time"] * bool(untimed))
    return f"of {counted(len(group.records), 'implementation')}, {listed(parts)}"


def _case_remarks(group: Group) -> tuple[str, ...]:
    text = scale_text(group.case)
    return (f"This layer is {text}; it stands for no layer of full size.",) if text else ()


def _remarks(run: Run) -> tuple[str, ...]:
    remarks = []
    records = without_versions(run.records)
    timed = {record.implementation for record in records if is_timed(record)}
    if run.records and run.environment.gpu is None:
        others = [name for name in implementations(records) if name not in timed]
        left = f" {listed(others)} {'has' if len(others) == 1 else 'have'} no time in it." if others else ""
        remarks.append(f"There was no GPU: this is an answer for this CPU.{left}" if timed else "There was no GPU.")
    if run.finished is None:
        remarks.append("The run was interrupted: what it had finished is drawn.")
    return tuple(remarks)


def table_rows(group: Group, environment: Environment = _NOWHERE) -> list[dict[str, Any]]:
    """One row of texts per measured record of a case: the timed ones by time, then the others."""
    ranked = list(group.fastest)
    rest = [record for record in group.records if not is_timed(record)]
    rows = [measured_row(record, environment) for record in ranked + rest]
    if len(ranked) > 1 and told_apart(ranked[0], ranked[1]):
        rows[0]["best"] = True
    return rows


def measured_row(record: Record, environment: Environment = _NOWHERE) -> dict[str, Any]:
    """A measured record as texts."""
    hot = record.hot if is_timed(record) else None
    cold = record.cold if hot and has_times(record.cold) else None
    executed = record.executed_flops / hot.median_us * 1e-6 if hot and is_number(record.executed_flops) else None
    speedup = record.speedup if hot else None
    own = own_share(record, environment)
    return {
        **_common(record),
        "hot": time_text(hot.median_us) if hot else NONE,
        "hot_interval": _interval(hot),
        "cold": time_text(cold.median_us) if cold else NONE,
        "cold_interval": _interval(cold),
        "useful": digits(record.tflops) if hot else NONE,
        "executed": digits(executed),
        "share": percent_text(record.share_of_roof) if hot else NONE,
        "own": own.short if own else "",
        "own_words": own.long if own else "",
        "speedup": digits(speedup.ratio) if speedup else ("1" if hot and record.implementation == BASELINE else NONE),
        "speedup_interval": speedup_interval(speedup) if speedup else "",
        "best": False,
    }


def other_rows(run: Run) -> list[dict[str, Any]]:
    """One row of texts per record that is not measured: never with a time."""
    rows = []
    for record in run.records:
        if is_measured(record):
            continue
        case = record.case
        what = [f"{case.tokens} tokens"] if case.tokens else []
        what += [part for part in (case.routing, case.dtype, case.device) if part]
        # What was compiled is of no case, so no choice of cases leaves it out.
        meta = {"implementation": record.implementation, **(case_meta(case) if case.tokens else {})}
        words = {"spec": case.spec, "scale": scale_text(case), "what": " · ".join(what)}
        rows.append({**_common(record), **words, "meta": meta})
    return rows


def _common(record: Record) -> dict[str, Any]:
    error = record.error
    return {
        "implementation": record.implementation,
        "colour": colour(record.implementation),
        "provenance": str(record.provenance),
        "status": str(record.status).replace("_", " "),
        "passed": str(record.status) == "passed",
        "error": scientific(error.relative) if error else NONE,
        "worst": scientific(error.worst) if error else NONE,
        "checked": error.checked if error else "",
        "reason": record.reason,
    }


def _interval(samples: Samples | None) -> str:
    return interval_or_count(samples) if samples is not None else ""
