"""The sentence and the table of the ladder of versions."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Environment, Record, Samples
from .cases import has_times, hot_median, interval_or_count, is_timed
from .formats import NONE, digits, interval_text, listed, percent_text, time_text, tokens_text, whole
from .ladder import Ladder, Rung, share_of_roof
from .own_ceiling import own_share

HEADER = (
    *("implementation", "tokens", "hot", "95 % interval", "cold", "useful TFLOP/s", "share of the roof"),
    *("times as fast", "as", "gemm1", "gemm2"),
)
_HOW = (
    "A step is the ratio of hot medians of samples taken in the same rounds; where its interval includes 1, nothing is "
    "decided and the figure has a question mark. Phases are timed one at a time."
)


def ladder_reading(found: Sequence[Ladder]) -> str:
    """What the ladder is worth at the fewest and at the most tokens, and which step is the largest."""
    by_tokens = sorted(found, key=lambda ladder: ladder.case.tokens or 0)
    shown = dict.fromkeys((by_tokens[0].case.tokens, by_tokens[-1].case.tokens))
    return " ".join(_at(next(one for one in by_tokens if one.case.tokens == tokens)) for tokens in shown)


def _at(ladder: Ladder) -> str:
    at, timed, best = f"At {tokens_text(ladder.case.tokens or 0)}", ladder.timed, ladder.fastest.record
    first = timed[0].record
    said = f"{at} {best.implementation} has the lowest time"
    if best is not first:
        said += f", {digits(hot_median(first) / hot_median(best))} times as fast as {first.implementation}"
    steps = [rung for rung in timed if rung.faster is not None and not rung.doubt and rung.faster.value > 1]
    if steps and best is not timed[1].record:
        most = max(steps, key=lambda rung: rung.faster.value if rung.faster is not None else 0.0)
        assert most.faster is not None
        said += f"; the largest step is {most.record.implementation}, {digits(most.faster.value)} times the one before"
    unsure = [rung.record.implementation for rung in timed if rung.before is not None and rung.doubt]
    if unsure:
        said += f"; undecided against the one before: {listed(unsure)}"
    slower = [r.record.implementation for r in timed if r.faster is not None and not r.doubt and r.faster.value < 1]
    if slower:
        said += f"; slower than the one before: {listed(slower)}"
    return f"{said}.{_chosen(ladder)}"


def _chosen(ladder: Ladder) -> str:
    """Whether the implementation itself is as fast as the fastest version."""
    rung = ladder.itself
    if rung is None or rung.faster is None or rung.before is None:
        return ""
    if rung.doubt:
        return f" {ladder.family} itself cannot be told from {rung.before.implementation}."
    return f" {ladder.family} itself is {step_text(rung)}."


def step_text(rung: Rung) -> str:
    """How many times as fast as which version, in words: "3.10 times (3.02 to 3.17) as fast as cupy_tile"."""
    if rung.faster is None or rung.before is None:
        return "the first of the ladder" if is_timed(rung.record) else "not timed"
    interval = interval_text(rung.faster.low, rung.faster.high)
    said = f"{digits(rung.faster.value)} times{f' ({interval})' if interval else ''} as fast as"
    return f"{said} {rung.before.implementation}{f', {rung.doubt}' if rung.doubt else ''}"


def share_text(record: Record, environment: Environment) -> str:
    """The share of the measured roof that limits it, in words; that none is known where it is not."""
    share, own = share_of_roof(record, environment), own_share(record, environment)
    said = f"{percent_text(share[0])} of {share[1]}" if share is not None else "no measured roof"
    return f"{said}; {own.short}" if own is not None else said


def table(found: Sequence[Ladder], environment: Environment) -> tuple[tuple[str, ...], ...]:
    """A row for every version on every number of tokens, by HEADER, also of those without a time: see `remarks`."""
    return tuple(
        _row(rung, environment)
        for ladder in found
        for rung in (*ladder.rungs, *([ladder.itself] if ladder.itself is not None else []))
    )


def _row(rung: Rung, environment: Environment) -> tuple[str, ...]:
    record = rung.record
    start = (record.implementation, whole(record.case.tokens))
    if not is_timed(record) or record.hot is None:
        return (*start, str(record.status).replace("_", " "), *[NONE] * 8)
    step = (NONE, NONE)
    if rung.faster is not None and rung.before is not None:
        interval = ", ".join(filter(None, (interval_text(rung.faster.low, rung.faster.high), rung.doubt)))
        step = (f"{digits(rung.faster.value)}{f' ({interval})' if interval else ''}", rung.before.implementation)
    return (
        *start,
        time_text(record.hot.median_us),
        interval_or_count(record.hot),
        _time(record.cold),
        digits(record.tflops),
        share_text(record, environment),
        *step,
        *(_time(record.phases.get(name)) for name in ("gemm1", "gemm2")),
    )


def remarks(found: Sequence[Ladder]) -> tuple[str, ...]:
    """Why a version or the implementation itself has no time, each reason once; and how the figures are to be read."""
    rungs = [rung for ladder in found for rung in (*ladder.rungs, *([ladder.itself] if ladder.itself else []))]
    untimed: dict[str, list[str]] = {}
    for record in (rung.record for rung in rungs if not is_timed(rung.record)):
        words = ": ".join(filter(None, (str(record.status).replace("_", " "), record.reason)))
        untimed.setdefault(words, []).append(record.implementation)
    said = [f"{listed(list(dict.fromkeys(names)))} {words}." for words, names in untimed.items()]
    return (*said, _HOW)


def _time(samples: Samples | None) -> str:
    return time_text(samples.median_us) if has_times(samples) else NONE
