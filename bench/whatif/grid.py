"""The words of `--grid`: axes and their values, `ranks=4,8 policy=all routing=uniform,hot_set:0.1,0.5`.

A value is a number, a name, or for numbers a range FIRST:LAST:STEP with both ends in it. Commas stand between values;
in `routing` a number after a comma belongs to the distribution before it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...placement import CLUSTERS, POLICIES, STYLES, find_policy
from ...reference import PRESETS
from ..workloads import KINDS, parse_routing

ALL, EACH, NONE, AUTO = "all", "each", "none", "auto"
MOST_VALUES = 10_000  # of one axis


@dataclass(frozen=True)
class Axis:
    """An axis of the grid.

    read: from its text to its values, raising ValueError;  default: its text;  allowed: what it takes, in words
    """

    read: Callable[[str], tuple[Any, ...]]
    default: str
    allowed: str


@dataclass(frozen=True)
class Grid:
    """The values of every axis; those not given have their defaults."""

    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def __getitem__(self, axis: str) -> tuple[Any, ...]:
        return self.values[axis] if axis in self.values else _read(axis, AXES[axis].default)

    def given(self, axis: str) -> bool:
        """Whether the axis was asked for."""
        return axis in self.values

    def to_dict(self) -> dict[str, list[Any]]:
        """The axes that were given, for a run's notes."""
        return {axis: list(values) for axis, values in self.values.items()}

    @classmethod
    def from_dict(cls, axes: dict[str, list[Any]]) -> Grid:
        """What `to_dict` wrote."""
        return cls({axis: tuple(values) for axis, values in axes.items()})


def parse_grid(texts: Sequence[str]) -> Grid:
    """Read AXIS=VALUES words, in one text or several. Raises ValueError naming the axis and what it takes."""
    values: dict[str, tuple[Any, ...]] = {}
    for word in " ".join(texts).split():
        axis, equals, text = word.partition("=")
        if axis not in AXES:
            near = difflib.get_close_matches(axis, AXES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"--grid: unknown axis {axis!r}{hint} Known: {', '.join(AXES)}")
        if not equals or not text:
            raise ValueError(f"--grid {axis}: expected {axis}=VALUES, with {AXES[axis].allowed}, got {word!r}")
        if axis in values:
            raise ValueError(f"--grid {axis}: expected each axis once, got it again in {word!r}")
        values[axis] = _read(axis, text)
    return Grid(values)


def _read(axis: str, text: str) -> tuple[Any, ...]:
    try:
        return tuple(dict.fromkeys(AXES[axis].read(text)))
    except ValueError as error:
        raise ValueError(f"--grid {axis}: expected {AXES[axis].allowed}, got {text!r} ({error})") from None


def _numbers(text: str, kind: type, least: float, most: float = math.inf) -> tuple[Any, ...]:
    """Numbers and ranges. Raises ValueError saying which part is wrong."""
    found: list[Any] = []
    for part in text.split(","):
        cells = [_number(cell, kind) for cell in part.split(":")]
        if len(cells) == 1:
            found += cells
        elif len(cells) == 3 and cells[2] > 0 and cells[0] <= cells[1]:
            count = math.floor((cells[1] - cells[0]) / cells[2] + 1e-9) + 1
            if count > MOST_VALUES:
                raise ValueError(f"{part!r} has {count} values, more than {MOST_VALUES}")
            found += [kind(round(cells[0] + step * cells[2], 12)) for step in range(count)]
        else:
            raise ValueError(f"{part!r} is no range FIRST:LAST:STEP with STEP above 0")
    for number in found:
        if not least <= number <= most:
            raise ValueError(f"{number:g} is {'below ' + format(least, 'g') if number < least else f'above {most:g}'}")
    return tuple(found)


def _number(text: str, kind: type) -> Any:
    try:
        number = kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is no {'whole ' if kind is int else ''}number") from None
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no finite number")
    return number


def _names(text: str, known: Sequence[str] = ()) -> tuple[str, ...]:
    names = tuple(part for part in text.split(","))
    for name in names:
        if not name:
            raise ValueError("a name is empty")
        if known and name not in known:
            raise ValueError(f"unknown: {name!r}")
    return names


def _routings(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for part in text.split(","):
        if found and ":" in found[-1] and _is_number(part):
            found[-1] += f",{part}"
        else:
            found.append(part)
    return tuple(name if name == "trace" else parse_routing(name).name for name in found)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _policies(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for name in text.split(","):
        quick = [known for known, policy in POLICIES.items() if policy.quick]
        found += quick if name == ALL else [find_policy(name).name]
    return tuple(found)


def _capacities(text: str) -> tuple[float | None, ...]:
    found: list[float | None] = []
    for part in text.split(","):
        found += [None] if part == NONE else _numbers(part, float, 0.0)
    return tuple(found)


def _layers(text: str) -> tuple[int | str, ...]:
    return (EACH,) if text == EACH else _numbers(text, int, 0)


_WHOLE = "whole numbers of at least {} with commas between, or a range FIRST:LAST:STEP"
AXES: dict[str, Axis] = {
    "spec": Axis(_names, "mohge-3b", f"presets ({', '.join(PRESETS)}) or TOML files"),
    "tokens": Axis(lambda text: _numbers(text, int, 1), "4096", _WHOLE.format(1) + "; tokens of all ranks together"),
    "routing": Axis(_routings, "zipf:1", f"routings ({', '.join(KINDS)}), with numbers as zipf:1.2 or hot_set:0.1,0.5"),
    "skew": Axis(
        lambda text: _numbers(text, float, 0, 10), "", "exponents of zipf from 0 to 10, or a range as 0.4:1.6:0.2"
    ),
    "domain": Axis(_names, ALL, f"domains of --trace, {ALL} (added up) or {EACH}"),
    "layer": Axis(_layers, "", f"layers of --trace, or {EACH}"),
    "seed": Axis(lambda text: _numbers(text, int, 0), "0", _WHOLE.format(0)),
    "group_loss": Axis(
        lambda text: _numbers(text, float, 0, 1), "0", "strengths from 0 (no steering) to 1, or a range as 0:1:0.25"
    ),
    "ranks": Axis(lambda text: _numbers(text, int, 1), "8", _WHOLE.format(1)),
    "cluster": Axis(
        _names,
        AUTO,
        f"presets ({', '.join(CLUSTERS)}), TOML files, or {AUTO}: the smallest preset with as many ranks",
    ),
    "style": Axis(lambda text: _names(text, STYLES), "by_rank", f"ways to send vectors ({', '.join(STYLES)})"),
    "replicas": Axis(lambda text: _numbers(text, int, 0), "0", _WHOLE.format(0)),
    "capacity": Axis(
        _capacities,
        NONE,
        f"most bytes of experts on a rank over an even share, such as 1.25, or {NONE}",
    ),
    "policy": Axis(_policies, ALL, f"policies ({', '.join(POLICIES)}), or {ALL}: every one that takes no time"),
}
