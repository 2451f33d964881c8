"""Timing: device and CPU timers behind one interface, interleaved measurement, intervals, and the machine's roofs."""

from ..records import Samples
from .interleave import Failure, measure_interleaved
from .intervals import Interval, median_interval, ratio_interval
from .roofs import make_timer, measure_roofs
from .timer import CpuTimer, Prepared, Timer, flush_bytes

__all__ = [
    "CpuTimer",
    "Failure",
    "Interval",
    "Prepared",
    "Samples",
    "Timer",
    "flush_bytes",
    "make_timer",
    "measure_interleaved",
    "measure_roofs",
    "median_interval",
    "ratio_interval",
]
