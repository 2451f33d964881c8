"""Which configuration a launch gets: the one the layer was prepared with, the tuned table's, or the built-in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from . import tuned
from .values import Value

if TYPE_CHECKING:
    from ..reference import LayerSpec

C = TypeVar("C")


@dataclass(frozen=True)
class Choices(Generic[C]):
    """Every configuration a prepared layer may launch with, and the rule by which a call gets one of them.

    top_k:    K, for the rows of a number of tokens
    built_in: R to the built-in configuration; one of `offered`
    offered:  all built-in configurations
    fixed:    the one for every call, where there is one
    tuned:    by routing class and token bucket, out of the table of tuned configurations
    """

    top_k: int
    built_in: Callable[[int], C]
    offered: tuple[C, ...]
    fixed: C | None
    tuned: Mapping[str, Mapping[int, C]]

    @property
    def candidates(self) -> tuple[C, ...]:
        """What a layer must be ready for, each once."""
        if self.fixed is not None:
            return (self.fixed,)
        found = [configuration for ladder in self.tuned.values() for configuration in ladder.values()]
        return tuple(dict.fromkeys([*self.offered, *found]))

    def launched(self, tokens: Iterable[int]) -> tuple[C, ...]:
        """What calls with these numbers of tokens get, whatever their routing, each once."""
        found = (self.of(count, routing) for count in tokens for routing in tuned.ROUTING_CLASSES)
        return tuple(dict.fromkeys(found))

    def of(self, tokens: int, routing_class: str) -> C:
        """The configuration of a call with T tokens: two dictionary look-ups, nothing read from a file or a device."""
        if self.fixed is not None:
            return self.fixed
        found = self.tuned.get(routing_class, {}).get(tuned.token_bucket(tokens))
        return found if found is not None else self.built_in(tokens * self.top_k)


def choices(
    implementation: str,
    gpu: str,
    spec: LayerSpec,
    dtype: str,
    *,
    built_in: Callable[[int], C],
    offered: tuple[C, ...],
    parse: Callable[[Mapping[str, Value]], C],
    fixed: C | None = None,
    tunable: bool = True,
) -> Choices[C]:
    """The choices of a layer, with the rows of the table in force that are meant for it.

    parse:   flat values to a configuration; raises ValueError with the rule that they break
    tunable: False leaves the table aside

    Raises ValueError for a table that is none or whose row for this layer breaks a rule.
    """
    return Choices(
        top_k=spec.top_k,
        built_in=built_in,
        offered=offered,
        fixed=fixed,
        tuned=_from_table(implementation, gpu, spec, dtype, parse) if tunable and fixed is None else {},
    )


def _from_table(
    implementation: str, gpu: str, spec: LayerSpec, dtype: str, parse: Callable[[Mapping[str, Value]], C]
) -> dict[str, dict[int, C]]:
    result: dict[str, dict[int, C]] = {}
    for routing_class in tuned.ROUTING_CLASSES:
        ladder = tuned.ladder(implementation, gpu, spec, routing_class, dtype)
        parsed: dict[int, C] = {}
        for bucket, values in ladder.items():
            try:
                parsed[bucket] = parse(values)
            except ValueError as error:
                where = f"{implementation} on {gpu}, {tuned.spec_class(spec)}, {routing_class} at {bucket} tokens"
                raise ValueError(f"tuned table {tuned.table_path()}: {where}: {error}") from error
        result[routing_class] = parsed
    return result


def check_routing_class(name: str) -> str:
    """`name` itself. Raises ValueError when it is no routing class."""
    if name not in tuned.ROUTING_CLASSES:
        raise ValueError(f"routing_class: expected one of {', '.join(tuned.ROUTING_CLASSES)}, got {name!r}")
    return name
