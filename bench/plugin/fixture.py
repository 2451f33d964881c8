"""The object behind the fixture `gpu_benchmark`: our harness measures, pytest-benchmark does the statistics."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, cast

import pytest

from ..records import Samples
from ..records.codec import plain
from ..runner.grids import check_device
from ..runner.lock import device_lock
from ..telemetry import clock_watch
from ..timing import (
    ClockLog,
    ClockWatch,
    Failure,
    Timer,
    by_clocks,
    check_way,
    held_back,
    measure_interleaved,
    open_timer,
)
from .clock import ReplayClock
from .machine import essentials
from .saved import counted, description
from .settings import Settings

Call = Callable[[], Any]
Calls = Mapping[str, Call] | Callable[[], Mapping[str, Call]]


@dataclass(frozen=True)
class Work:
    """What a call does. flops: it has to compute;  moved_bytes: it has to move;  info: what else to say of it."""

    flops: int | None = None
    moved_bytes: int | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def rates(self, median_us: float) -> dict[str, float]:
        """Of what is known: tflops in 1e12 / s, tbps in 1e12 bytes / s."""
        known = {"tflops": self.flops, "tbps": self.moved_bytes}
        return {name: amount / median_us * 1e-6 for name, amount in known.items() if amount is not None}


@dataclass(frozen=True)
class Taken:
    """The samples of calls that were measured against each other, by name, and the clocks meanwhile."""

    samples: Mapping[str, Samples | Failure]
    clocks: ClockLog


class Measurements:
    """What one session has measured: timers, and the samples of calls that were measured against each other.

    say:  is told whom a measurement waits for, as only one at a time runs on a device
    lock: False does not wait
    held_back: the tests whose times were taken while the device was held back, and how, a line each
    """

    def __init__(self, say: Callable[[str], None], *, lock: bool = True) -> None:
        self._say, self._lock = say, lock
        self.held_back: list[str] = []
        self._timers: dict[tuple[str, str], Timer] = {}
        self._open = ExitStack()
        self._watches: dict[str, ClockWatch | None] = {}
        self._shared: dict[Hashable, Taken] = {}

    def take(self, calls: Mapping[str, Call], settings: Settings, device: str) -> Taken:
        """Samples of all calls, interleaved. Raises ValueError for impossible settings."""
        clocks = ClockLog(self._watch(device))
        with device_lock(device, wait=self._lock, say=self._say):
            found = measure_interleaved(
                calls,
                timer=self._timer(settings, device),
                cold=settings.cold,
                seconds=settings.seconds,
                min_samples=settings.min_samples,
                max_samples=settings.max_samples,
                target=settings.target,
                warmup_seconds=settings.warmup,
                clocks=clocks,
            )
        return Taken(found, clocks)

    def shared(self, key: Hashable, calls: Calls, settings: Settings, device: str) -> Taken:
        """The same, measured when `key` is first asked for; only the samples are kept, not the calls."""
        if key not in self._shared:
            made = calls if isinstance(calls, Mapping) else calls()
            self._shared[key] = self.take(made, settings, device)
        return self._shared[key]

    def close(self) -> None:
        """Switch off again what timers have switched on."""
        self._open.close()

    def _watch(self, device: str) -> ClockWatch | None:
        if device not in self._watches:
            self._watches[device] = clock_watch(device)
        return self._watches[device]

    def _timer(self, settings: Settings, device: str) -> Timer:
        if not isinstance(settings.timer, str):
            return cast("Timer", settings.timer(device) if callable(settings.timer) else settings.timer)
        way = check_way(device, settings.timer)
        if (device, way) not in self._timers:  # making one calibrates, and allocates what it flushes caches with
            self._timers[device, way] = self._open.enter_context(open_timer(device, way))
        return self._timers[device, way]


class GpuBenchmark:
    """Device times of one test.

    samples: what was measured, in microseconds with median, interval, method and reason to stop; None before, and
    where benchmarks are disabled (--benchmark-disable), where every call just runs once
    """

    def __init__(
        self,
        benchmark: Any,
        clock: ReplayClock,
        settings: Settings,
        measurements: Measurements,
        machine: Callable[[], dict[str, Any]],
    ) -> None:
        self._benchmark, self._clock, self._settings = benchmark, clock, settings
        self._measurements, self._machine = measurements, machine
        self.samples: Samples | None = None

    @property
    def enabled(self) -> bool:
        """Whether times are taken in this session."""
        return bool(getattr(self._benchmark, "enabled", False))

    @property
    def device(self) -> str:
        """Where calls are timed unless they say otherwise: cpu, cuda or cuda:N. Raises ValueError for another word."""
        return check_device(self._settings.device)

    @property
    def extra_info(self) -> dict[str, Any]:
        """What the JSON says of this test beside its statistics; add to it freely."""
        return self._benchmark.extra_info

    def __call__(self, call: Callable[..., Any], *arguments: Any, work: Work | None = None, **settings: Any) -> Any:
        """Time call(*arguments) and return its result.

        work:     what the call does, for extra_info
        settings: those of `Settings`, for this call alone

        The call runs once before it is timed, so that what it raises is raised here. Raises ValueError for a setting
        that is none.
        """
        chosen = self._settings.updated(settings, "gpu_benchmark")

        def run() -> Any:
            return call(*arguments)

        if not self.enabled:
            return self._once(run)
        try:
            device = check_device(chosen.device)
            result = run()
            taken = self._measurements.take({"call": run}, chosen, device)
        except Exception as error:
            self._end(error)
        self._replay(taken, "call", chosen, device, work, run)
        return result

    def interleaved(
        self, calls: Calls, name: str, *, case: Hashable, work: Work | None = None, **settings: Any
    ) -> None:
        """Give this test the times of calls[name], measured round-robin with all the other calls.

        calls: by name, or a function that makes them when they are needed
        case:  what the calls have in common: the first test that names a case measures all of them, and a later one
               with the same case and settings gets the samples of its own. Sample i of one pairs with sample i of
               another.

        The rest is as for a single call. Raises ValueError for a name that is not among the calls.
        """
        chosen = self._settings.updated(settings, "gpu_benchmark.interleaved")
        if not self.enabled:
            self._once(lambda: _named(calls if isinstance(calls, Mapping) else calls(), name)())
            return
        try:
            device = check_device(chosen.device)
            timer = chosen.timer if isinstance(chosen.timer, str) else id(chosen.timer)
            key = (case, replace(chosen, timer=timer), device)
            taken = self._measurements.shared(key, calls, chosen, device)
            _named(taken.samples, name)
        except Exception as error:
            self._end(error)
        self.extra_info["interleaved_with"] = [other for other in taken.samples if other != name]
        self._replay(taken, name, chosen, device, work)

    def fail(self, reason: str) -> NoReturn:
        """Fail the test with one line, and keep it out of the statistics: for results that must not be timed."""
        self._end(pytest.fail.Exception(reason, pytrace=False))

    def _replay(
        self,
        taken: Taken,
        name: str,
        settings: Settings,
        device: str,
        work: Work | None,
        afterwards: Call = lambda: None,
    ) -> None:
        samples = taken.samples[name]
        if isinstance(samples, Failure):
            self.fail(f"{samples.status} while it was timed: {samples.reason}")
        self.samples = samples
        clocks = taken.clocks.summary(by_clocks(samples))
        self.extra_info.update(description(samples, device, cold=settings.cold))
        if clocks is not None:
            self.extra_info["clocks"] = plain(clocks)
        self.extra_info.update(essentials(self._machine(), device))
        if work is not None:
            self.extra_info.update(work.rates(samples.median_us))
            self.extra_info.update(work.info)
        times = counted(samples)
        self._clock.load(times, afterwards)
        self._benchmark.pedantic(self._clock.advance, setup=self._clock.rewind, rounds=len(times), iterations=1)
        if held_back(clocks):
            self._measurements.held_back.append(f"{self._benchmark.fullname}: {held_back(clocks)}")

    def _end(self, error: BaseException) -> NoReturn:
        """Raise `error` as if it came from the benchmarked function, so that pytest-benchmark knows it was used."""

        def raise_it() -> NoReturn:
            raise error

        self._benchmark.has_error = True
        self._once(raise_it)
        raise error

    def _once(self, call: Call) -> Any:
        """Run a call as the benchmarked function, without a time; pytest-codspeed's stand-in would take one."""
        return self._benchmark.pedantic(call) if hasattr(self._benchmark, "enabled") else call()


def _named(found: Mapping[str, Any], name: str) -> Any:
    if name not in found:
        raise ValueError(f"gpu_benchmark.interleaved: expected a name out of {', '.join(found)}, got {name!r}")
    return found[name]
