"""What pytest calls: options, markers, the fixture, and the hooks of pytest-benchmark.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from . import conflicts, machine
from .clock import ReplayClock
from .settings import NAMES, Settings

if TYPE_CHECKING:
    from .fixture import GpuBenchmark, Measurements

FIXTURE = "gpu_benchmark"
MARKER = (
    "gpu_benchmark(device, cold, seconds, min_samples, max_samples, target, warmup, timer): "
    "how the fixture gpu_benchmark measures in this test."
)


class GpuBenchmarkWarning(pytest.PytestWarning):
    """No times are taken although nobody has switched them off."""


@dataclass
class SessionState:
    """What one pytest session keeps.

    off:     the user wants no times
    used:    a collected test has the fixture
    saved:   machine_info of every file this session is compared with, with its date
    machine: this machine's machine_info, once it has been asked for
    device:  what the command line says
    """

    off: bool = False
    device: str = "auto"
    used: bool = False
    saved: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    machine: dict[str, Any] | None = None
    measurements: Measurements | None = None

    def facts(self) -> dict[str, Any]:
        """This machine's facts, looked up once. Imports torch."""
        if self.machine is None:
            facts: dict[str, Any] = {}
            machine.complete(facts, self.device)
            self.machine = facts
        return self.machine


STATE = pytest.StashKey[SessionState]()
_CLOCK = pytest.StashKey[ReplayClock]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The defaults of `Settings`."""
    group, default = parser.getgroup("gpu_benchmark", "device times (mohge)"), Settings()

    def add(name: str, metavar: str, kind: Callable[[str], Any], text: str) -> None:
        shown = f"{text} Default: {getattr(default, name.replace('-', '_'))}."
        group.addoption(f"--gpu-benchmark-{name}", metavar=metavar, type=kind, help=shown)

    add("device", "DEVICE", str, "auto, cpu, cuda or cuda:N.")
    add("timer", "WAY", str, "auto, cpu, events, graph or cupti.")
    add("seconds", "S", _above_zero, "Longest time per measurement, for all interleaved calls together.")
    add("min-samples", "N", _count, "Samples per call, at least.")
    add("max-samples", "N", _count, "Samples per call, at most.")
    add("target", "SHARE", _above_zero, "Stop when the interval of every median is within this share of it.")
    add("warmup", "S", float, "Seconds each call runs untimed before.")
    group.addoption(
        "--gpu-benchmark-cold", action="store_true", default=None, help="Flush the caches before every sample."
    )
    group.addoption(
        "--gpu-benchmark-no-lock",
        action="store_true",
        default=False,
        help="Measure although another process measures on the same device.",
    )
    group.addoption(
        "--gpu-benchmark-compare-anyway",
        action="store_true",
        default=False,
        help="Compare with times saved on another GPU (without GPUs: another CPU) instead of refusing to.",
    )


def _above_zero(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text}")
    return int(text)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Remember what the user said before other plugins change it: pytest-codspeed does when it is configured."""
    state(config)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; refuse options of this plugin where no time can be taken."""
    config.addinivalue_line("markers", MARKER)
    if conflicts.asked_for_ours(config) and conflicts.xdist_worker(config) is None:
        refuse_conflicts(config)


def refuse_conflicts(config: pytest.Config) -> None:
    """For suites that are made of device times: raise pytest.UsageError where none can be taken, unless the user has
    switched them off.
    """
    reason = None if state(config).off else conflicts.conflict(config)
    if reason:
        raise pytest.UsageError(reason)


def state(config: pytest.Config) -> SessionState:
    """What this session keeps."""
    if STATE not in config.stash:
        config.stash[STATE] = SessionState(conflicts.switched_off(config), _from_command_line(config).device)
    return config.stash[STATE]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give every test that has the fixture its clock; refuse comparisons and plugins that make no sense with it."""
    ours = [item for item in items if FIXTURE in getattr(item, "fixturenames", ())]
    if not ours:
        return
    mine = state(config)
    mine.used = True
    for item in ours:
        settings(item)
        item.stash[_CLOCK] = clock = ReplayClock()
        options = _benchmark_options(item, clock)
        if not conflicts.codspeed_enabled(config):  # which reads the same marker, and knows no timer
            item.add_marker(pytest.mark.benchmark(**options), append=False)
    if mine.off:
        return
    worker = conflicts.xdist_worker(config)
    if worker is None:
        refuse_conflicts(config)
        _refuse_other_machines(config)
    elif worker == "gw0" and not conflicts.asked_for(config):
        reason = conflicts.conflict(config)
        warnings.warn(GpuBenchmarkWarning(f"{reason}; now every call just runs once"), stacklevel=1)


def _benchmark_options(item: pytest.Item, clock: ReplayClock) -> dict[str, Any]:
    """The options of all `benchmark` markers of a test, the nearest first, and the clock. pytest-benchmark itself reads
    the nearest marker alone, and that is now this one.
    """
    options: dict[str, Any] = {}
    for marker in item.iter_markers("benchmark"):
        options = {**marker.kwargs, **options}
    if "timer" in options:
        raise pytest.UsageError(
            f"{item.nodeid}: expected no timer in the benchmark marker beside gpu_benchmark, which replays its own "
            "samples; the timer that takes them goes into the marker gpu_benchmark"
        )
    return {**options, "timer": clock}


def settings(item: pytest.Item) -> Settings:
    """The command line's settings under those of the test's markers, the nearest last. Raises pytest.UsageError."""
    found = _from_command_line(item.config)
    try:
        for marker in reversed(list(item.iter_markers(FIXTURE))):
            if marker.args:
                raise ValueError(f"gpu_benchmark marker: expected keywords only, got {marker.args[0]!r}")
            found = found.updated(marker.kwargs, "gpu_benchmark marker")
    except ValueError as error:
        raise pytest.UsageError(f"{item.nodeid}: {error}") from error
    return found


def _from_command_line(config: pytest.Config) -> Settings:
    given = {name: config.getoption(f"gpu_benchmark_{name}", None) for name in NAMES}
    return Settings().updated(given, "command line")


def _refuse_other_machines(config: pytest.Config) -> None:
    mine = state(config)
    if not mine.saved or config.getoption("gpu_benchmark_compare_anyway"):
        return
    for date, saved in mine.saved:
        reason = machine.difference(mine.facts(), saved)
        if reason:
            raise pytest.UsageError(
                f"gpu_benchmark: {reason} ({date}); --gpu-benchmark-compare-anyway compares them all the same"
            )


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add the GPU and the libraries to what is saved, in sessions that have device times."""
    if state(config).used:
        machine.complete(machine_info, state(config).device)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_compare_machine_info(
    config: pytest.Config, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Keep the machine of a file with device times until it is known whether this session has any.

    It runs before anything is collected, and before pytest-benchmark compares the two machines itself: without our
    facts on both sides that would always find a difference.
    """
    saved = compared_benchmark.get("machine_info") or {}
    if machine.has_ours(saved):
        state(config).saved.append((str(compared_benchmark.get("datetime", "")), saved))
        if not machine.has_ours(machine_info):
            machine.complete(machine_info, state(config).device)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which times were taken while the device was held back: no error, and nothing to overlook."""
    measurements = state(config).measurements
    for line in measurements.held_back if measurements is not None else ():
        terminalreporter.write_line(f"gpu_benchmark: {line}", yellow=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the device as it was."""
    measurements = state(config).measurements
    if measurements is not None:
        measurements.close()


@pytest.fixture
def gpu_benchmark(request: pytest.FixtureRequest, benchmark: Any) -> GpuBenchmark:
    """Time a call with device timers and give the samples to pytest-benchmark.

    gpu_benchmark(call) measures one call; gpu_benchmark.interleaved(calls, name, case=...) measures several against
    each other and gives this test those of `name`. The marker gpu_benchmark(seconds=..., cold=..., ...) sets how.
    """
    from .fixture import GpuBenchmark, Measurements

    item, mine = request.node, state(request.config)
    if mine.measurements is None:
        lock = not request.config.getoption("gpu_benchmark_no_lock")
        mine.measurements = Measurements(partial(_say, request.config), lock=lock)
    clock = item.stash.get(_CLOCK, None)
    made = GpuBenchmark(benchmark, clock or ReplayClock(), settings(item), mine.measurements, mine.facts)
    if clock is None:
        made.fail("gpu_benchmark: expected to be an argument of the test, or of a fixture that is one")
    if conflicts.xdist_worker(request.config) and not mine.off and conflicts.asked_for(request.config):
        # A usage error inside a worker would look like a crash of pytest itself.
        made.fail(str(conflicts.conflict(request.config)))
    return made


def _say(config: pytest.Config, text: str) -> None:
    """Tell people at once whom a measurement waits for; what a test prints is only shown when it has failed."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    line = f"\ngpu_benchmark: {text.partition(';')[0]}; --gpu-benchmark-no-lock goes on all the same"
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        print(line, file=sys.stderr, flush=True)
