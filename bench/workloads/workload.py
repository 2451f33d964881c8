"""A workload: a named source of routings, the same on every machine for the same seed and step."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...placement import AUTO
from ...reference import LayerSpec, Router, Routing, check_routing, route
from .counts import Stratum, draw_counts
from .deal import checked, combine_weights, deal, routing_counts
from .distributions import DISTRIBUTIONS, Request
from .seeds import generator_for
from .traces import Trace, open_trace

# Tokens routed at a time, so that float64 intermediates stay small beside the layer's own memory.
_ROUTE_CHUNK = 4096


@dataclass(frozen=True)
class Workload:
    """Where a routing comes from.

    kind:       "router", "trace", or a name in DISTRIBUTIONS
    parameters: the numbers of a distribution, all of them
    trace:      the selection of a trace, for kind "trace"

    Made by `parse_routing`. Every routing has distinct experts for a token, int64 ids and float32 combine weights that
    sum to 1, and has been checked against what its kind promises.
    """

    kind: str
    parameters: tuple[float, ...] = ()
    trace: Trace | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown routing {self.kind!r}; known: {', '.join(KINDS)}")
        expected = len(DISTRIBUTIONS[self.kind].parameters) if self.kind in DISTRIBUTIONS else 0
        if len(self.parameters) != expected:
            raise ValueError(f"{self.kind}: expected {expected} numbers, got {len(self.parameters)}")
        if (self.kind == "trace") != (self.trace is not None):
            raise ValueError(f"{self.kind}: a trace goes with the routing 'trace' and with no other")

    @property
    def name(self) -> str:
        """What a record's case calls it; `parse_routing` reads it back unless it is a trace."""
        if self.trace is not None:
            return f"trace:{self.trace.name}"
        return self.kind + (":" + ",".join(f"{value:g}" for value in self.parameters) if self.parameters else "")

    def routing(self, spec: LayerSpec, tokens: int, seed: int = 0, step: int = 0) -> Routing:
        """int64[T, K] expert ids and float32[T, K] weights for one step. Raises ValueError if `spec` cannot have it."""
        if self.kind == "router":
            return self.inputs(spec, tokens, seed, step).routing
        return self._made(spec, tokens, seed, step)

    def inputs(self, spec: LayerSpec, tokens: int, seed: int = 0, step: int = 0) -> Inputs:
        """Hidden states together with their routing; only the router's depends on them. Raises ValueError."""
        x = hidden_states(spec, tokens, seed, step)
        if self.kind != "router":
            return Inputs(x, self._made(spec, tokens, seed, step))
        return Inputs(x, _routed(x, spec, seed))

    def _made(self, spec: LayerSpec, tokens: int, seed: int, step: int) -> Routing:
        checked_case(tokens, seed, step)
        generator = generator_for(self.name, seed, step, tokens, spec.experts, spec.top_k)
        if self.trace is not None:
            return _from_trace(self.trace, spec, tokens, generator)
        request = Request(spec, tokens, seed, step)
        strata = DISTRIBUTIONS[self.kind].strata(request, *self.parameters)
        first_slot = int(self.parameters[0]) if self.kind == "one_expert" else None
        return _dealt(strata, spec, tokens, generator, first_slot)


@dataclass(frozen=True)
class Inputs:
    """x float32[T, H] and its routing."""

    x: NDArray[np.float32]
    routing: Routing


KINDS = ("router", *DISTRIBUTIONS, "trace")


def parse_routing(
    text: str,
    *,
    trace: str | Path | None = None,
    domain: str | None = None,
    layer: int | None = None,
    format: str = AUTO,  # noqa: A002  (what it is called everywhere)
) -> Workload:
    """Read "router", "trace" or a distribution with its numbers: "uniform", "zipf:1.2", "hot_set:0.1,0.8".

    Numbers left out take their defaults. `trace` names the file, in `format`, `domain` and `layer` what to take of it;
    they go with "trace" only. Raises ValueError for anything else, and for a trace that cannot be read.
    """
    kind, colon, rest = text.strip().partition(":")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown routing {kind!r}{hint or '.'} Known: {', '.join(KINDS)}")
    if kind == "trace":
        if trace is None:
            raise ValueError("routing 'trace': expected a trace file, got none")
        if colon:
            raise ValueError(f"routing 'trace': expected no numbers, got {rest!r}")
        return Workload(kind, trace=open_trace(trace, domain, layer, format))
    given = [name for name, value in (("trace", trace), ("domain", domain), ("layer", layer)) if value is not None]
    if given:
        raise ValueError(f"routing {kind!r}: {' and '.join(given)} go with the routing 'trace' only")
    return Workload(kind, _numbers(kind, rest) if colon else _defaults(kind))


def _defaults(kind: str) -> tuple[float, ...]:
    return tuple(float(value) for value in DISTRIBUTIONS[kind].defaults) if kind in DISTRIBUTIONS else ()


def _numbers(kind: str, text: str) -> tuple[float, ...]:
    names = DISTRIBUTIONS[kind].parameters if kind in DISTRIBUTIONS else ()
    cells = text.split(",")
    if not names or len(cells) > len(names):
        raise ValueError(f"routing {kind!r}: expected {', '.join(names) or 'no numbers'} after the colon, got {text!r}")
    values = list(_defaults(kind))
    for index, cell in enumerate(cells):
        try:
            values[index] = float(cell)
        except ValueError:
            raise ValueError(f"routing {kind!r}: expected {names[index]} to be a number, got {cell!r}") from None
        if not np.isfinite(values[index]):
            raise ValueError(f"routing {kind!r}: expected {names[index]} to be finite, got {cell!r}")
    return tuple(values)


def hidden_states(spec: LayerSpec, tokens: int, seed: int = 0, step: int = 0) -> NDArray[np.float32]:
    """Normally distributed hidden states float32[T, H], the same for every workload of that seed and step."""
    checked_case(tokens, seed, step)
    generator = generator_for("hidden", seed, step, tokens, spec.hidden)
    return generator.standard_normal((tokens, spec.hidden), dtype=np.float32)


def checked_case(tokens: Any, seed: Any, step: Any) -> None:
    """Raise ValueError unless all three are whole numbers, at least 0."""
    for name, value in (("tokens", tokens), ("seed", seed), ("step", step)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise ValueError(f"{name}: expected a whole number, at least 0, got {value!r}")


def _routed(x: NDArray[np.float32], spec: LayerSpec, seed: int) -> Routing:
    """The two-level router with random weights that depend on the seed but not on the step, as in a trained model."""
    router = Router.random(spec, seed)
    starts = range(0, max(len(x), 1), _ROUTE_CHUNK)
    parts = [route(x[start : start + _ROUTE_CHUNK], router, spec) for start in starts]
    routing = Routing(
        np.concatenate([part.expert_ids for part in parts]).astype(np.int64),
        np.concatenate([part.weights for part in parts]).astype(np.float32),
    )
    check_routing(routing, spec)
    return routing


def _dealt(
    strata: list[Stratum], spec: LayerSpec, tokens: int, generator: np.random.Generator, first_slot: int | None = None
) -> Routing:
    counts = draw_counts(strata, spec.experts, tokens, generator)
    ids = deal(counts, tokens, spec.top_k, generator, first_slot)
    return checked(Routing(ids, combine_weights(tokens, spec.top_k, generator)), spec, counts)


def _from_trace(trace: Trace, spec: LayerSpec, tokens: int, generator: np.random.Generator) -> Routing:
    """Rows per expert become T tokens sampled without replacement, so that the shares hold to within a row (an expert
    with more than 1/K of the rows is used by every token). A per-token trace gives T tokens that followed one another,
    from a random start and round its end, so with more tokens than it has whole passes repeat. Traces have no scores:
    the weights are those of `combine_weights`.
    """
    trace.check_fits(spec)
    recorded = trace.token_experts()
    if recorded is None:
        shares = trace.counts().astype(np.float64)
        return _dealt([Stratum(np.arange(spec.experts), tokens * spec.top_k, shares)], spec, tokens, generator)
    start = int(generator.integers(len(recorded)))
    ids = recorded[(start + np.arange(tokens)) % len(recorded)]
    routing = Routing(ids, combine_weights(tokens, spec.top_k, generator))
    passes = tokens // len(recorded)
    counts = trace.counts(spec.experts)
    least = passes * counts
    got = routing_counts(routing, spec.experts)
    if (got < least).any() or (got > least + counts).any():
        raise ValueError(f"{trace.path}: promised {passes} to {passes + 1} passes of the trace, gave other counts")
    check_routing(routing, spec)
    return routing
