"""The sentence and the table under decode against prefill."""

from __future__ import annotations

from collections.abc import Sequence

from .cases import Group, hot_median
from .formats import NONE, listed, percent_text, time_text, tokens_text, whole
from .regimes import DECODE, LEAST_PREFILL, MOST_DECODE, PREFILL, Lead, Share, crossovers, leads, regime_of

_MOST_CHANGES = 3  # of the lead that are told one by one
HEADER = (
    "implementation",
    "regime",
    "mean over tokens",
    "share of the limit",
    "limited by",
    "fastest, beyond doubt, at",
)


def regimes_reading(series: Sequence[Group], shares: Sequence[Share]) -> str:
    """Who is fastest in decode and who in prefill, beyond doubt, and between which tokens the lead changes."""
    found = leads(series)
    if len({share.name for share in shares}) < 2:
        only = " and ".join(f"{percent_text(share.share)} in {share.regime}" for share in shares)
        return f"Only {shares[0].name} was timed: it reaches {only} of its limit. {_absent(found)}".strip()
    parts = [said for regime in (DECODE, PREFILL) if (said := _winner(regime, found))]
    return " ".join([f"{'; '.join(parts)}.", _crossing(found), _absent(found)]).replace("  ", " ").strip()


def _winner(regime: str, found: Sequence[Lead]) -> str:
    mine = [lead for lead in found if regime_of(lead.tokens) == regime]
    if not mine:
        return ""
    wins: dict[str, list[int]] = {}
    for lead in mine:
        if lead.name is not None:
            wins.setdefault(lead.name, []).append(lead.tokens)
    open_ = [lead.tokens for lead in mine if lead.name is None]
    parts = [f"{name} is fastest at {tokens_text(*tokens)}" for name, tokens in wins.items()]
    parts += [f"the fastest two cannot be told apart at {tokens_text(*open_)}"] if open_ else []
    return f"{'In' if regime == DECODE else 'in'} {regime} {listed(parts)}"


def _crossing(found: Sequence[Lead]) -> str:
    changes = crossovers(found)
    if not changes:
        decided = {lead.name for lead in found if lead.name is not None}
        regimes = {regime_of(lead.tokens) for lead in found if lead.name is not None}
        never = len(decided) == 1 and {DECODE, PREFILL} <= regimes
        return "Nowhere in between does another one lead." if never else ""
    if len(changes) > _MOST_CHANGES:
        first, last = (tokens_text(one.tokens) for one in (changes[0][0], changes[-1][1]))
        return f"Between {first} and {last} the lead changes {len(changes)} times."
    return " ".join(
        f"The lead goes from {old.name} to {new.name} between {whole(old.tokens)} and {whole(new.tokens)} tokens."
        for old, new in changes
    )


def _absent(found: Sequence[Lead]) -> str:
    """The regimes that were not measured."""
    known = {regime_of(lead.tokens) for lead in found}
    missing = []
    if DECODE not in known:
        missing.append(f"decode ({MOST_DECODE} tokens or fewer)")
    if PREFILL not in known:
        missing.append(f"prefill ({LEAST_PREFILL} tokens or more)")
    return f"Nothing was timed in {listed(missing)}." if missing else ""


def remarks(series: Sequence[Group], shares: Sequence[Share]) -> tuple[str, ...]:
    """What was left out of the means."""
    between = sorted({group.case.tokens for group in series if group.case.tokens and not regime_of(group.case.tokens)})
    said = [f"Neither decode nor prefill, and not drawn: {tokens_text(*between)}."] if between else []
    for regime in (DECODE, PREFILL):
        mine = [share for share in shares if share.regime == regime]
        if len({share.tokens for share in mine}) > 1:
            said.append(f"In {regime} no tokens are common to all, so that the means are of different cases.")
            continue
        used = set(mine[0].tokens) if mine else set()
        more = {
            group.case.tokens or 0
            for group in series
            if group.timed and regime_of(group.case.tokens) == regime and group.case.tokens not in used
        }
        if mine and more:
            left = tokens_text(*sorted(more))
            said.append(f"In {regime}, left out of the means, as not every implementation was timed there: {left}.")
    return tuple(said)


def rows(series: Sequence[Group], shares: Sequence[Share]) -> tuple[tuple[str, ...], ...]:
    """A row for each implementation and regime."""
    found = leads(series)
    return tuple(_row(share, found) for share in shares)


def _row(share: Share, found: Sequence[Lead]) -> tuple[str, ...]:
    led = [lead for lead in found if lead.name == share.name and regime_of(lead.tokens) == share.regime]
    limiters = listed(list(dict.fromkeys(one.limiter for one in share.limits)))
    won = ", ".join(f"{whole(lead.tokens)} ({_time(share, lead.tokens)})" for lead in led) or NONE
    tokens = ", ".join(whole(count) for count in share.tokens)
    return (share.name, share.regime, tokens, percent_text(share.share), limiters, won)


def _time(share: Share, tokens: int) -> str:
    times = [time_text(hot_median(one.record)) for one in share.limits if one.record.case.tokens == tokens]
    return times[0] if times else NONE
