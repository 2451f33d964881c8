"""A what-if study in words: its axes, what varies, and what its run says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..records import Run, WhatIfRecord
from ..whatif.settings import GIVEN
from .formats import digits, is_number, whole

SKEW = "skew"  # the number in a routing such as zipf:1.2
_SKEWED = re.compile(r"(?P<name>[a-z_]+):(?P<skew>\d+(?:\.\d+)?)")


def is_only_what_if(run: Run) -> bool:
    """Whether a run holds a what-if study, and no implementation was measured and nothing placed or tuned beside."""
    return bool(run.what_if or run.transfers) and not (run.records or run.placements or run.tuning)


def facts(run: Run) -> dict[str, Any]:
    """What the run's notes say of the study; empty where they say nothing."""
    noted = run.notes.get("what_if")
    return noted if isinstance(noted, dict) else {}


def wanted(run: Run, name: str) -> Any:
    """What was asked for under this name, else None."""
    asked = facts(run).get("wanted")
    return asked.get(name) if isinstance(asked, dict) else None


def value_of(record: WhatIfRecord, axis: str) -> Any:
    """What a record has on an axis; of SKEW None where its routing has no such number."""
    return skew_of(record.routing) if axis == SKEW else getattr(record, axis)


def skew_of(routing: str) -> float | None:
    """The number in a routing such as zipf:1.2, else None."""
    match = _SKEWED.fullmatch(routing)
    return float(match["skew"]) if match else None


def axis_values(records: Iterable[WhatIfRecord], axis: str) -> list[Any]:
    """The different values of an axis in the order of the grid, numbers ascending."""
    values = list(dict.fromkeys(value_of(record, axis) for record in records))
    return sorted(values) if all(is_number(value) for value in values) else values


def varying(records: Sequence[WhatIfRecord]) -> list[str]:
    """The given axes with more than one value, in their order."""
    return [axis for axis in GIVEN if len(axis_values(records, axis)) > 1]


def follows(records: Iterable[WhatIfRecord], axis: str, others: Sequence[str]) -> bool:
    """Whether an axis has one value wherever the others are the same, as clusters that grow with their ranks."""
    found: dict[tuple[Any, ...], Any] = {}
    return all(
        found.setdefault(tuple(value_of(record, other) for other in others), value_of(record, axis))
        == value_of(record, axis)
        for record in records
    )


def numeric_axes(records: Sequence[WhatIfRecord]) -> list[str]:
    """The given axes along which numbers vary, most values first; SKEW where all routings are of one kind."""
    found = [axis for axis in ("ranks", "tokens", "group_loss") if len(axis_values(records, axis)) > 1]
    kinds = [_SKEWED.fullmatch(routing) for routing in axis_values(records, "routing")]
    if len(kinds) > 1 and all(kinds) and len({kind["name"] for kind in kinds if kind}) == 1:
        found.append(SKEW)
    return sorted(found, key=lambda axis: -len(axis_values(records, axis)))


def choice_name(record: WhatIfRecord) -> str:
    """What is chosen, in words: the policy, its spare copies, its cap on memory."""
    parts = [f"{whole(record.replicas)} spare copies"] if record.replicas else []
    parts += [f"memory at most {record.capacity:g} × even"] if is_number(record.capacity) else []
    return f"{record.policy} with {' and '.join(parts)}" if parts else record.policy


def short_name(record: WhatIfRecord) -> str:
    """The same with no room to spare."""
    cap = f" ≤{digits(record.capacity)}×" if is_number(record.capacity) else ""
    return f"{record.policy}{f' +{record.replicas}' if record.replicas else ''}{cap}"


_WORDS: dict[str, Callable[[Any], str]] = {
    "tokens": lambda value: f"{whole(value)} tokens",
    "group_loss": lambda value: f"group loss {value:g}",
    "seed": lambda value: f"seed {value}",
    "ranks": lambda value: f"{whole(value)} ranks",
    "cluster": lambda value: f"on {value}",
    "style": lambda value: f"sent {value}",
    SKEW: lambda value: f"skew {value:g}",
}


def words(axis: str, value: Any) -> str:
    """A value of an axis as a part of a title."""
    return _WORDS.get(axis, str)(value)


def title(given: dict[str, Any], records: Sequence[WhatIfRecord]) -> str:
    """A setting by what always names it and by what varies among these records."""
    always = ("spec", "tokens", "routing", "ranks")
    ways = varying(records)
    # Clusters that only grow with the ranks are said by these.
    ways = [axis for axis in ways if axis != "cluster" or not follows(records, axis, ("ranks",))]
    shown = [words(axis, value) for axis, value in given.items() if axis in always or axis in ways]
    return " · ".join(shown) or "all"


def meta(given: dict[str, Any]) -> dict[str, Any]:
    """What a variant is about, for the page's filter and its slider over the skew."""
    known = {name: given[name] for name in ("spec", "routing", "tokens") if given.get(name)}
    skew = skew_of(str(given.get("routing", "")))
    return known if skew is None else {**known, SKEW: skew}
