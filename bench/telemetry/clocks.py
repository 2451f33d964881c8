"""The clocks of the GPU for the timing part: one cheap question, asked between timing samples."""

from __future__ import annotations

from typing import Any

from .nvml import NvmlSource
from .nvml_device import torch_uuid
from .source import ClockReading, Source, SourceLostError, UnavailableError


class SourceClocks:
    """The clocks of an open source. After a loss it keeps saying None: times are worth more than the clocks beside."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lost = False

    @property
    def source(self) -> str:
        """Who is asked: nvml, recorded or synthetic."""
        return self._source.kind

    def read(self) -> ClockReading | None:
        """The clocks now; None where there is no reading."""
        if self._lost:
            return None
        try:
            return self._source.clocks()
        except SourceLostError:
            self._lost = True
            return None


def clock_watch(device: Any) -> SourceClocks | None:
    """Watches the clocks of a torch device through NVML; None for a CPU, or where NVML is not available.

    The handle stays open for the life of the process: opening takes milliseconds, and a worker times until it ends.
    """
    if not str(device).startswith("cuda"):
        return None
    source = NvmlSource(torch_uuid(device))
    try:
        source.open()
    except UnavailableError:
        return None
    return SourceClocks(source)
