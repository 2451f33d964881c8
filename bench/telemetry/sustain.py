"""Sustained replay: one call again and again for seconds, so that what NVML sees is that call and nothing else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

SHORTEST_S = 3.0  # of a window: the energy counter and GPM move ten times a second
PHASE_S = 0.6
RISE_S = 1.0  # clocks and power settle, and a driver's 1 s averages forget what was before
# Calls in flight: batches this long, at most two of them, keep the device's queue filled between two waits of the host.
_BATCH_S = 0.02
_MOST_IN_BATCH = 256  # below what the driver's queue holds (about a thousand launches), a few kernels a call
Call = Callable[[], Any]


class Device(Protocol):
    """How a host follows a device that runs behind it."""

    def synchronize(self) -> None:
        """Wait until everything queued is done."""
        ...

    def fence(self) -> Call:
        """A point in the queue; calling what comes back waits until the device has passed it."""
        ...


class CpuDevice:
    """Calls are done when they return."""

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def fence(self) -> Call:
        """Passed already."""
        return lambda: None


class CudaDevice:
    """The current stream of a CUDA device, through events that let the waiting host sleep."""

    def __init__(self, device: Any) -> None:
        import torch

        self._torch, self._device = torch, torch.device(device)

    def synchronize(self) -> None:
        """Wait for the device."""
        self._torch.cuda.synchronize(self._device)

    def fence(self) -> Call:
        """An event on the current stream; blocking, so that the host does not burn a core while it waits."""
        event = self._torch.cuda.Event(blocking=True)
        event.record(self._torch.cuda.current_stream(self._device))
        return event.synchronize


class Watcher(Protocol):
    """Who looks on: a `Sampler`, or nobody."""

    def during(self) -> str | None:
        """None while it goes on, else why not."""
        ...

    def mark(self, lane: str, name: str) -> contextlib.AbstractContextManager[None]:
        """Marks a phase."""
        ...


class Nobody:
    """No sampler: the replay is the same, nothing is marked."""

    def during(self) -> str | None:
        """Never ends."""
        return None

    @contextlib.contextmanager
    def mark(self, lane: str, name: str) -> Iterator[None]:  # noqa: ARG002  (there is nowhere to write it)
        """Marks nothing."""
        yield


@dataclass(frozen=True)
class Replay:
    """calls done from begin_s to end_s (monotonic clock), after discarded_s of rise; ended: why it was cut short."""

    begin_s: float
    end_s: float
    calls: int
    discarded_s: float
    ended: str = ""

    @property
    def seconds(self) -> float:
        """The length of the window."""
        return self.end_s - self.begin_s


def sustained_replay(
    call: Call,
    seconds: float,
    watcher: Watcher | None = None,
    device: Device | None = None,
    *,
    lane: str = "",
    name: str = "layer",
    rise_s: float = RISE_S,
    alive: Call = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> Replay:
    """Replay `call` back to back for rise_s and then `seconds`, without a wait per call, and count the calls.

    The device is waited for at the window's ends only, so calls and window fit exactly; between them the host waits for
    the batch before the last. watcher: marks the window and may end it; alive(): called after every batch. Raises what
    `call` raises, and ValueError for a window that is not positive.
    """
    if not seconds > 0:
        raise ValueError(f"seconds: expected more than 0, got {seconds}")
    watcher, device = watcher or Nobody(), device or CpuDevice()
    call()
    device.synchronize()
    start = clock()
    batch = _batch(call, device, clock)
    _feed(call, batch, rise_s - (clock() - start), watcher, device, alive, clock)
    device.synchronize()
    with watcher.mark(lane, name):
        begin = clock()
        calls = _feed(call, batch, seconds, watcher, device, alive, clock)
        device.synchronize()
        end = clock()
    return Replay(begin, end, calls, begin - start, watcher.during() or "")


def replay_phases(
    phases: Mapping[str, Call],
    watcher: Watcher,
    device: Device,
    *,
    lane: str,
    seconds: float = PHASE_S,
    alive: Call = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, tuple[float, float]]:
    """Replay each phase alone, long enough to be seen; the window of each, by name.

    The phases are run once in order before, so that each finds what the one before left.
    """
    for call in phases.values():
        call()
    device.synchronize()
    spans: dict[str, tuple[float, float]] = {}
    for name, call in phases.items():
        replay = sustained_replay(
            call, seconds, watcher, device, lane=lane, name=name, rise_s=0.0, alive=alive, clock=clock
        )
        spans[name] = (replay.begin_s, replay.end_s)
        if replay.ended:
            break
    return spans


def _batch(call: Call, device: Device, clock: Callable[[], float]) -> int:
    """How many calls last about _BATCH_S, found by doubling."""
    count = 1
    while True:
        begin = clock()
        for _ in range(count):
            call()
        device.synchronize()
        spent = clock() - begin
        if spent >= _BATCH_S / 2 or count >= _MOST_IN_BATCH:
            return max(1, min(_MOST_IN_BATCH, round(count * _BATCH_S / max(spent, 1e-9))))
        count *= 2


def _feed(
    call: Call,
    batch: int,
    seconds: float,
    watcher: Watcher,
    device: Device,
    alive: Call,
    clock: Callable[[], float],
) -> int:
    """Queue batches for `seconds`, at most two unfinished; at least one, and none after the watcher has ended."""
    begin, calls = clock(), 0
    behind: Call = lambda: None  # noqa: E731  (the fence of the batch before)
    while not calls or clock() - begin < seconds:
        for _ in range(batch):
            call()
        calls += batch
        fence = device.fence()
        behind()
        behind = fence
        alive()
        if watcher.during() is not None:
            break
    return calls
