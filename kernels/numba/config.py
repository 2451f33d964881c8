"""Launch configurations of the two grouped GEMMs: what may be chosen, under which rules, and what a case gets.

Plain data and pure functions: nothing here imports Numba or touches a device. Registers, spills and shared memory of
each are read from the compiled binary by `aot.py`.

The kernels run on the CUDA cores, so the limit is one FMA a lane and cycle, and what competes with it is shared memory:
a thread that computes thread_m by thread_n outputs reads thread_m + thread_n numbers for thread_m * thread_n FMAs. With
8 x 8, 16 numbers feed 64 FMAs, so 16-byte reads leave shared memory idle half the time. The compiled tiles need 196 and
184 registers a thread for that and one block of 256 threads a multiprocessor; held to 128 registers, two blocks would
fit, at the price of spills. Which is faster is for a GPU to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..grouped import TileShape, gemm_works
from ..values import Value, both_tiles, join_values, named, split_values

if TYPE_CHECKING:
    from ...reference import LayerSpec
    from ..tunable import GemmWork

KERNELS = ("gate_up", "down")
BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
# Numbers a thread reads from shared memory in one instruction: a float4.
VECTOR = 4
# Numbers added to each row of a tile in shared memory: rows stay 16-byte aligned, and the transposing stores of eight
# neighbouring k fall on different banks.
PAD = 4
# Of one SM on Hopper; arrays whose size is known when compiling may have 48 KiB of shared memory a block.
REGISTERS_PER_THREAD, REGISTERS_PER_SM, THREADS_PER_SM = 255, 65536, 2048
THREADS_PER_BLOCK = 1024
MOST_SHARED_BYTES = 48 * 1024


def check_fits(shared_bytes: int, threads: int, blocks_per_sm: int, least_registers: int) -> None:
    """Raise ValueError unless blocks_per_sm such blocks fit on one SM of Hopper, as far as sizes alone say.

    least_registers: those a thread needs for its own numbers alone
    """
    if shared_bytes > MOST_SHARED_BYTES:
        raise ValueError(f"expected at most {MOST_SHARED_BYTES} bytes of shared memory, got {shared_bytes}")
    if threads > THREADS_PER_BLOCK or blocks_per_sm * threads > THREADS_PER_SM:
        raise ValueError(f"blocks_per_sm: expected at most {THREADS_PER_SM} threads, got {blocks_per_sm} x {threads}")
    allowed = min(REGISTERS_PER_THREAD, REGISTERS_PER_SM // (blocks_per_sm * threads))
    if least_registers > allowed:
        raise ValueError(f"expected numbers for at most {allowed} registers a thread, got {least_registers}")


@dataclass(frozen=True)
class Tile:
    """One GEMM's launch: a block of threads computes block_m rows by block_n columns, block_k of the inner dimension a
    step; a thread computes thread_m by thread_n of them.

    outputs:       sums behind one output column: 2 for fc1, whose columns need a gate and an up sum, else 1
    band:          row blocks of an expert that share weights in L2 (see `TileSchedule`)
    blocks_per_sm: blocks a multiprocessor should hold at once; the compiler limits registers to what that allows

    Raises ValueError where the threads do not divide the tiles evenly or a block is not a power of two (addresses are
    taken apart with masks, and the compiler proves their alignment from those), where shared memory does not hold two
    tiles of both operands, and where a thread's numbers alone need more registers than it can have.
    """

    block_m: int
    block_n: int
    block_k: int
    thread_m: int
    thread_n: int
    outputs: int = 1
    band: int = 8
    blocks_per_sm: int = 1

    def __post_init__(self) -> None:
        for name in ("block_m", "block_n", "block_k", "thread_m", "thread_n"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name}: expected a power of two, got {value}")
        if self.thread_m > self.block_m or self.thread_n > self.block_n:
            raise ValueError(
                f"expected thread tile within {self.block_m} x {self.block_n}, got {self.thread_m} x {self.thread_n}"
            )
        if not max(self.block_k, self.block_n) <= self.threads <= THREADS_PER_BLOCK:
            raise ValueError(
                f"expected {max(self.block_k, self.block_n)} to {THREADS_PER_BLOCK} threads, got {self.threads}:"
                " each load of a tile is a whole row of it"
            )
        rows_at_once = self.threads // self.block_k
        if rows_at_once > min(self.block_m, self.outputs * self.block_n) or self.threads // self.block_n > self.block_k:
            raise ValueError(f"expected tiles of at least one element a thread, got {self.threads} threads for {self}")
        for name in ("band", "blocks_per_sm"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        check_fits(self.shared_bytes, self.threads, self.blocks_per_sm, self.least_registers)

    @property
    def threads_x(self) -> int:
        """Threads along the columns."""
        return self.block_n // self.thread_n

    @property
    def threads_y(self) -> int:
        """Threads along the rows."""
        return self.block_m // self.thread_m

    @property
    def threads(self) -> int:
        """Threads a block."""
        return self.threads_x * self.threads_y

    @property
    def shared_bytes(self) -> int:
        """Shared memory of two tiles of both operands in float32."""
        return 2 * self.block_k * (self.block_m + PAD + self.outputs * self.block_n + PAD) * 4

    @property
    def least_registers(self) -> int:
        """Registers of a thread's sums, of the fragments of one k, and of the next tile's numbers under way."""
        columns = self.outputs * self.thread_n
        loads = (self.block_m + self.outputs * self.block_n) * self.block_k // self.threads
        return self.thread_m * columns + self.thread_m + columns + loads

    def shape(self) -> TileShape:
        """What one entry of the work list computes."""
        return TileShape(self.block_m, self.block_n, self.block_k, self.outputs, self.threads)


@dataclass(frozen=True)
class Configuration:
    """A name for records, and the tiles of both GEMMs."""

    name: str
    fc1: Tile
    fc2: Tile

    def works(self, counts: NDArray[np.int64], spec: LayerSpec, dtype: str) -> list[GemmWork]:
        """What both launches do for rows per expert `counts` int[E]; see `grouped.gemm_works`."""
        return gemm_works(spec, counts, (self.fc1.shape(), self.fc2.shape()), KERNELS, BYTES[dtype])


LARGE = Configuration(
    name="large",
    fc1=Tile(block_m=128, block_n=64, block_k=16, thread_m=8, thread_n=4, outputs=2),
    fc2=Tile(block_m=128, block_n=128, block_k=16, thread_m=8, thread_n=8),
)
# Few rows an expert: the weights are the traffic. 16 rows waste little, and many small blocks keep loads in flight: fc1
# takes 168 registers where three of them must fit, 193 where two must, and spills at four.
SMALL = Configuration(
    name="small",
    fc1=Tile(block_m=16, block_n=32, block_k=32, thread_m=2, thread_n=2, outputs=2, blocks_per_sm=3),
    fc2=Tile(block_m=16, block_n=64, block_k=32, thread_m=2, thread_n=4, blocks_per_sm=2),
)
# One Python thread simulates one CUDA thread, so blocks have as few as still share a tile both ways.
SIMULATED = Configuration(
    name="simulated",
    fc1=Tile(block_m=4, block_n=4, block_k=4, thread_m=2, thread_n=2, outputs=2),
    fc2=Tile(block_m=4, block_n=4, block_k=4, thread_m=2, thread_n=2),
)

COMPILED = (SMALL, LARGE)
_SMALL_MEAN_ROWS = 24


FIELDS = ("block_m", "block_n", "block_k", "thread_m", "thread_n", "band", "blocks_per_sm")

# What a tuner may try. A block of 16 x 16 outputs still shares its operands; 128 x 128 is what 256 threads of 8 x 8
# compute, and 16 x 8 outputs and their fragments already are half of a thread's registers. Tiles are in shared memory
# twice, so block_k is 8 (one 32-byte sector of float32) to 32. Bands from one row block to 32, as in Triton's space.
_SPACE: dict[str, tuple[Value, ...]] = {
    "block_m": (16, 32, 64, 128),
    "block_n": (16, 32, 64, 128),
    "block_k": (8, 16, 32),
    "thread_m": (1, 2, 4, 8, 16),
    "thread_n": (1, 2, 4, 8),
    "band": (1, 2, 4, 8, 16, 32),
    "blocks_per_sm": (1, 2, 3, 4),
}


def space() -> dict[str, tuple[Value, ...]]:
    """Every parameter with its choices, the same for every dtype: all compute in float32."""
    return both_tiles({"fc1": _SPACE, "fc2": _SPACE})


def choose(rows: int, experts: int, *, simulated: bool = False) -> Configuration:
    """The built-in configuration for R = rows over E = experts: by mean rows per expert, which the host knows without
    asking.
    """
    if simulated:
        return SIMULATED
    return SMALL if rows <= _SMALL_MEAN_ROWS * experts else LARGE


def to_values(configuration: Configuration) -> dict[str, Value]:
    """A configuration as flat values."""
    return join_values(configuration.fc1, configuration.fc2, FIELDS)


def from_values(values: Mapping[str, Value], dtype: str, name: str = "tuned") -> Configuration:
    """The configuration of flat values. Raises ValueError with the rule that they break."""
    if dtype not in BYTES:
        raise ValueError(f"dtype: expected one of {', '.join(BYTES)}, got {dtype!r}")
    fc1, fc2 = split_values(values, FIELDS)
    return Configuration(name, named("fc1", lambda: Tile(**fc1, outputs=2)), named("fc2", lambda: Tile(**fc2)))
