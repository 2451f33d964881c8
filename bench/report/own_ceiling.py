"""What implementations without tensor cores reach of what they can: the rate of the CUDA cores at the clock held.

The matrix rate that every share of the roof is of is that of the tensor cores, which these do not use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...kernels.numba.ceiling import cuda_core_tflops, share_of_cuda_cores
from ..records import Environment, Record
from .cases import Group, is_timed
from .formats import is_number, percent_text, rate_text, tokens_text, whole

ON_CUDA_CORES = ("numba", "cupy_tile")


@dataclass(frozen=True)
class OwnShare:
    """Of the CUDA cores' rate.

    share:  useful FLOPs over the float32 rate of all lanes at the clock held; None where that is not known
    words:  what it is a share of, "47.3 TFLOP/s: 132 multiprocessors at 1 400 MHz, the median while all were timed in
            turn"; or why it is not known
    """

    share: float | None
    words: str

    @property
    def short(self) -> str:
        """For a cell of a table."""
        return f"{percent_text(self.share)} of CUDA cores" if self.share is not None else "CUDA cores: not known"

    @property
    def long(self) -> str:
        """For a sentence or a hover."""
        if self.share is None:
            return f"share of the CUDA cores' rate not known: {self.words}"
        return f"{percent_text(self.share)} of the CUDA cores' {self.words}"


def own_share(record: Record, environment: Environment) -> OwnShare | None:
    """The share of a record, or why it is not known; None where it has no time on a GPU or uses tensor cores."""
    gpu = environment.gpu
    if record.implementation not in ON_CUDA_CORES or gpu is None or not is_timed(record):
        return None
    clock, held = _clock(record)
    if clock is None:
        return OwnShare(None, "the SM clock was not observed")
    sms, capability = gpu.get("sms"), _capability(gpu.get("capability"))
    if not is_number(sms) or capability is None:
        return OwnShare(None, "the run does not say how many multiprocessors of which capability the GPU has")
    if not is_number(record.tflops):
        return OwnShare(None, "its FLOPs were not counted")
    try:
        ceiling = cuda_core_tflops(int(sms), clock, capability)
        share = share_of_cuda_cores(record.tflops, int(sms), clock, capability)
    except ValueError as error:
        return OwnShare(None, str(error))
    return OwnShare(share, f"{rate_text(ceiling)}: {whole(sms)} multiprocessors at {whole(clock)} MHz, {held}")


def _clock(record: Record) -> tuple[float | None, str]:
    """The median SM clock in MHz, and of when that is; None where nobody watched.

    That of the timing first, since the rate is from there; implementations take turns in it, so it is that of all.
    """
    timing, replay = "the median while all were timed in turn", "the median while it was replayed alone"
    for seen, held in ((record.clocks, timing), (record.telemetry, replay)):
        clock = seen.sm_mhz if seen is not None else None
        if is_number(clock) and clock > 0:
            return clock, held
    return None, ""


def _capability(text: object) -> tuple[int, int] | None:
    major, _, minor = str(text).partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def own_reading(series: Sequence[Group], environment: Environment) -> str:
    """A sentence for each implementation on CUDA cores, at its most tokens; empty where there is none."""
    last = {record.implementation: record for group in series for record in group.timed}
    said = []
    for name in ON_CUDA_CORES:
        found = own_share(last[name], environment) if name in last else None
        if found is not None:
            where = f"{name}, which uses no tensor cores, at {tokens_text(last[name].case.tokens or 0)}"
            said.append(f"{where}: {found.long}.")
    return " ".join(said)
