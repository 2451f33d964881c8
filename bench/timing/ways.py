"""Which timer a device gets: the ways by name, why one is impossible, and the timer itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .timer import CpuTimer, Timer

# auto is cpu on a CPU and events on a GPU: they need no further package, and add nothing to the kernels.
WAYS = ("auto", "cpu", "events", "graph", "cupti")


def check_way(device: str, way: str = "auto") -> str:
    """The way meant by `way` on a device ("cpu", "cuda" or a numbered one), "auto" decided. Touches no device.

    Raises ValueError for a way that is none, or that is impossible for this device or on this machine, with the reason.
    """
    if way not in WAYS:
        raise ValueError(f"timer: expected one of {', '.join(WAYS)}, got {way!r}")
    on_gpu = device.startswith("cuda")
    if way == "auto":
        return "events" if on_gpu else "cpu"
    if on_gpu and way == "cpu":
        raise ValueError(f"timer cpu: expected the device cpu, got {device}: the host returns before the GPU is done")
    if not on_gpu and way != "cpu":
        raise ValueError(f"timer {way}: expected a GPU, got the device {device}; use cpu or auto")
    if way == "cupti":
        from .activities import import_cupti

        import_cupti()
    return way


def make_timer(device: str, way: str = "auto") -> Timer:
    """The timer for a device, by one of WAYS. Raises ValueError as `check_way`, and where torch can use no GPU."""
    way = check_way(device, way)
    if way == "cpu":
        return CpuTimer()
    if way == "cupti":
        from .cupti_timer import CuptiTimer

        return CuptiTimer(device)
    from .cuda_timer import CudaTimer

    return CudaTimer(device, graphs=way == "graph")


@contextmanager
def open_timer(device: str, way: str = "auto") -> Iterator[Timer]:
    """`make_timer`, and at the end whatever the timer has switched on is off again. Raises ValueError."""
    timer = make_timer(device, way)
    try:
        yield timer
    finally:
        close = getattr(timer, "close", None)
        if close is not None:
            close()
