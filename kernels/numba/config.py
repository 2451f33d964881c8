"""Launch configurations of the two grouped GEMMs, and which one a case gets.

Plain data and pure functions: nothing here imports Numba or touches a device. Registers, spills and shared memory of
each are read from the compiled binary by `aot.py`.

The kernels run on the CUDA cores, so the limit is one FMA a lane and cycle, and what competes with it is shared memory:
a thread that computes thread_m by thread_n outputs reads thread_m + thread_n numbers for thread_m * thread_n FMAs. With
8 x 8, 16 numbers feed 64 FMAs, so 16-byte reads leave shared memory idle half the time. The compiled tiles need 186 and
194 registers a thread for that and one block of 256 threads a multiprocessor; held to 128 registers, two blocks would
fit, at the price of spills. Which is faster is for a GPU to say.
"""

from __future__ import annotations

from dataclasses import dataclass

# Numbers a thread reads from shared memory in one instruction: a float4.
VECTOR = 4


@dataclass(frozen=True)
class Tile:
    """One GEMM's launch: a block of threads computes block_m rows by block_n columns, block_k of the inner dimension a
    step; a thread computes thread_m by thread_n of them.

    outputs: sums behind one output column: 2 for fc1, whose columns need a gate and an up sum, else 1
    band:    row blocks of an expert that share weights in L2 (see `TileSchedule`)
    blocks:  blocks a multiprocessor should hold at once; the compiler limits registers to what that allows

    Raises ValueError where the threads do not divide the tiles evenly or a block is not a power of two (addresses are
    taken apart with masks, and the compiler proves their alignment from those).
    """

    block_m: int
    block_n: int
    block_k: int
    thread_m: int
    thread_n: int
    outputs: int = 1
    band: int = 8
    blocks: int = 1

    def __post_init__(self) -> None:
        for name in ("block_m", "block_n", "block_k", "thread_m", "thread_n"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name}: expected a power of two, got {value}")
        if self.thread_m > self.block_m or self.thread_n > self.block_n:
            raise ValueError(
                f"expected thread tile within {self.block_m} x {self.block_n}, got {self.thread_m} x {self.thread_n}"
            )
        if not max(self.block_k, self.block_n) <= self.threads <= 1024:
            raise ValueError(
                f"expected {max(self.block_k, self.block_n)} to 1024 threads, got {self.threads}:"
                " each load of a tile is a whole row of it"
            )
        rows_at_once = self.threads // self.block_k
        if rows_at_once > min(self.block_m, self.outputs * self.block_n) or self.threads // self.block_n > self.block_k:
            raise ValueError(f"expected tiles of at least one element a thread, got {self.threads} threads for {self}")

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


@dataclass(frozen=True)
class Configuration:
    """A name for records, and the tiles of both GEMMs."""

    name: str
    fc1: Tile
    fc2: Tile


LARGE = Configuration(
    name="large",
    fc1=Tile(block_m=128, block_n=64, block_k=16, thread_m=8, thread_n=4, outputs=2),
    fc2=Tile(block_m=128, block_n=128, block_k=16, thread_m=8, thread_n=8),
)
# Few rows an expert: the weights are the traffic. 16 rows waste little, and many small blocks keep loads in flight.
SMALL = Configuration(
    name="small",
    fc1=Tile(block_m=16, block_n=32, block_k=32, thread_m=2, thread_n=2, outputs=2, blocks=2),
    fc2=Tile(block_m=16, block_n=64, block_k=32, thread_m=2, thread_n=4, blocks=2),
)
# One Python thread simulates one CUDA thread, so blocks have as few as still share a tile both ways.
SIMULATED = Configuration(
    name="simulated",
    fc1=Tile(block_m=4, block_n=4, block_k=4, thread_m=2, thread_n=2, outputs=2),
    fc2=Tile(block_m=4, block_n=4, block_k=4, thread_m=2, thread_n=2),
)

COMPILED = (SMALL, LARGE)
_SMALL_MEAN_ROWS = 24


def choose(rows: int, experts: int, *, simulated: bool = False) -> Configuration:
    """The configuration for R = rows over E = experts: by mean rows per expert, which the host knows without asking."""
    if simulated:
        return SIMULATED
    return SMALL if rows <= _SMALL_MEAN_ROWS * experts else LARGE


def tile_flops(counts: list[int], inner: list[int], columns: list[int], tile: Tile) -> int:
    """FLOPs that the tiles of one GEMM execute, padding included: experts of counts[e] rows, inner[e] deep and
    columns[e] wide.
    """
    total = 0
    for rows, depth, width in zip(counts, inner, columns, strict=True):
        m, n, k = (_round_up(*pair) for pair in ((rows, tile.block_m), (width, tile.block_n), (depth, tile.block_k)))
        total += 2 * tile.outputs * m * n * k
    return total


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
