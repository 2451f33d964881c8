"""What sampling costs: the share of a core its process takes, and what a replay loses beside it."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .sampler import Sampler
from .sources import LIVE
from .sustain import Call, CpuDevice, CudaDevice, Device, sustained_replay
from .trace_file import read_trace

PAIRS = 6
REPLAY_S = 2.0
# A square matmul in the place of a kernel: long enough not to measure launches alone, short enough that many are made.
_SIZE = {"cpu": 256, "cuda": 1024}


@dataclass(frozen=True)
class SamplingCost:
    """Measured here. source: who was sampled; a recording costs no NVML calls, so its cost says less.

    core_share:  CPU time of the sampling process over wall time, worst of the replays
    read_us:     time one reading takes, worst of the replays' means
    slowdown:    calls a second without sampling over calls a second with it, minus 1, with a 95 % interval over pairs
    """

    source: str
    device: str
    pairs: int
    seconds: float
    period_s: float
    core_share: float
    read_us: float
    slowdown: float
    slowdown_low: float
    slowdown_high: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON types."""
        return asdict(self)


def measure_cost(
    source: str = LIVE,
    gpu: str | None = None,
    *,
    period_s: float = 0.1,
    pairs: int = PAIRS,
    seconds: float = REPLAY_S,
    call: Call | None = None,
) -> SamplingCost:
    """Replay a matmul (or `call`) in pairs, once alone and once beside a sampler, the order alternating.

    On the GPU where torch has one, else on the CPU. Raises UnavailableError when the source cannot be opened, and
    ValueError for fewer pairs than an interval takes.
    """
    from ..timing import FEWEST, ratio_interval

    if pairs < FEWEST:
        raise ValueError(f"pairs: expected at least {FEWEST}, got {pairs}")

    name, device, work = _work()
    rates: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"
        for pair in range(pairs):
            for sampled in (False, True) if pair % 2 else (True, False):
                sampler = Sampler(path, source, gpu, period_s) if sampled else None
                rates[sampled].append(_rate(call or work, device, seconds, sampler))
        trace = read_trace(path)
    ratio = ratio_interval(rates[False], rates[True])
    return SamplingCost(
        source=trace.header.source,
        device=name,
        pairs=pairs,
        seconds=seconds,
        period_s=period_s,
        core_share=max(cost.core_share for cost in trace.costs),
        read_us=max(cost.read_us for cost in trace.costs),
        slowdown=ratio.value - 1,
        slowdown_low=ratio.low - 1,
        slowdown_high=ratio.high - 1,
    )


def _rate(call: Call, device: Device, seconds: float, sampler: Sampler | None) -> float:
    """Calls a second, beside a sampler where there is one."""
    if sampler is not None:
        sampler.before()
    try:
        replay = sustained_replay(call, seconds, sampler, device, rise_s=seconds / 4)
    finally:
        if sampler is not None:
            sampler.after()
    return replay.calls / replay.seconds


def _work() -> tuple[str, Device, Call]:
    import torch

    kind = "cuda" if torch.cuda.is_available() else "cpu"
    size = _SIZE[kind]
    a, b = (torch.randn(size, size, device=kind) for _ in range(2))
    out = torch.empty_like(a)
    device: Device = CudaDevice(kind) if kind == "cuda" else CpuDevice()
    name = torch.cuda.get_device_name() if kind == "cuda" else "cpu"
    return f"{name}, matmul of {size}", device, lambda: torch.mm(a, b, out=out)
