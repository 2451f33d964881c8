"""Named distributions of rows over experts: each says which experts get how many rows, as strata.

K_g, the limit on groups a token, binds the router only: a distribution spreads a token's experts over any groups, which
every implementation must be able to compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...reference import LayerSpec
from .counts import Stratum
from .seeds import generator_for


@dataclass(frozen=True)
class Request:
    """What a distribution is asked for: a layer, T tokens, a seed that picks the hot experts, and a step in time."""

    spec: LayerSpec
    tokens: int
    seed: int
    step: int

    @property
    def rows(self) -> int:
        """R = T * K."""
        return self.tokens * self.spec.top_k

    def shuffled(self, kind: str) -> NDArray[np.int64]:
        """The experts in an order that depends on the seed but not on the step: the first are the hot ones."""
        return generator_for(kind, "experts", self.seed).permutation(self.spec.experts).astype(np.int64)


@dataclass(frozen=True)
class Distribution:
    """A named distribution.

    parameters: the names of its numbers, in the order they are written after the colon
    defaults:   their values when they are not written
    strata:     from a request and the numbers to the promised rows; raises ValueError when they cannot be had
    help:       one line for people
    """

    parameters: tuple[str, ...]
    defaults: tuple[float, ...]
    strata: Callable[..., list[Stratum]]
    help: str


def uniform(request: Request) -> list[Stratum]:
    """Every expert gets the same, to within one row."""
    return [Stratum.even(np.arange(request.spec.experts), request.rows)]


def zipf(request: Request, exponent: float) -> list[Stratum]:
    """The expert of popularity rank i gets rows in proportion to 1 / i^exponent, none more than T."""
    if not 0 <= exponent <= 10:
        raise ValueError(f"zipf: expected an exponent from 0 to 10, got {exponent:g}")
    ranks = np.arange(1, request.spec.experts + 1, dtype=np.float64)
    return [Stratum(request.shuffled("zipf"), request.rows, ranks**-exponent)]


def hot_set(request: Request, fraction: float, share: float) -> list[Stratum]:
    """A fraction of the experts, drawn at random, gets a share of the rows; the same experts at every step."""
    return _hot(request, "hot_set", request.shuffled("hot_set"), _hot_count(request, "hot_set", fraction), share)


def hot_rank(request: Request, ranks: float, share: float, rank: float) -> list[Stratum]:
    """A share of the rows goes to the experts of one of P ranks that hold contiguous blocks of experts."""
    count, which, experts = (
        _whole("hot_rank", "ranks", ranks, 1),
        _whole("hot_rank", "rank", rank, 0),
        request.spec.experts,
    )
    if experts % count:
        raise ValueError(f"hot_rank: expected a number of ranks that divides {experts} experts, got {count}")
    if which >= count:
        raise ValueError(f"hot_rank: expected a rank from 0 to {count - 1}, got {which}")
    size = experts // count
    order = np.roll(np.arange(experts, dtype=np.int64), -which * size)
    return _hot(request, "hot_rank", order, size, share)


def one_expert(request: Request, expert: float) -> list[Stratum]:
    """Every token uses this expert, in slot 0; its other experts are spread evenly."""
    which = _whole("one_expert", "expert", expert, 0)
    if which >= request.spec.experts:
        raise ValueError(f"one_expert: expected an expert from 0 to {request.spec.experts - 1}, got {which}")
    others = np.delete(np.arange(request.spec.experts), which)
    rest = request.rows - request.tokens
    return [Stratum.even(np.array([which]), request.tokens), Stratum.even(others, rest)]


def empty_experts(request: Request, number: float) -> list[Stratum]:
    """A number of experts, drawn at random, gets nothing at any step; the others get the same."""
    empty, most = _whole("empty_experts", "number", number, 0), request.spec.experts - request.spec.top_k
    if empty > most:
        raise ValueError(
            f"empty_experts: expected at most {most} (a token uses {request.spec.top_k} of {request.spec.experts} "
            f"experts), got {empty}"
        )
    return [Stratum.even(request.shuffled("empty_experts")[empty:], request.rows)]


def rotating(request: Request, fraction: float, share: float) -> list[Stratum]:
    """A hot set that moves on by its own size every step, round all experts."""
    hot = _hot_count(request, "rotating", fraction)
    order = np.roll(request.shuffled("rotating"), -hot * request.step)
    return _hot(request, "rotating", order, hot, share)


def burst(request: Request, period: float, fraction: float, share: float) -> list[Stratum]:
    """Uniform, but the last step of every period has a hot set."""
    every = _whole("burst", "period", period, 1)
    hot = _hot(request, "burst", request.shuffled("burst"), _hot_count(request, "burst", fraction), share)
    return hot if request.step % every == every - 1 else uniform(request)


def _hot(request: Request, kind: str, order: NDArray[np.int64], hot: int, share: float) -> list[Stratum]:
    """The first `hot` experts of `order` get a share of the rows, evenly; the rest the rest, evenly."""
    if not 0 <= share <= 1:
        raise ValueError(f"{kind}: expected a share from 0 to 1, got {share:g}")
    experts, top_k = request.spec.experts, request.spec.top_k
    least, most = max(0.0, 1 - (experts - hot) / top_k), min(1.0, hot / top_k)
    if not least - 1e-9 <= share <= most + 1e-9:
        raise ValueError(
            f"{kind}: {hot} of {experts} experts can have a share from {least:.3g} to {most:.3g} of the rows when a "
            f"token uses {top_k} distinct experts, got {share:g}"
        )
    # Rounding the share to whole rows may step over what distinct experts allow.
    rows = int(
        np.clip(round(share * request.rows), request.rows - (experts - hot) * request.tokens, hot * request.tokens)
    )
    return [Stratum.even(order[:hot], rows), Stratum.even(order[hot:], request.rows - rows)]


def _hot_count(request: Request, kind: str, fraction: float) -> int:
    if not 0 < fraction <= 1:
        raise ValueError(f"{kind}: expected a fraction of the experts above 0 and at most 1, got {fraction:g}")
    return max(1, round(fraction * request.spec.experts))


def _whole(kind: str, name: str, value: float, least: int) -> int:
    if value != int(value) or value < least:
        raise ValueError(f"{kind}: expected {name} to be a whole number, at least {least}, got {value:g}")
    return int(value)


# An eighth of the experts with half of the rows can be had for every preset: hot experts <= K times their share.
_HOT = (0.125, 0.5)

DISTRIBUTIONS: dict[str, Distribution] = {
    "uniform": Distribution((), (), uniform, "every expert the same"),
    "zipf": Distribution(("exponent",), (1.0,), zipf, "popularity falls as 1/rank^exponent"),
    "hot_set": Distribution(("fraction", "share"), _HOT, hot_set, "a fraction of the experts has a share of the rows"),
    "hot_rank": Distribution(
        ("ranks", "share", "rank"), (4, 0.5, 0), hot_rank, "the experts of one rank have a share of the rows"
    ),
    "one_expert": Distribution(("expert",), (0,), one_expert, "every token uses one expert"),
    "empty_experts": Distribution(("number",), (2,), empty_experts, "a number of experts has no rows"),
    "rotating": Distribution(("fraction", "share"), _HOT, rotating, "a hot set that moves every step"),
    "burst": Distribution(("period", "fraction", "share"), (8, *_HOT), burst, "uniform, with a hot set once a period"),
}
