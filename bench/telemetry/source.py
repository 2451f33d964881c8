"""What can be asked for readings of a device: the metrics with their units, a reading, the interface of a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from ..records import THROTTLE_REASONS, ClockReading


@dataclass(frozen=True)
class Metric:
    """unit: share (0 to 1), W, J, MHz, bytes, °C or bits.

    kind: what a value speaks of: "instant" (this moment), "interval" (the time since the reading before) or "counter"
    (everything since some start; only differences mean something)
    """

    unit: str
    kind: str
    what: str


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "utilization": Metric("share", "interval", "time at least one kernel ran, over the driver's last period"),
        "utilization_ring": Metric("share", "interval", "the same from the driver's ring buffer, at its own times"),
        "memory_utilization": Metric("share", "interval", "time device memory was read or written"),
        "sm": Metric("share", "interval", "SMs that were busy (GPM)"),
        "occupancy": Metric("share", "interval", "warps active, of the most the SMs can hold (GPM)"),
        "tensor": Metric("share", "interval", "SM time in tensor operations of any kind (GPM)"),
        "hmma": Metric("share", "interval", "SM time in 16-bit and 8-bit floating-point tensor operations (GPM)"),
        "fp32": Metric("share", "interval", "SM time in float32 arithmetic outside the tensor pipe (GPM)"),
        "dram": Metric("share", "interval", "memory bandwidth in use, of the theoretical maximum (GPM)"),
        "power_w": Metric("W", "instant", "power at this moment"),
        "power_average_w": Metric("W", "interval", "power as the driver averages it (over 1 s on Hopper)"),
        "energy_j": Metric("J", "counter", "energy since the driver was loaded; moves about every 100 ms"),
        "sm_mhz": Metric("MHz", "instant", "SM clock"),
        "memory_mhz": Metric("MHz", "instant", "memory clock"),
        "temperature_c": Metric("°C", "instant", "temperature of the GPU"),
        "memory_bytes": Metric("bytes", "instant", "device memory in use, by all processes"),
        "throttle": Metric("bits", "instant", "what holds the clocks back, bits of THROTTLE_REASONS"),
    }
)


def throttle_names(bits: float) -> tuple[str, ...]:
    """The reasons in a value of the metric `throttle`; a bit without a name is given as its number."""
    mask = int(bits)
    return tuple(THROTTLE_REASONS.get(1 << place, f"bit_{place}") for place in range(64) if mask >> place & 1)


class UnavailableError(ValueError):
    """A source cannot be opened; the message is the reason, in one line."""


class SourceLostError(Exception):
    """A source that was open gives no further readings; the message is the reason, in one line."""


@dataclass(frozen=True)
class Reading:
    """Values of METRICS at `t`, in seconds on the monotonic clock of the machine.

    earlier: readings the device kept on its own since the last call, at their own times
    """

    t: float
    values: Mapping[str, float] = field(default_factory=dict)
    earlier: tuple[Reading, ...] = ()


class Source(Protocol):
    """A device, or what stands for one. `unavailable` grows: a metric that is refused enters it, with the reason."""

    kind: str  # nvml, recorded or synthetic: the label of every figure made from it
    unavailable: dict[str, str]

    def open(self) -> None:
        """Begin. Raises UnavailableError."""
        ...

    def describe(self) -> dict[str, Any]:
        """The device: name and uuid at least, as JSON types."""
        ...

    def read(self, now: float) -> Reading:
        """Everything available at `now`, seconds on the monotonic clock. Raises SourceLostError."""
        ...

    def clocks(self) -> ClockReading | None:
        """Only the clocks, cheaply; None where there are none at this moment. Raises SourceLostError."""
        ...

    def close(self) -> None:
        """End; harmless when it is not open."""
        ...
