"""Timing several calls against each other: one sample of each per round, in a new order every round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..records import Samples, Status, status_of
from .clocks import ClockLog
from .intervals import Interval, median_interval
from .resample import FEWEST
from .suspects import counting, left_out_text
from .timer import Call, Prepared, Timer

# Intervals are computed at a geometric series of rounds: looking after every round costs time and invites a lucky stop.
_NEXT_LOOK = 1.25


@dataclass(frozen=True)
class Failure:
    """A call that raised while it was timed. status: out_of_memory or crashed;  reason: the exception in one line."""

    status: Status
    reason: str


@dataclass
class _Candidate:
    name: str
    prepared: Prepared
    samples: list[float] = field(default_factory=list)
    interval: Interval | None = None

    def look(self, places: list[int]) -> Interval:
        self.interval = median_interval([self.samples[place] for place in places])
        return self.interval


def measure_interleaved(
    candidates: Mapping[str, Call],
    *,
    timer: Timer,
    cold: bool,
    seconds: float = 2.0,
    min_samples: int = 10,
    max_samples: int = 1000,
    fewest: int = FEWEST,
    target: float = 0.01,
    warmup_seconds: float = 0.2,
    seed: int = 0,
    on_progress: Callable[[int, float], None] | None = None,
    clocks: ClockLog | None = None,
) -> dict[str, Samples | Failure]:
    """Times of all `candidates`, in their order, each with the reason why sampling stopped.

    Every round takes one sample of each candidate in an order shuffled by `seed`, so that a drift of the clock hits all
    alike and sample i of one pairs with sample i of another. After a warm-up of `warmup_seconds` for each, rounds go on
    until the 95 % interval of every median is within `target` (relative; with `min_samples` that count at the
    earliest), or `max_samples` rounds are done, or `seconds` have passed for all together; `fewest` rounds (or
    `max_samples`, if less) are always made. Below five there is no interval, and nothing to be said of who is faster.
    `clocks` is read between rounds; a round it makes suspect is suspect for every candidate, stays among the samples
    and is left out of medians and intervals while enough others remain. A candidate that raises becomes a `Failure` and
    drops out; KeyboardInterrupt and the like pass through. After every round `on_progress` is called with the rounds
    done and the seconds passed. Raises ValueError for impossible limits.
    """
    _check_limits(seconds, min_samples, max_samples, target)
    fewest = min(fewest, max_samples)
    results: dict[str, Samples | Failure] = {}
    live = _warmed_up(candidates, timer, warmup_seconds, cold, results)
    generator = np.random.default_rng(seed)
    begin, rounds, next_look, stop = timer.seconds(), 0, max(min_samples, fewest), ""
    watched = (clocks or ClockLog()).around(timer.seconds)
    watched.between(0)
    while live and not stop:
        live = _round(live, generator.permutation(len(live)), timer, cold, results)
        rounds += 1
        elapsed = timer.seconds() - begin
        watched.between(rounds)
        if on_progress is not None:
            on_progress(rounds, elapsed)
        narrow = False
        if rounds >= next_look:
            places = counting(rounds, watched.suspects(rounds))
            narrow = len(places) >= min_samples and all(one.look(places).half_width <= target for one in live)
            next_look = max(rounds + 1, int(rounds * _NEXT_LOOK))
        stop = (
            f"interval within {target * 100:g} %" if narrow else _limit(rounds, elapsed, seconds, max_samples, fewest)
        )
    watched.between(rounds, always=True)
    suspects = watched.suspects(rounds)
    for candidate in live:
        method = timer.method(candidate.prepared, cold=cold)
        results[candidate.name] = _samples(candidate, method, stop + left_out_text(rounds, suspects), suspects)
    return {name: results[name] for name in candidates}


def _round(
    live: list[_Candidate], order: Iterable[int], timer: Timer, cold: bool, results: dict[str, Samples | Failure]
) -> list[_Candidate]:
    """One sample of each in this order; those that raise go to `results`, the others are given back."""
    for index in order:
        candidate = live[index]
        try:
            candidate.samples.append(timer.sample(candidate.prepared, cold=cold))
        except Exception as error:
            results[candidate.name] = Failure(*status_of(error))
    return [candidate for candidate in live if candidate.name not in results]


def _check_limits(seconds: float, min_samples: int, max_samples: int, target: float) -> None:
    if not seconds > 0:
        raise ValueError(f"seconds: expected more than 0, got {seconds}")
    if not 1 <= min_samples <= max_samples:
        raise ValueError(f"samples: expected 1 <= min_samples <= max_samples, got {min_samples} and {max_samples}")
    if not target > 0:
        raise ValueError(f"target: expected more than 0, got {target}")


def _warmed_up(
    candidates: Mapping[str, Call],
    timer: Timer,
    warmup_seconds: float,
    cold: bool,
    results: dict[str, Samples | Failure],
) -> list[_Candidate]:
    """Prepare each candidate and run it untimed for a while; those that raise go to `results`."""
    live = []
    for name, call in candidates.items():
        try:
            prepared = timer.prepare(call)
            begin = timer.seconds()
            timer.sample(prepared, cold=cold)  # waits for the device, where there is one
            while timer.seconds() - begin < warmup_seconds:
                timer.sample(prepared, cold=cold)
        except Exception as error:
            results[name] = Failure(*status_of(error))
        else:
            live.append(_Candidate(name, prepared))
    return live


def _limit(rounds: int, elapsed: float, seconds: float, max_samples: int, fewest: int) -> str:
    """The limit that was reached, or an empty text."""
    if rounds >= max_samples:
        return f"sample limit {max_samples}"
    if elapsed >= seconds and rounds >= fewest:
        return f"time limit {seconds:g} s"
    return ""


def _samples(candidate: _Candidate, method: str, stop: str, suspects: list[int]) -> Samples:
    taken = len(candidate.samples)
    interval = candidate.look(counting(taken, suspects))
    busy = candidate.prepared.busy[-taken:]
    return Samples(
        samples_us=list(candidate.samples),
        median_us=interval.value,
        low_us=interval.low,
        high_us=interval.high,
        method=method,
        stop=stop,
        timer=candidate.prepared.way,
        suspects=suspects,
        busy_share=float(np.median(busy)) if busy else None,
    )
