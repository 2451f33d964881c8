"""Telemetry: what the device did while a call was replayed, read from NVML or from a recorded trace.

The sampling process imports this, so it stays light: what needs torch does so inside, and `cost` is not among it.
"""

from .apart import begin_reading
from .clocks import SourceClocks, clock_watch
from .nvml import NvmlSource
from .nvml_device import find_device, torch_uuid
from .probe import Probe, probe_nvml
from .readings import Readings
from .recorded import RecordedSource
from .sampler import Sampler
from .source import (
    METRICS,
    Reading,
    Source,
    SourceLostError,
    UnavailableError,
    throttle_names,
)
from .sources import LIVE, make_source
from .statistics import mean_interval
from .summary import FEWEST_READINGS, MEANS, Window, metric_mean, phase_means, summarize, throttle_shares, window_energy
from .sustain import (
    PHASE_S,
    RISE_S,
    SHORTEST_S,
    CpuDevice,
    CudaDevice,
    Device,
    Replay,
    replay_phases,
    sustained_replay,
)
from .trace_file import FILE_NAME as TRACE_NAME
from .trace_file import Cost, Header, Mark, Trace, TraceWriter, boot_id, read_trace

__all__ = [
    "FEWEST_READINGS",
    "LIVE",
    "MEANS",
    "METRICS",
    "PHASE_S",
    "RISE_S",
    "SHORTEST_S",
    "TRACE_NAME",
    "Cost",
    "CpuDevice",
    "CudaDevice",
    "Device",
    "Header",
    "Mark",
    "NvmlSource",
    "Probe",
    "Reading",
    "Readings",
    "RecordedSource",
    "Replay",
    "Sampler",
    "Source",
    "SourceClocks",
    "SourceLostError",
    "Trace",
    "TraceWriter",
    "UnavailableError",
    "Window",
    "begin_reading",
    "boot_id",
    "clock_watch",
    "find_device",
    "make_source",
    "mean_interval",
    "metric_mean",
    "phase_means",
    "probe_nvml",
    "read_trace",
    "replay_phases",
    "summarize",
    "sustained_replay",
    "throttle_names",
    "throttle_shares",
    "torch_uuid",
    "window_energy",
]
