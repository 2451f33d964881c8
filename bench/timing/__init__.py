"""Timing: timers of four ways behind one interface, interleaved measurement, clocks beside it, intervals, roofs."""

from ..records import ClockReading, Samples
from .clocks import RULE, ClockLog, ClockWatch, held_back
from .interleave import Failure, measure_interleaved
from .intervals import LEVEL, Interval, median_interval, ratio_interval, student_half_width
from .resample import FEWEST, Estimate, contrast
from .roofs import measure_roofs
from .suspects import by_clocks, counted_pairs, counting
from .timer import CpuTimer, Prepared, Timer, flush_bytes
from .ways import WAYS, check_way, make_timer, open_timer

__all__ = [
    "FEWEST",
    "LEVEL",
    "RULE",
    "WAYS",
    "ClockLog",
    "ClockReading",
    "ClockWatch",
    "CpuTimer",
    "Estimate",
    "Failure",
    "Interval",
    "Prepared",
    "Samples",
    "Timer",
    "by_clocks",
    "check_way",
    "contrast",
    "counted_pairs",
    "counting",
    "flush_bytes",
    "held_back",
    "make_timer",
    "measure_interleaved",
    "measure_roofs",
    "median_interval",
    "open_timer",
    "ratio_interval",
    "student_half_width",
]
