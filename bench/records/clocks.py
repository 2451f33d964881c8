"""What a device says of its clocks at one moment: asked by timing, answered by telemetry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# NVML's clocks event reasons by bit: what may hold the clocks back.
THROTTLE_REASONS: Mapping[int, str] = MappingProxyType(
    {
        0x1: "gpu_idle",
        0x2: "applications_clocks_setting",
        0x4: "sw_power_cap",
        0x8: "hw_slowdown",
        0x10: "sync_boost",
        0x20: "sw_thermal_slowdown",
        0x40: "hw_thermal_slowdown",
        0x80: "hw_power_brake_slowdown",
        0x100: "display_clock_setting",
    }
)


@dataclass(frozen=True)
class ClockReading:
    """The clocks at one moment, in MHz, None where the device does not say; throttle: names of THROTTLE_REASONS."""

    sm_mhz: float | None = None
    memory_mhz: float | None = None
    throttle: tuple[str, ...] = ()
