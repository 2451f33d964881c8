"""Records of a study by what is given: in one setting there are choices to be made, and their times may be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..records import WhatIfRecord

# In the order in which titles name them; policy, replicas and capacity are chosen.
GIVEN = ("spec", "tokens", "routing", "group_loss", "seed", "ranks", "cluster", "style")


@dataclass(frozen=True)
class Setting:
    """Scenarios that differ only in what is chosen. given: value by name, of GIVEN;  choices: those with a time."""

    given: dict[str, Any]
    choices: tuple[WhatIfRecord, ...]

    @property
    def best(self) -> WhatIfRecord:
        """The quickest choice that fits the memory (of all where none does); of equals the one with less memory."""
        return min(self.choices, key=lambda one: (one.fits is False, seconds_of(one), one.memory or 0, one.number))


def seconds_of(record: WhatIfRecord) -> float:
    """Seconds of a step that is possible."""
    return record.seconds or 0.0


def solved(records: Iterable[WhatIfRecord]) -> list[WhatIfRecord]:
    """The scenarios that have a time, in the order of the grid."""
    found = [record for record in records if record.possible and isfinite(seconds_of(record)) and seconds_of(record)]
    return sorted(found, key=lambda record: record.number)


def settings(records: Iterable[WhatIfRecord]) -> list[Setting]:
    """Every setting with the choices that can be made in it, in the order of the grid."""
    return [Setting(given, rows) for given, rows in together(solved(records), GIVEN)]


def together(
    records: Iterable[WhatIfRecord], names: Sequence[str], value: Callable[[WhatIfRecord, str], Any] = getattr
) -> list[tuple[dict[str, Any], tuple[WhatIfRecord, ...]]]:
    """The records by what they have under these names, in order of first appearance."""
    found: dict[tuple[Any, ...], list[WhatIfRecord]] = {}
    for record in records:
        found.setdefault(tuple(value(record, name) for name in names), []).append(record)
    return [(dict(zip(names, values, strict=True)), tuple(rows)) for values, rows in found.items()]


def main_setting(found: Sequence[Setting]) -> Setting:
    """The setting a report is about: the first layer, the most tokens, no group loss, the first routing, cluster and
    way of sending, and of the numbers of ranks the middle one.
    """
    picks: dict[str, Callable[[list[Any]], Any]] = {
        "tokens": max,
        "group_loss": min,
        "ranks": lambda values: sorted(values)[len(values) // 2],
    }
    pool = list(found)
    for axis in GIVEN:
        values = list(dict.fromkeys(setting.given[axis] for setting in pool))
        wanted = picks.get(axis, lambda known: known[0])(values)
        pool = [setting for setting in pool if setting.given[axis] == wanted]
    return pool[0]
