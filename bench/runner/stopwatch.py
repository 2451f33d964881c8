"""Times of all implementations of one case: hot, cold and phase by phase, interleaved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...kernels import Layer
from ..gate import status_of
from ..records import BASELINE, Samples, Speedup, Status
from ..timing import Failure, Prepared, Timer, measure_interleaved, ratio_interval
from .jobs import TimingLimits

if TYPE_CHECKING:
    import torch

    from ...dispatch import DispatchPlan

# The phases of one implementation together may take this share of the time its case has.
PHASES_SHARE = 0.25


@dataclass
class Times:
    """What timing gave for one implementation; `failure` is set when it raised, and then nothing else counts."""

    hot: Samples | None = None
    cold: Samples | None = None
    phases: dict[str, Samples] = field(default_factory=dict)
    failure: tuple[Status, str] | None = None


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
    mark: Callable[[str], Callable[[Callable[[], Any]], Callable[[], Any]]],
    alive: Callable[[], None],
) -> dict[str, Times]:
    """Time every layer on x [T, H] and `plan`, on the device they are on.

    mark(name) wraps a call so that it is known who is running; alive() is called after every round.
    """
    options: dict[str, Any] = {
        "timer": timer,
        "min_samples": limits.min_samples,
        "max_samples": limits.max_samples,
        "target": limits.target,
        "on_progress": lambda _rounds, _seconds: alive(),
    }
    times = {name: Times() for name in layers}
    calls = {name: mark(name)(lambda layer=layer: layer(x, plan)) for name, layer in layers.items()}
    for kind in ("hot", "cold"):
        running = {name: call for name, call in calls.items() if times[name].failure is None}
        for name, result in measure_interleaved(
            running, cold=kind == "cold", seconds=limits.seconds, warmup_seconds=limits.warmup, **options
        ).items():
            _keep(times[name], kind, result)
    for name, layer in layers.items():
        if times[name].failure is None:
            _time_phases(times[name], layer, x, plan, mark(name), limits.seconds * PHASES_SHARE / len(layers), options)
    return times


def speedup(mine: Times, baseline: Times | None) -> Speedup | None:
    """How many times faster than the baseline, from hot samples of the same rounds; None for the baseline itself."""
    if baseline is None or baseline is mine or baseline.hot is None or mine.hot is None:
        return None
    interval = ratio_interval(baseline.hot.samples_us, mine.hot.samples_us)
    return Speedup(BASELINE, interval.value, interval.low, interval.high)


def _time_phases(
    times: Times,
    layer: Layer,
    x: torch.Tensor,
    plan: DispatchPlan,
    marked: Callable[[Callable[[], Any]], Callable[[], Any]],
    seconds: float,
    options: dict[str, Any],
) -> None:
    try:
        parts = {part: marked(call) for part, call in layer.phases(x, plan).items()}
        for call in parts.values():
            call()
    except Exception as error:  # whatever an implementation does becomes its record, not the end of the run
        _keep(times, "phases", Failure(*status_of(error)))
        return
    # No further warm-up: every phase has run just now, and the whole call many times.
    for part, result in measure_interleaved(parts, cold=False, seconds=seconds, warmup_seconds=0, **options).items():
        _keep(times, part, result)


def _keep(times: Times, kind: str, result: Samples | Failure) -> None:
    if isinstance(result, Failure):
        times.failure = (result.status, f"passed the gate, but while its {kind} time was taken: {result.reason}")
    elif kind == "hot":
        times.hot = result
    elif kind == "cold":
        times.cold = result
    else:
        times.phases[kind] = result
