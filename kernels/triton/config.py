"""Launch configurations of the two grouped GEMMs: what may be chosen, under which rules, and what a case gets.

Plain data and pure functions: nothing here imports Triton or touches a device. Registers, spills, shared memory and
tensor-core instructions of each configuration are read from the compiled binary by `aot.py`, and a test holds
`blocks_per_sm` to what they allow.

How the built-in tiles were chosen, for an SM of 64 Ki registers and 227 KiB of shared memory (Hopper):

- large: 128 x 256 outputs a tile (gate and up 128 columns each), so that a K step of 64 reads 48 KiB for 4.2 MFLOP,
  87 FLOP a byte from shared memory; eight warps are two warpgroups of 64 rows each, 128 accumulator registers a thread.
- medium: 64 rows, one warpgroup, two blocks a SM so that one block's epilogue hides behind the other's main loop.
- small: 16 rows, the least a tensor core takes; the weights are the traffic, so K steps are deep and three blocks a SM
  keep loads in flight while one of them drains.
- float32 has no tensor-core path of full precision; its tiles are small enough that the FMA version does not spill.

That holds where H and all widths are multiples of 16, whether or not a block divides them. Otherwise rows start at odd
addresses, loads are element by element, not pipelined, and the larger tiles spill: correct, and slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..grouped import TileShape, gemm_works
from ..values import Value, both_tiles, join_values, named, split_values

if TYPE_CHECKING:
    from ...reference import LayerSpec
    from ..tunable import GemmWork

KERNELS = ("gate_up", "down")
WARP = 32
BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
# Of one SM on Hopper. A thread may have 255 registers; with more than 128 sums, the next power of two, every one of
# them would be a sum and none left for addresses.
MOST_SUMS = 128
REGISTERS_PER_SM = 65536
MOST_SHARED_BYTES = 227 * 1024
SHARED_PER_SM, SHARED_RESERVED = 228 * 1024, 1024  # the driver keeps some of it for itself in every block
MOST_WARPS_PER_SM = 64


@dataclass(frozen=True)
class Tile:
    """One GEMM's launch: a program computes block_m rows by block_n output columns, block_k of the inner dimension a
    step, `num_stages` steps in flight.

    For fc1, block_n counts activation columns: the program reads block_n gate and block_n up rows. `outputs` is the
    number of sums behind a column, 2 there and 1 in fc2. `band` is the number of row blocks that share weights in L2
    (see `TileSchedule`); `blocks_per_sm` sizes the persistent grid.

    Raises ValueError where Triton could not compile the tile or every thread would spill its sums.
    """

    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int
    band: int = 8
    blocks_per_sm: int = 1
    outputs: int = 1

    def __post_init__(self) -> None:
        for name, least in (("block_m", 16), ("block_n", 16), ("block_k", 16), ("num_warps", 1)):
            value = getattr(self, name)
            if value < least or value & (value - 1):
                raise ValueError(f"{name}: expected a power of two from {least}, got {value}")
        for name in ("num_stages", "band", "blocks_per_sm", "outputs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.num_warps > 16:
            raise ValueError(f"num_warps: expected at most 16, got {self.num_warps}")
        if self.sums > MOST_SUMS:
            raise ValueError(f"expected at most {MOST_SUMS} sums a thread, got {self.sums}")

    @property
    def threads(self) -> int:
        """Threads of a program."""
        return WARP * self.num_warps

    @property
    def sums(self) -> int:
        """Accumulators of a thread."""
        return self.outputs * self.block_m * self.block_n // self.threads

    def shared_bytes(self, dtype: str) -> int:
        """Shared memory of the pipelined operands. Hopper's warpgroup instructions read the newest stage in place;
        the others take it to registers, and one buffer less is needed. A test compares it with the binaries.
        """
        warpgroup = dtype != "float32" and self.block_m >= 64 and self.num_warps >= 4
        buffers = self.num_stages - (0 if warpgroup else 1)
        return buffers * (self.block_m + self.outputs * self.block_n) * self.block_k * BYTES[dtype]

    def check_fits(self, dtype: str) -> None:
        """Raise ValueError unless blocks_per_sm programs fit on one SM of Hopper, as far as sizes alone say."""
        shared, blocks = self.shared_bytes(dtype), self.blocks_per_sm
        if shared > MOST_SHARED_BYTES:
            raise ValueError(f"expected at most {MOST_SHARED_BYTES} bytes of shared memory, got {shared}")
        if blocks * (shared + SHARED_RESERVED) > SHARED_PER_SM:
            raise ValueError(
                f"blocks_per_sm: expected {blocks} x {shared} bytes of shared memory within {SHARED_PER_SM} bytes"
            )
        if blocks * self.threads * self.sums > REGISTERS_PER_SM or blocks * self.num_warps > MOST_WARPS_PER_SM:
            raise ValueError(
                f"blocks_per_sm: expected {blocks} blocks of {self.threads} threads with {self.sums} sums each within"
                f" {REGISTERS_PER_SM} registers and {MOST_WARPS_PER_SM} warps"
            )

    def constants(self, spec: LayerSpec) -> dict[str, Any]:
        """What the kernel of this tile is compiled with for a layer: its blocks, and what divides evenly."""
        depth_divides = [size % self.block_k == 0 for size in ((spec.hidden,) if self.outputs == 2 else spec.widths)]
        even = {} if self.outputs == 2 else {"EVEN_N": spec.hidden % self.block_n == 0}
        return {
            **even,
            "EVEN_K": all(depth_divides),
            "BLOCK_M": self.block_m,
            "BLOCK_N": self.block_n,
            "BLOCK_K": self.block_k,
            "ALIGNED": all(width % 16 == 0 for width in spec.widths),
            "PRECISION": "ieee",
        }

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


SMALL = Configuration(
    name="small",
    fc1=Tile(block_m=16, block_n=64, block_k=128, num_warps=4, num_stages=3, blocks_per_sm=3, outputs=2),
    fc2=Tile(block_m=16, block_n=128, block_k=64, num_warps=4, num_stages=5, blocks_per_sm=3),
)
MEDIUM = Configuration(
    name="medium",
    fc1=Tile(block_m=64, block_n=64, block_k=64, num_warps=4, num_stages=4, blocks_per_sm=2, outputs=2),
    fc2=Tile(block_m=64, block_n=128, block_k=64, num_warps=4, num_stages=4, blocks_per_sm=2),
)
LARGE = Configuration(
    name="large",
    fc1=Tile(block_m=128, block_n=128, block_k=64, num_warps=8, num_stages=4, outputs=2),
    fc2=Tile(block_m=128, block_n=256, block_k=64, num_warps=8, num_stages=4),
)
SMALL_FLOAT32 = Configuration(
    name="small_float32",
    fc1=Tile(block_m=16, block_n=32, block_k=32, num_warps=4, num_stages=3, blocks_per_sm=4, outputs=2),
    fc2=Tile(block_m=16, block_n=64, block_k=32, num_warps=4, num_stages=3, blocks_per_sm=4),
)
LARGE_FLOAT32 = Configuration(
    name="large_float32",
    fc1=Tile(block_m=64, block_n=32, block_k=16, num_warps=4, num_stages=3, blocks_per_sm=3, outputs=2),
    fc2=Tile(block_m=64, block_n=64, block_k=16, num_warps=4, num_stages=3, blocks_per_sm=4),
)

# What the largest built-in tiles need of an SM, in bytes a block.
SHARED_BYTES = 196608

_HALF = ((16.0, SMALL), (96.0, MEDIUM), (float("inf"), LARGE))
_SINGLE = ((32.0, SMALL_FLOAT32), (float("inf"), LARGE_FLOAT32))

# Mean rows per expert up to which a configuration serves, in rising order, by dtype.
BUCKETS: dict[str, tuple[tuple[float, Configuration], ...]] = {
    "float16": _HALF,
    "bfloat16": _HALF,
    "float32": _SINGLE,
}

FIELDS = ("block_m", "block_n", "block_k", "num_warps", "num_stages", "band", "blocks_per_sm")

# What a tuner may try. Rows from 16, the least a tensor core takes, to 256, where the sums of a narrow column block
# fill the registers; columns up to 256, the widest warpgroup instruction, half of that in fc1, which has two sums a
# column. A K step of 32 reads 64 bytes of a row, two sectors; steps of 128 leave room for few stages of the larger
# tiles. Four warps are a warpgroup, and one warp cannot keep a tensor core busy. Two stages are the least that overlaps
# loads with arithmetic; more than six fit only for tiles so small that all their loads are in flight before. Bands from
# one row block (weights read afresh for each) to 32 (4096 rows of 128: 8 MB of x at H = 1024, a sixth of an H200's L2).
_HALF_SPACE = {
    "block_m": (16, 32, 64, 128, 256),
    "block_k": (32, 64, 128),
    "num_warps": (4, 8),
    "num_stages": (2, 3, 4, 5, 6),
    "band": (1, 2, 4, 8, 16, 32),
    "blocks_per_sm": (1, 2, 3, 4),
}
# The FMA version keeps both fragments of a K step in registers beside the sums, so its tiles and steps are smaller.
_SINGLE_SPACE = {**_HALF_SPACE, "block_m": (16, 32, 64), "block_k": (16, 32), "num_stages": (2, 3, 4)}
_SPACES = {
    "half": {"fc1": {**_HALF_SPACE, "block_n": (32, 64, 128)}, "fc2": {**_HALF_SPACE, "block_n": (64, 128, 256)}},
    "single": {"fc1": {**_SINGLE_SPACE, "block_n": (16, 32, 64)}, "fc2": {**_SINGLE_SPACE, "block_n": (32, 64, 128)}},
}


def space(dtype: str) -> dict[str, tuple[Value, ...]]:
    """Every parameter with its choices for a dtype; see above for why these."""
    return both_tiles(_SPACES["single" if dtype == "float32" else "half"])


def configurations(dtype: str) -> tuple[Configuration, ...]:
    """Every built-in configuration a dtype ("float32", "float16", "bfloat16") can get, smallest first."""
    return tuple(configuration for _, configuration in BUCKETS[dtype])


def choose(rows: int, experts: int, dtype: str) -> Configuration:
    """The built-in configuration for R = rows over E = experts: by mean rows per expert, which the host knows without
    asking.

    The true counts stay on the device, so a skewed routing gets the tiles of its mean.
    """
    mean = rows / experts
    return next(configuration for most, configuration in BUCKETS[dtype] if mean <= most)


def to_values(configuration: Configuration) -> dict[str, Value]:
    """A configuration as flat values."""
    return join_values(configuration.fc1, configuration.fc2, FIELDS)


def from_values(values: Mapping[str, Value], dtype: str, name: str = "tuned") -> Configuration:
    """The configuration of flat values. Raises ValueError with the rule that they break, on any GPU like Hopper."""
    if dtype not in BYTES:
        raise ValueError(f"dtype: expected one of {', '.join(BYTES)}, got {dtype!r}")
    fc1, fc2 = split_values(values, FIELDS)
    configuration = Configuration(
        name, named("fc1", lambda: Tile(**fc1, outputs=2)), named("fc2", lambda: Tile(**fc2, outputs=1))
    )
    named("fc1", lambda: configuration.fc1.check_fits(dtype))
    named("fc2", lambda: configuration.fc2.check_fits(dtype))
    return configuration
