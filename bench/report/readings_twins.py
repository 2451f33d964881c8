"""The sentence and the table under a heterogeneous layer beside its uniform twin."""

from __future__ import annotations

from collections.abc import Sequence

from .cases import hot_median
from .figures_energy import joule_text
from .figures_twins import change_text, ends_text, percent_change
from .formats import NONE, bytes_text, digits, listed, time_text, tokens_text, whole
from .palette import position
from .twins import Change, Pair, parameter_change, parameters, weight_bytes

_MOST_NAMED = 3  # implementations in a sentence
_HEADER = (
    *("implementation", "tokens", "time", "time of the twin", "change of time", "verdict", "useful FLOPs"),
    *("bytes that must move", "energy of a token", "of the twin", "change of energy", "memory in use"),
)


def twins_reading(found: Sequence[Pair]) -> str:
    """How many fewer parameters buy how much time and energy, at the fewest and the most tokens."""
    if not found:
        return ""
    counts = sorted({pair.tokens for pair in found})
    shown = dict.fromkeys((counts[0], counts[-1]))
    times = [_bought([pair for pair in found if pair.tokens == count]) for count in shown]
    return " ".join([*filter(None, [_size(found[0])]), *times, *filter(None, [_energies(found)])])


def _size(pair: Pair) -> str:
    """The parameters and the bytes of the weights of both layers."""
    change = parameter_change(pair)
    if change is None:
        return ""
    mine, twin = pair.mine.case, pair.twin.case
    amount = "as many" if change == 0 else f"{digits(abs(change) * 100, 4)} % {'fewer' if change < 0 else 'more'}"
    counts = f"{_millions(parameters(mine))} against {_millions(parameters(twin))}"
    weights = weight_bytes(mine), weight_bytes(twin)
    held = f"; weights of {bytes_text(weights[0])} against {bytes_text(weights[1])}" if all(weights) else ""
    return f"{mine.spec} has {amount} expert parameters {'as' if change == 0 else 'than'} {twin.spec} ({counts}{held})."


def _millions(count: int | None) -> str:
    return f"{digits(count / 1e6, 4)} M" if count is not None else digits(None)


def _bought(found: Sequence[Pair]) -> str:
    """The change of time of each implementation at one number of tokens, the undecided ones apart."""
    flops = found[0].flops
    counted = f" (useful FLOPs: {percent_change(flops)})" if flops is not None else ""
    return f"At {tokens_text(found[0].tokens)}{counted}: {_each([(pair, pair.time) for pair in found], 'time')}."


def _each(found: Sequence[tuple[Pair, Change]], what: str) -> str:
    """What each takes less or more; where they are many, the least and the most of them. The undecided by name."""
    ranked = sorted(found, key=lambda one: position(one[0].implementation))
    decided = [(pair.implementation, change) for pair, change in ranked if not change.doubt]
    if len(decided) <= _MOST_NAMED:
        said = [f"{name} takes {percent_change(change.value)} {what} ({ends_text(change)})" for name, change in decided]
    else:
        sides = ([one for one in decided if one[1].value < 0], [one for one in decided if one[1].value >= 0])
        said = [_range(side, what) for side in sides if side]
    names = [pair.implementation for pair, change in ranked if change.doubt]
    parts = [listed(said)] if said else []
    parts += [f"undecided with {listed(names)}"] if names else []
    return ", ".join(parts)


def _range(side: Sequence[tuple[str, Change]], what: str) -> str:
    """How much less, or more, several take: "8 implementations take 12 % (numba) to 18 % (triton) less time"."""
    near, *_, far = sorted(side, key=lambda one: abs(one[1].value)) if len(side) > 1 else (side[0], side[0])
    if near is far:
        return f"{near[0]} takes {percent_change(near[1].value)} {what}"
    start = f"{digits(abs(near[1].value) * 100)} % ({near[0]})"
    amount, _, direction = percent_change(far[1].value).rpartition(" ")
    return f"{len(side)} implementations take {start} to {amount} ({far[0]}) {direction} {what}"


def _energies(found: Sequence[Pair]) -> str:
    """The change of energy at the most tokens where it is known."""
    known = [(pair, change) for pair in found if (change := pair.energy) is not None]
    if not known:
        return "The energy of both layers was not measured."
    most = max(pair.tokens for pair, _ in known)
    here = [(pair, change) for pair, change in known if pair.tokens == most]
    return f"Energy at {tokens_text(most)}: {_each(here, 'energy for a token')}."


def remarks(found: Sequence[Pair]) -> tuple[str, ...]:
    """How sure the figures are, and what weights they speak of."""
    wide = (
        "The two layers are timed one after the other, not in the same rounds, so an interval is the widest that those "
        "of both medians allow; where it includes no change, a mark is hollow and nothing is decided. Intervals that "
        "leave the plot are in the rows."
    )
    said = [wide]
    if any(weight_bytes(pair.mine.case) for pair in found):
        said.append(
            "Weights are counted as packed, each expert with its own width; padded_bmm holds every expert at the width "
            "of the widest."
        )
    return tuple(said)


def table(found: Sequence[Pair]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Header and a row for each pair, by tokens; without the columns of which nothing is known."""
    by_tokens = sorted(found, key=lambda pair: (pair.tokens, position(pair.implementation)))
    full = [_row(pair) for pair in by_tokens]
    kept = [place for place in range(len(_HEADER)) if any(row[place] != NONE for row in full)]
    return tuple(_HEADER[place] for place in kept), tuple(tuple(row[place] for place in kept) for row in full)


def _row(pair: Pair) -> tuple[str, ...]:
    time, energy = pair.time, pair.energy
    verdict = time.doubt or ("less" if time.value < 0 else "more")
    joules = [record.telemetry.joule_per_token if record.telemetry else None for record in (pair.mine, pair.twin)]
    return (
        pair.implementation,
        whole(pair.tokens),
        time_text(hot_median(pair.mine)),
        time_text(hot_median(pair.twin)),
        f"{percent_change(time.value)}{f' ({ends_text(time)})' if time.low is not None else ''}",
        verdict,
        percent_change(pair.flops),
        percent_change(pair.moved),
        *(joule_text(joule) for joule in joules),
        change_text(energy) if energy is not None else digits(None),
        percent_change(pair.memory),
    )
