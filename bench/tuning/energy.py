"""Energy of one call, from the GPU's own counter over a sustained replay that is long enough for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..telemetry import CudaDevice, Device, UnavailableError, find_device, sustained_replay, torch_uuid
from ..timing import ClockLog

# The counter moves about every 100 ms, so a window of two seconds is known to within a twentieth.
WINDOW_S, RISE_S = 2.0, 0.5


class EnergyMeter:
    """Replays a call and divides the energy by the number of calls.

    joules: reads a counter that only rises;  device: what is waited for;  clock: in seconds
    """

    def __init__(
        self,
        joules: Callable[[], float],
        device: Device,
        window_s: float = WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._joules, self._device, self._window_s, self._clock = joules, device, window_s, clock

    def joules_per_call(self, call: Callable[[], Any], clocks: ClockLog) -> float:
        """Energy of one call in J, idle power of the device included, after the power has risen. `clocks` is read while
        the call is replayed.
        """
        counting = _Counting(self._joules, clocks)
        replay = sustained_replay(call, self._window_s, counting, self._device, rise_s=RISE_S, clock=self._clock)
        return counting.joules / replay.calls


class _Counting:
    """Looks on while a call is replayed: reads the counter at both ends of the window, when the device is idle."""

    def __init__(self, read: Callable[[], float], clocks: ClockLog) -> None:
        self._read, self._clocks = read, clocks
        self.joules = 0.0

    def during(self) -> str | None:
        """Asked after every batch of calls; never ends the replay."""
        self._clocks.read()
        return None

    @contextmanager
    def mark(self, lane: str, name: str) -> Iterator[None]:  # noqa: ARG002  (there is one window)
        """The window."""
        before = self._read()
        yield
        self.joules = self._read() - before


def meter_for(device: str) -> EnergyMeter:
    """The meter of a GPU. Raises ValueError where there is no GPU or its driver counts no energy."""
    if not device.startswith("cuda"):
        raise ValueError(f"--energy: expected a GPU, got {device}")
    try:
        import pynvml
    except ImportError as error:
        raise ValueError(f"--energy: expected the package nvidia-ml-py, and cannot import it: {error}") from error
    try:
        pynvml.nvmlInit()
        handle = find_device(pynvml, torch_uuid(device), os.environ)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except (pynvml.NVMLError, UnavailableError) as error:
        raise ValueError(f"--energy: expected a GPU that counts its energy: {error}") from error
    return EnergyMeter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3, CudaDevice(device))
