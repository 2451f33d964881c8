"""A source by its name on the command line."""

from __future__ import annotations

from pathlib import Path

from .nvml import NvmlSource
from .recorded import RecordedSource
from .source import Source

LIVE = "nvml"


def make_source(name: str, gpu: str | None = None) -> Source:
    """The source called `name`: nvml, or a trace file, which is played again and again. gpu: as for NvmlSource.

    Raises ValueError; whether it can be opened shows when it is.
    """
    if name == LIVE:
        return NvmlSource(gpu)
    if not Path(name).is_file():
        raise ValueError(f"telemetry source: expected {LIVE} or a trace file, got {name!r}")
    return RecordedSource(name, loop=True)
