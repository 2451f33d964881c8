"""Energy of one call, from the GPU's own counter over a replay that is long enough for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# The counter moves about every 100 ms, so a window of two seconds is known to within a twentieth.
WINDOW_S, RISE_S = 2.0, 0.5
_AT_ONCE = 20


class EnergyMeter:
    """Replays a call and divides the energy by the number of calls.

    joules: reads a counter that only rises;  wait: returns when the device is done with what was queued
    """

    def __init__(
        self,
        joules: Callable[[], float],
        wait: Callable[[], Any],
        clock: Callable[[], float] = time.monotonic,
        window_s: float = WINDOW_S,
        rise_s: float = RISE_S,
    ) -> None:
        self._joules, self._wait, self._clock = joules, wait, clock
        self._window_s, self._rise_s = window_s, rise_s

    def joules_per_call(self, call: Callable[[], Any]) -> float:
        """Energy of one call in J, idle power of the device included, after the power has risen."""
        self._replay(call, self._rise_s)
        before = self._joules()
        calls = self._replay(call, self._window_s)
        return (self._joules() - before) / calls

    def _replay(self, call: Callable[[], Any], seconds: float) -> int:
        begin, calls = self._clock(), 0
        while calls == 0 or self._clock() - begin < seconds:
            for _ in range(_AT_ONCE):
                call()
            self._wait()
            calls += _AT_ONCE
        return calls


def meter_for(device: str) -> EnergyMeter:
    """The meter of a GPU. Raises ValueError where there is no GPU or its driver counts no energy."""
    if not device.startswith("cuda"):
        raise ValueError(f"--energy: expected a GPU, got {device}")
    import pynvml
    import torch

    uuid = str(torch.cuda.get_device_properties(torch.device(device)).uuid)
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        raise ValueError(f"--energy: expected a GPU that counts its energy: {error}") from error
    return EnergyMeter(
        lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3, lambda: torch.cuda.synchronize(device)
    )
