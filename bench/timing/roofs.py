"""The machine's limits, measured in the same run: the matrix rate and the copy bandwidth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..records import Roof
from .clocks import ClockLog, ClockWatch
from .timer import Timer
from .ways import make_timer

# Square matmuls from small to large: the roof is the best of them, and growing stops when the next would take too long.
_SIZES = {"cpu": (256, 512, 1024, 2048), "cuda": (2048, 4096, 8192, 16384)}
# The copied buffer, in bytes: well above any last-level cache of its device.
_COPY_BYTES = {"cpu": 128 * 2**20, "cuda": 2**30}
_FEWEST_SAMPLES = 3


def measure_roofs(
    device: str,
    dtypes: Sequence[str],
    *,
    timer: Timer | None = None,
    seconds: float = 2.0,
    watch: ClockWatch | None = None,
) -> Roof:
    """The best rate of a square matmul for each of `dtypes` ("bfloat16", ...), in 1e12 FLOP / s (2 n^3 FLOP each), and
    that of a copy in 1e12 bytes / s (read + written), with normally distributed data: zeros run faster than real data.

    device: "cpu", "cuda" or a numbered one. A dtype that the device cannot multiply is left out. `seconds` is shared by
    all; every figure has at least three samples. float32 is whatever torch is set to, full precision by default. The
    method says how it was timed, and what `watch` saw of the clocks between the matmuls.
    """
    import torch

    place = torch.device(device)
    timer = timer if timer is not None else make_timer(device)
    clocks = ClockLog(watch)
    share = seconds / (len(dtypes) + 1)
    rates: dict[str, float] = {}
    sizes: list[str] = []
    for dtype in dtypes:
        best = _matmul_rate(timer, place, getattr(torch, dtype), share, clocks)
        if best is not None:
            rates[dtype], size = best
            sizes.append(f"{dtype} {size}")
    copy_rate, how = _copy_rate(timer, place, share)
    copied = _COPY_BYTES[place.type] // 2**20
    which = "the fastest sample" if place.type == "cpu" else "the median"
    method = f"{which} of square matmuls ({', '.join(sizes)}) and of a copy of {copied} MiB, random data; {how}"
    return Roof(matmul_tflops=rates, copy_tbps=copy_rate, method=method + _clock_text(clocks))


def _clock_text(clocks: ClockLog) -> str:
    seen = clocks.summary(0)
    if seen is None or seen.sm_mhz is None:
        return ""
    reasons = f", throttled by {', '.join(seen.throttle)}" if seen.throttle else ""
    return f"; SM clock {seen.sm_mhz:g} MHz ({seen.low_mhz:g} to {seen.high_mhz:g}){reasons}"


def _matmul_rate(timer: Timer, device: Any, dtype: Any, seconds: float, clocks: ClockLog) -> tuple[float, int] | None:
    """1e12 FLOP / s and the size of the fastest that fits the time, or None when the device cannot multiply `dtype`."""
    import torch

    best: tuple[float, int] | None = None
    left = seconds
    for size in _SIZES[device.type]:
        begin = timer.seconds()
        try:
            a, b = (torch.randn(size, size, device=device, dtype=torch.float32).to(dtype) for _ in range(2))
            call = partial(torch.mm, a, b, out=torch.empty_like(a))
            median_us, _ = _time_us(timer, call, left / 4, device.type == "cpu")
        except (RuntimeError, MemoryError):  # not implemented for this dtype, or no room for a larger size
            break
        clocks.read()
        best = max(best or (0.0, 0), (2 * size**3 / median_us * 1e-6, size))
        left -= timer.seconds() - begin
        # The next size does 8 times the work, and needs about 12 calls: 5 to prepare, 2 for each of 3 samples.
        if left < 12 * 8 * median_us * 1e-6:
            break
    return best


def _copy_rate(timer: Timer, device: Any, seconds: float) -> tuple[float, str]:
    """1e12 bytes / s, and how it was timed."""
    import torch

    source = torch.randn(_COPY_BYTES[device.type] // 4, device=device, dtype=torch.float32)
    target = torch.empty_like(source)
    copy_us, how = _time_us(timer, lambda: target.copy_(source), seconds, device.type == "cpu")
    return 2 * source.nbytes / copy_us * 1e-6, how


def _time_us(timer: Timer, call: Callable[[], Any], seconds: float, fastest: bool) -> tuple[float, str]:
    """The median of at least three samples, or the fastest of them, in microseconds; and how it was timed.

    A CPU is shared with other processes, and a disturbed sample says nothing of its limit; a GPU is not, and its
    fastest sample would be one before the clock has settled.
    """
    prepared = timer.prepare(call)
    samples: list[float] = []
    begin = timer.seconds()
    while len(samples) < _FEWEST_SAMPLES or (timer.seconds() - begin < seconds and len(samples) < 50):
        samples.append(timer.sample(prepared, cold=False))
    return min(samples) if fastest else float(np.median(samples)), timer.method(prepared, cold=False)
