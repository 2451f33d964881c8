"""A heterogeneous layer beside its uniform twin: what fewer parameters buy in time, memory and energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..records import CaseRecord, Record, Run
from .cases import has_interval, is_heterogeneous, measured_groups, scale_text, widths
from .formats import is_number

_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Change:
    """A figure of the heterogeneous layer over that of its uniform twin, minus 1: -0.2 is 20 % less.

    low, high: from the far ends of both intervals, which is wider than a 95 % interval of the ratio, as the two layers
               are not timed in the same rounds; None where either has none
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def doubt(self) -> str:
        """Why it may not be called less or more, in words; empty where the interval leaves out 0."""
        if self.low is None or self.high is None:
            return "undecided: no interval"
        return "undecided" if self.low <= 0 <= self.high else ""


@dataclass(frozen=True)
class Pair:
    """One implementation, timed on a heterogeneous layer and on its uniform twin, with the same tokens and routing."""

    mine: Record
    twin: Record

    @property
    def implementation(self) -> str:
        """Whose pair it is."""
        return self.mine.implementation

    @property
    def tokens(self) -> int:
        """Of both; 0 where they are not known."""
        return self.mine.case.tokens or 0

    @property
    def time(self) -> Change:
        """Of the hot medians."""
        mine, twin = self.mine.hot, self.twin.hot
        assert mine is not None
        assert twin is not None
        value = mine.median_us / twin.median_us - 1
        if not (has_interval(mine) and has_interval(twin) and mine.low_us > 0 and twin.low_us > 0):
            return Change(value)
        return Change(value, mine.low_us / twin.high_us - 1, mine.high_us / twin.low_us - 1)

    @property
    def flops(self) -> float | None:
        """Change of the useful FLOPs."""
        return _change(self.mine.useful_flops, self.twin.useful_flops)

    @property
    def moved(self) -> float | None:
        """Change of the fewest bytes that the layer can move."""
        return _change(self.mine.bytes, self.twin.bytes)

    @property
    def energy(self) -> Change | None:
        """Of the energy of a token; None where it was not measured on both layers."""
        value = _change(_joule(self.mine), _joule(self.twin))
        if value is None:
            return None
        mine, twin = _joule_ends(self.mine), _joule_ends(self.twin)
        if mine is None or twin is None:
            return Change(value)
        return Change(value, mine[0] / twin[1] - 1, mine[1] / twin[0] - 1)

    @property
    def memory(self) -> float | None:
        """Change of the most memory in use while it was replayed."""
        seen = [record.telemetry.memory_bytes if record.telemetry else None for record in (self.mine, self.twin)]
        return _change(*seen)


def _change(mine: float | None, twin: float | None) -> float | None:
    known = is_number(mine) and is_number(twin) and mine > 0 and twin > 0
    return mine / twin - 1 if known else None  # type: ignore[operator]


def _joule(record: Record) -> float | None:
    return record.telemetry.joule_per_token if record.telemetry else None


def _joule_ends(record: Record) -> tuple[float, float] | None:
    """The interval of the energy of a token, J; None where the window's energy has none."""
    seen = record.telemetry
    if seen is None or not (is_number(seen.energy_j) and is_number(seen.joule_per_token) and seen.energy_j > 0):
        return None
    ends = [end for end in seen.interval.get("energy_j", []) if is_number(end) and end > 0]
    scale = seen.joule_per_token / seen.energy_j
    return (ends[0] * scale, ends[1] * scale) if len(ends) == 2 else None


def pairs(run: Run) -> list[Pair]:
    """Every heterogeneous case that was also timed on a uniform layer with equal hidden size, experts and top K."""
    found = measured_groups(run)
    uniform = [group for group in found if len(set(widths(group.case))) == 1]
    return [
        Pair(mine, other)
        for group in found
        if is_heterogeneous(group.case)
        for twin in uniform
        if _twins(group.case, twin.case)
        for mine in group.timed
        for other in twin.timed
        if mine.implementation == other.implementation
    ]


def _twins(case: CaseRecord, other: CaseRecord) -> bool:
    def facts(one: CaseRecord) -> tuple[Any, ...]:
        layer = one.layer
        experts = len(widths(one)) * layer.get("experts_per_group", 0)
        shape = (layer.get("hidden"), experts, layer.get("top_k"), layer.get("shared_width", 0))
        return (*shape, one.tokens, one.routing, one.dtype, one.device, bool(scale_text(one)))

    return facts(case) == facts(other)


def parameters(case: CaseRecord) -> int | None:
    """Expert parameters of the layer, shared expert left out: 3 · H · Σ W_e. None where the run file does not say."""
    hidden, per_group = case.layer.get("hidden"), case.layer.get("experts_per_group")
    if not (is_number(hidden) and is_number(per_group) and widths(case)):
        return None
    return int(3 * hidden * per_group * sum(widths(case)))


def weight_bytes(case: CaseRecord) -> int | None:
    """Bytes of the experts' weights in the case's dtype, packed without padding; None where either is not known."""
    count, size = parameters(case), _ITEM_BYTES.get(case.dtype or "")
    return count * size if count is not None and size is not None else None


def parameter_change(pair: Pair) -> float | None:
    """Change of the expert parameters, and so of the bytes of their weights."""
    return _change(parameters(pair.mine.case), parameters(pair.twin.case))
