"""How long a configuration would take, from counted work and compiled binaries alone: a small model, no measurement.

One launch of a GEMM with tiles of f_i FLOPs, on a GPU of S streaming multiprocessors (SMs):

    b       = blocks resident on an SM: the least that registers, shared memory, threads and the launch allow
    slot    = one of S · b places; the resident blocks of an SM share its rates
    t_i     = max(f_i / (rate / (S · b)),  a_i / (l2 / (S · b)))   a_i: its share of `GemmWork.bytes`
    tiles   = makespan of the t_i, in launch order, each to the slot that is free first
    launch  = max(tiles, GemmWork.least_bytes / copy rate) + launch cost

and the layer is the sum over its launches; permute and combine are the same for every configuration and left out.
`rate` is the matrix rate where the binary has tensor-core instructions, else that of the FMA units.

What it does not see: latency and how pipelining hides it (`num_stages`), the order of tiles in L2 (`band`), clocks
under load. Configurations that differ only there are predicted equal. It ranks tile shapes and residency; a prediction
is a reason to measure, never a result.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.tunable import GemmWork, Value
from ...kernels.values import GEMMS
from ..records import Run

# Hopper, compute capability 9.0: of one SM, and of one block.
REGISTERS, SHARED_BYTES, THREADS, BLOCKS = 65536, 228 * 1024, 2048, 32
RESERVED_SHARED = 1024  # the driver's, in every block
MOST_SHARED_BYTES = 227 * 1024
_WARP, _REGISTER_UNIT = 32, 256  # registers are given to a warp in units of 256
# Above this many tiles the makespan is taken as the mean load and one longest tile, which is an upper bound of it.
MOST_TILES = 200_000


@dataclass(frozen=True)
class Machine:
    """The rates a prediction assumes.

    tensor_tflops, fma_tflops: 1e12 FLOP / s of the tensor cores and of the FMA units
    copy_tbps:  1e12 bytes / s between memory and chip
    l2_factor:  how many times that L2 gives; an assumption, no source measured it here
    launch_us:  cost of one launch behind another; the same for all, so it decides nothing
    source:     where the rates are from
    """

    name: str
    sms: int
    tensor_tflops: float
    fma_tflops: float
    copy_tbps: float
    l2_factor: float = 2.0
    launch_us: float = 2.0
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


H200 = Machine(
    name="NVIDIA H200",
    sms=132,
    tensor_tflops=790.0,
    fma_tflops=67.0,
    copy_tbps=4.3,
    source="16-bit matrix rate and copy rate as measured on one H200; float32 rate from NVIDIA's data sheet",
)


def machine_from_run(run: Run, where: str) -> Machine:
    """An H200's SMs with the roofs of a run: its matrix rates and its copy rate. Raises ValueError without roofs."""
    roof, gpu = run.environment.roof, run.environment.gpu
    if roof is None or gpu is None or not roof.copy_tbps or not roof.matmul_tflops:
        raise ValueError(f"{where}: expected a run with measured roofs of a GPU, got none")
    halves = [rate for dtype, rate in roof.matmul_tflops.items() if dtype != "float32"]
    return Machine(
        name=str(gpu.get("name", "GPU")),
        sms=int(gpu.get("sms") or H200.sms),
        tensor_tflops=max(halves, default=H200.tensor_tflops),
        fma_tflops=roof.matmul_tflops.get("float32", H200.fma_tflops),
        copy_tbps=roof.copy_tbps,
        source=f"roofs of {where}",
    )


def resident_blocks(record: Mapping[str, Any], threads: int, most: int | None = None) -> int:
    """Blocks of a kernel that fit on one SM, by its compiled `record`; at least 1. most: as the launch asks for."""
    warps = -(-threads // _WARP)
    a_warp = -(-(record.get("registers") or 1) * _WARP // _REGISTER_UNIT) * _REGISTER_UNIT
    fits = min(
        REGISTERS // (a_warp * warps),
        SHARED_BYTES // ((record.get("shared_bytes") or 0) + RESERVED_SHARED),
        THREADS // (warps * _WARP),
        BLOCKS,
    )
    return max(1, min(fits, most) if most else fits)


def makespan(times: NDArray[np.float64], slots: int) -> float:
    """When the last of `times` ends, each started in order in the slot that is free first. 0 without any."""
    if len(times) <= slots:
        return float(times.max(initial=0.0))
    if len(times) > MOST_TILES:
        return float(times.sum() / slots + times.max())
    free = [float(time) for time in times[:slots]]
    heapq.heapify(free)
    for time in times[slots:]:
        heapq.heapreplace(free, free[0] + float(time))
    return max(free)


def predicted_us(
    works: Sequence[GemmWork], records: Sequence[Mapping[str, Any]], values: Mapping[str, Value], machine: Machine
) -> float:
    """Microseconds of the launches `works`, whose compiled records are `records` in the same order; see the top.

    Raises ValueError when there is no record for a launch.
    """
    if len(works) != len(records):
        raise ValueError(f"records: expected one for each of {len(works)} launches, got {len(records)}")
    total = 0.0
    for place, (work, record) in enumerate(zip(works, records, strict=True)):
        asked = values.get(f"{GEMMS[place]}_blocks_per_sm") if place < len(GEMMS) else None
        blocks = resident_blocks(record, work.threads, asked if isinstance(asked, int) else None)
        slots = machine.sms * blocks
        tflops = machine.tensor_tflops if record.get("tensor_instructions") else machine.fma_tflops
        flops = np.asarray(work.tile_flops, dtype=np.float64)
        traffic = work.bytes * flops / flops.sum() if flops.sum() else flops
        per_tile = np.maximum(
            flops / (tflops * 1e6 / slots), traffic / (machine.l2_factor * machine.copy_tbps * 1e6 / slots)
        )
        total += max(makespan(per_tile, slots), work.least_bytes / (machine.copy_tbps * 1e6)) + machine.launch_us
    if not math.isfinite(total) or total <= 0:
        raise ValueError(f"prediction: expected a time above 0, got {total}")
    return total
