"""The sentence and the table under the roofline."""

from __future__ import annotations

from collections.abc import Sequence

from .cases import hot_median, interval_or_count
from .formats import counted, digits, listed, percent_text, rate_text, time_text, tokens_text, whole
from .palette import ordered
from .roofline import COPY, MATRIX, Limit, Roofs
from .verdict import told_apart

HEADER = (
    *("implementation", "tokens", "FLOP/byte", "useful rate", "limited by", "least time", "hot"),
    *("interval", "share of the limit"),
)


def roofline_reading(limits: Sequence[Limit], roofs: Roofs | None, missing: str) -> str:
    """Which roof limits where, and how near the best comes to it at the fewest and the most tokens.

    missing: why there are no roofs, where there are none
    """
    if roofs is None:
        return f"No share of a roof can be given: {missing}."
    by_tokens: dict[int, list[Limit]] = {}
    for one in limits:
        by_tokens.setdefault(one.record.case.tokens or 0, []).append(one)
    said = [_at(tokens, by_tokens[tokens]) for tokens in sorted({min(by_tokens), max(by_tokens)})]
    return f"{' '.join(said)} {_limits(by_tokens, roofs)}"


def _at(tokens: int, found: Sequence[Limit]) -> str:
    """Who comes nearest to the limit that all share, as far as they can be told apart."""
    best, *others = sorted(found, key=lambda one: hot_median(one.record))
    share, what = percent_text(best.share), f"the limit, the {best.limiter}"
    at = f"At {tokens_text(tokens)}"
    if not others:
        return f"{at} {best.record.implementation} reaches {share} of {what}."
    if told_apart(best.record, others[0].record):
        return f"{at} {best.record.implementation} comes nearest to {what}: {share} of it."
    names = [one.record.implementation for one in (best, others[0])]
    shares = listed(list(dict.fromkeys((share, percent_text(others[0].share)))))
    return f"{at} {listed(names)} come nearest to {what}, {shares} of it, and cannot be told apart."


def _limits(by_tokens: dict[int, list[Limit]], roofs: Roofs) -> str:
    """Which cases lie on which side of the ridge."""
    sides = {
        limiter: [tokens for tokens in sorted(by_tokens) if by_tokens[tokens][0].limiter == limiter]
        for limiter in (COPY, MATRIX)
    }
    ridge = f"the roofs meet at {digits(roofs.ridge)} FLOP/byte"
    if not sides[MATRIX] or not sides[COPY]:
        (limiter,) = (name for name, tokens in sides.items() if tokens)
        return f"All of it is limited by the {limiter}: {ridge}."
    said = [f"the {limiter} limits {tokens_text(*tokens)}" for limiter, tokens in sides.items()]
    return f"T{', '.join(said)[1:]}: {ridge}."


def remarks(limits: Sequence[Limit], roofs: Roofs | None, left_out: Sequence[str]) -> tuple[str, ...]:
    """What else must be known to read the figure."""
    said = []
    above = [one for one in limits if roofs is not None and one.share > 1]
    if above:
        said.append(
            f"{counted(len(above), 'point')} above the roof: data in a cache comes faster than the copy of a buffer "
            "larger than any cache, and a small matrix product may be faster than the one the roof was taken from."
        )
    if left_out:
        said.append(f"Not drawn, for their FLOPs or bytes are not known: {listed(list(left_out))}.")
    return tuple(said)


def rows(limits: Sequence[Limit], roofs: Roofs | None) -> tuple[tuple[str, ...], ...]:
    """A row for each point, by tokens."""
    names = ordered(one.record.implementation for one in limits)
    by_tokens = sorted(limits, key=lambda one: (one.record.case.tokens or 0, names.index(one.record.implementation)))
    return tuple(_row(one, roofs) for one in by_tokens)


def _row(one: Limit, roofs: Roofs | None) -> tuple[str, ...]:
    hot = one.record.hot
    assert hot is not None
    known = (one.limiter, time_text(one.least_us)) if roofs else ("not known", "not known")
    share = percent_text(one.share) if roofs else "not known"
    start = (one.record.implementation, whole(one.record.case.tokens), digits(one.intensity), rate_text(one.tflops))
    return (*start, *known, time_text(hot.median_us), interval_or_count(hot), share)
