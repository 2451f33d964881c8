"""Times of all implementations of one case: hot, cold, end to end and phase by phase, interleaved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ...kernels import Layer
from ..records import BASELINE, Clocks, Samples, Speedup, Status, status_of
from ..timing import (
    ClockLog,
    ClockWatch,
    Failure,
    Prepared,
    Timer,
    by_clocks,
    counted_pairs,
    measure_interleaved,
    ratio_interval,
)
from .budget import Budget
from .jobs import TimingLimits
from .phases import END_TO_END, ROUTE, Front, in_order

if TYPE_CHECKING:
    import torch

    from ...dispatch import DispatchPlan

TEMPERATURES = ("hot", "cold")
# Of the time its case has, the phases of all implementations together may take this share, and so may the router and
# the calls end to end.
PHASES_SHARE = 0.25
END_TO_END_SHARE = 0.25
# Of these, so many rounds even when that is used up: on a slow machine they show where the time goes, without an
# interval. The calls themselves, which are compared, have the rounds that an interval takes.
FEWEST_OF_PARTS = 3
Mark = Callable[[str | None], Callable[[Callable[[], Any]], Callable[[], Any]]]


@dataclass
class Times:
    """What timing gave for one implementation; `failure` is set when it raised, and then nothing else counts.

    clocks: what the device's clocks did while all of it was taken; None where nobody watched
    """

    hot: Samples | None = None
    cold: Samples | None = None
    phases: dict[str, Samples] = field(default_factory=dict)
    failure: tuple[Status, str] | None = None
    clocks: Clocks | None = None

    def suspects(self) -> int:
        """How many samples are suspect for what the clocks did, over all times."""
        return sum(by_clocks(samples) for samples in (self.hot, self.cold, *self.phases.values()) if samples)


@dataclass(frozen=True)
class GuardedTimer:
    """A timer that calls `guard` as soon as something raises, while it is still known who was running.

    Errors of a GPU surface when the timer waits for it, outside the call that caused them.
    """

    timer: Timer
    guard: Callable[[], None]

    def seconds(self) -> float:
        """See `Timer`."""
        return self.timer.seconds()

    def prepare(self, call: Callable[[], Any]) -> Prepared:
        """See `Timer`."""
        try:
            return self.timer.prepare(call)
        except Exception:
            self.guard()
            raise

    def sample(self, prepared: Prepared, *, cold: bool) -> float:
        """See `Timer`."""
        try:
            return self.timer.sample(prepared, cold=cold)
        except Exception:
            self.guard()
            raise

    def method(self, prepared: Prepared, *, cold: bool) -> str:
        """See `Timer`."""
        return self.timer.method(prepared, cold=cold)


def time_layers(
    layers: Mapping[str, Layer],
    x: torch.Tensor,
    plan: DispatchPlan,
    timer: Timer,
    limits: TimingLimits,
    mark: Mark,
    alive: Callable[[], None],
    *,
    front: Front | None = None,
    watch: ClockWatch | None = None,
    budget: Budget | None = None,
) -> dict[str, Times]:
    """Time every layer on x [T, H] and `plan`, on the device they are on.

    mark(name) wraps a call so that it is known who is running, mark(None) one that is nobody's; alive() is called after
    every round. With `front` the layers are also timed from the router or the routing on (end_to_end), the router
    itself (route; the same samples for every layer), and "plan" begins at the routing. `watch` is asked for the clocks
    between rounds. `budget` has a turn for hot and one for cold; without one they share twice `limits.seconds`.
    """
    options: dict[str, Any] = {
        "timer": timer,
        "min_samples": limits.min_samples,
        "max_samples": limits.max_samples,
        "target": limits.target,
        "on_progress": lambda _rounds, _seconds: alive(),
    }
    times, clocks = {name: Times() for name in layers}, ClockLog(watch)
    calls = {name: mark(name)(lambda layer=layer: layer(x, plan)) for name, layer in layers.items()}
    budget = budget or Budget.of(limits.seconds, len(TEMPERATURES))
    _time_whole(times, calls, budget, {**options, "warmup_seconds": limits.warmup, "clocks": clocks})
    sound = _sound(layers, times)
    options["fewest"] = FEWEST_OF_PARTS
    if front is not None and sound:
        share = limits.seconds * END_TO_END_SHARE
        _time_end_to_end(times, sound, x, front, mark, {**options, "seconds": share, "clocks": clocks})
    sound = _sound(sound, times)
    for name, layer in sound.items():
        own = clocks.branch()
        share = limits.seconds * PHASES_SHARE / len(sound)
        parts = partial(front.parts, layer, x, plan) if front else partial(layer.phases, x, plan)
        _time_phases(times[name], parts, mark(name), {**options, "seconds": share, "clocks": own})
        times[name].clocks = own.summary(times[name].suspects())
    return times


def speedup(mine: Times, baseline: Times | None) -> Speedup | None:
    """How many times faster than the baseline, from hot samples of the same rounds that count in both; None for the
    baseline itself.
    """
    if baseline is None or baseline is mine or baseline.hot is None or mine.hot is None:
        return None
    pairs = counted_pairs(baseline.hot, mine.hot)
    interval = ratio_interval(*pairs)
    return Speedup(BASELINE, interval.value, interval.low, interval.high, len(pairs[0]))


def _sound(layers: Mapping[str, Layer], times: Mapping[str, Times]) -> dict[str, Layer]:
    return {name: layer for name, layer in layers.items() if times[name].failure is None}


def _time_whole(
    times: dict[str, Times], calls: Mapping[str, Callable[[], Any]], budget: Budget, options: dict[str, Any]
) -> None:
    """The calls hot and cold, each a turn of the budget, which pays for the rounds and not for what prepares them."""
    told, took = options["on_progress"], 0.0

    def heard(rounds: int, seconds: float) -> None:
        nonlocal took
        took = seconds
        told(rounds, seconds)

    for kind in TEMPERATURES:
        took, running = 0.0, {name: call for name, call in calls.items() if times[name].failure is None}
        timed = {**options, "on_progress": heard, "seconds": budget.allot, "baseline": BASELINE}
        for name, result in measure_interleaved(running, cold=kind == "cold", **timed).items():
            _keep(times[name], kind, result)
        budget.spend(took)


def _time_end_to_end(
    times: dict[str, Times],
    layers: Mapping[str, Layer],
    x: torch.Tensor,
    front: Front,
    mark: Mark,
    options: dict[str, Any],
) -> None:
    """The router, which is nobody's, in the same rounds as every layer with all that comes before it."""
    router = _sound_router(front, x)
    front = replace(front, router=router)
    calls = {name: mark(name)(front.served(layer, x)) for name, layer in layers.items()}
    if router is not None:
        calls[ROUTE] = mark(None)(lambda: router(x))
    # Everything but the router has run many times.
    results = measure_interleaved(calls, cold=False, warmup_seconds=0, **options)
    route = results.pop(ROUTE, None)
    for name, result in results.items():
        _keep(times[name], END_TO_END, result)
        if isinstance(route, Samples):
            _keep(times[name], ROUTE, route)


def _sound_router(front: Front, x: torch.Tensor) -> Callable[[torch.Tensor], Any] | None:
    """The router, or None when there is none or it cannot route this: no implementation is to blame for that."""
    try:
        if front.router is not None:
            front.router(x)
    except RuntimeError:  # no memory left for its logits
        return None
    return front.router


def _time_phases(
    times: Times,
    parts: Callable[[], Mapping[str, Callable[[], Any]]],
    marked: Callable[[Callable[[], Any]], Callable[[], Any]],
    options: dict[str, Any],
) -> None:
    try:
        calls = {part: marked(call) for part, call in marked(parts)().items()}
        for call in calls.values():
            call()
    except Exception as error:  # whatever an implementation does becomes its record, not the end of the run
        _keep(times, "phases", Failure(*status_of(error)))
        return
    # No further warm-up: every phase has run just now, and the whole call many times.
    for part, result in measure_interleaved(calls, cold=False, warmup_seconds=0, **options).items():
        _keep(times, part, result)
    times.phases = in_order(times.phases)


def _keep(times: Times, kind: str, result: Samples | Failure) -> None:
    if isinstance(result, Failure):
        times.failure = (result.status, f"passed the gate, but while its {kind} time was taken: {result.reason}")
    elif kind == "hot":
        times.hot = result
    elif kind == "cold":
        times.cold = result
    else:
        times.phases[kind] = result
