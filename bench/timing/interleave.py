"""Timing several calls against each other: one sample of each per round, in a new order every round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ..records import Samples, Status, status_of
from .clocks import ClockLog, RoundClocks
from .intervals import median_interval
from .resample import FEWEST
from .stopping import Seconds, Series, Stopping
from .suspects import counting, left_out_text, unhidden_text
from .timer import Call, Prepared, Timer


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

    def unhidden(self) -> list[int]:
        """The samples with launches in them that were to be hidden. Those of the warm-up came before and are none."""
        marks = self.prepared.hidden[-len(self.samples) :] if self.samples else []
        return [place for place, hidden in enumerate(marks) if not hidden]

    def series(self, suspects: Iterable[int]) -> Series:
        """What was taken so far; `suspects` are everybody's."""
        return Series(self.samples, frozenset((*suspects, *self.unhidden())))


def measure_interleaved(
    candidates: Mapping[str, Call],
    *,
    timer: Timer,
    cold: bool,
    seconds: Seconds = 2.0,
    min_samples: int = 10,
    max_samples: int = 1000,
    fewest: int = FEWEST,
    target: float = 0.01,
    baseline: str | None = None,
    warmup_seconds: float = 0.2,
    seed: int = 0,
    on_progress: Callable[[int, float], None] | None = None,
    clocks: ClockLog | None = None,
) -> dict[str, Samples | Failure]:
    """Times of all `candidates`, in their order, each with the reason why sampling stopped.

    Every round takes one sample of each candidate in an order shuffled by `seed`, so that a drift of the clock hits all
    alike and sample i of one pairs with sample i of another. After a warm-up of `warmup_seconds` for each, rounds go on
    until the 95 % interval of every median is within `target` (relative; with `min_samples` that count at the
    earliest, and from enough blocks of rounds, see stopping.py), or `max_samples` rounds are done, or `seconds` have
    passed for all together (`seconds` may be told what the first round took); `fewest` rounds (or `max_samples`, if
    less) are always made. With `baseline`, one of the candidates, it also ends when every other one's ratio to it is
    decided (see stopping.py) and the medians are known five times coarser. Below five there is no interval, and nothing
    to be said of who is faster.
    `clocks` is read between rounds; a round it makes suspect is suspect for every candidate, stays among the samples
    and is left out of medians and intervals while enough others remain; so does a sample whose launches the timer could
    not hide, for its candidate alone. A candidate that raises becomes a `Failure` and
    drops out; KeyboardInterrupt and the like pass through. After every round `on_progress` is called with the rounds
    done and the seconds passed. Raises ValueError for impossible limits.
    """
    stopping = Stopping(seconds, (min_samples, max_samples), fewest, target, baseline)
    results: dict[str, Samples | Failure] = {}
    live = _warmed_up(candidates, timer, warmup_seconds, cold, results)
    generator = np.random.default_rng(seed)
    begin, rounds, stop = timer.seconds(), 0, ""
    watched = (clocks or ClockLog()).around(timer.seconds)
    watched.between(0)
    while live and not stop:
        live = _round(live, generator.permutation(len(live)), timer, cold, results)
        rounds += 1
        elapsed = timer.seconds() - begin
        watched.between(rounds)
        if on_progress is not None:
            on_progress(rounds, elapsed)
        stop = stopping.reason(rounds, elapsed, partial(_taken, live, watched, rounds))
    watched.between(rounds, always=True)
    suspects = watched.suspects(rounds)
    for candidate in live:
        method = timer.method(candidate.prepared, cold=cold)
        results[candidate.name] = _samples(candidate, method, stop + left_out_text(rounds, suspects), suspects)
    return {name: results[name] for name in candidates}


def _taken(live: Iterable[_Candidate], watched: RoundClocks, rounds: int) -> dict[str, Series]:
    suspects = watched.suspects(rounds)
    return {one.name: one.series(suspects) for one in live}


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


def _samples(candidate: _Candidate, method: str, stop: str, suspects: list[int]) -> Samples:
    taken, series, unhidden = len(candidate.samples), candidate.series(suspects), candidate.unhidden()
    interval = median_interval([candidate.samples[place] for place in counting(taken, series.suspects)])
    busy = candidate.prepared.busy[-taken:]
    return Samples(
        samples_us=list(candidate.samples),
        median_us=interval.value,
        low_us=interval.low,
        high_us=interval.high,
        method=method + unhidden_text(taken, unhidden, series.suspects),
        stop=stop,
        timer=candidate.prepared.way,
        suspects=sorted(series.suspects),
        unhidden=unhidden,
        busy_share=float(np.median(busy)) if busy else None,
    )
