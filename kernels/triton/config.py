"""Launch configurations of the two grouped GEMMs, and which one a case gets.

Plain data and pure functions: nothing here imports Triton or touches a device. Registers, spills, shared memory and
tensor-core instructions of each configuration are read from the compiled binary by `aot.py`, and a test holds
`blocks_per_sm` to what they allow.

How the tiles were chosen, for an SM of 64 Ki registers and 227 KiB of shared memory (Hopper):

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

from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """One GEMM's launch: a program computes block_m rows by block_n output columns, block_k of the inner dimension a
    step, `num_stages` steps in flight.

    For fc1, block_n counts activation columns: the program reads block_n gate and block_n up rows. `band` is the number
    of row blocks that share weights in L2 (see `TileSchedule`); `blocks_per_sm` sizes the persistent grid.
    """

    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int
    band: int = 8
    blocks_per_sm: int = 1


@dataclass(frozen=True)
class Configuration:
    """A name for records, and the tiles of both GEMMs."""

    name: str
    fc1: Tile
    fc2: Tile


SMALL = Configuration(
    name="small",
    fc1=Tile(block_m=16, block_n=64, block_k=128, num_warps=4, num_stages=3, blocks_per_sm=3),
    fc2=Tile(block_m=16, block_n=128, block_k=64, num_warps=4, num_stages=5, blocks_per_sm=3),
)
MEDIUM = Configuration(
    name="medium",
    fc1=Tile(block_m=64, block_n=64, block_k=64, num_warps=4, num_stages=4, blocks_per_sm=2),
    fc2=Tile(block_m=64, block_n=128, block_k=64, num_warps=4, num_stages=4, blocks_per_sm=2),
)
LARGE = Configuration(
    name="large",
    fc1=Tile(block_m=128, block_n=128, block_k=64, num_warps=8, num_stages=4),
    fc2=Tile(block_m=128, block_n=256, block_k=64, num_warps=8, num_stages=4),
)
SMALL_FLOAT32 = Configuration(
    name="small_float32",
    fc1=Tile(block_m=16, block_n=32, block_k=32, num_warps=4, num_stages=3, blocks_per_sm=4),
    fc2=Tile(block_m=16, block_n=64, block_k=32, num_warps=4, num_stages=3, blocks_per_sm=4),
)
LARGE_FLOAT32 = Configuration(
    name="large_float32",
    fc1=Tile(block_m=64, block_n=32, block_k=16, num_warps=4, num_stages=3, blocks_per_sm=3),
    fc2=Tile(block_m=64, block_n=64, block_k=16, num_warps=4, num_stages=3, blocks_per_sm=4),
)

# What the largest tiles need of an SM, in bytes a block.
SHARED_BYTES = 196608

_HALF = ((16.0, SMALL), (96.0, MEDIUM), (float("inf"), LARGE))
_SINGLE = ((32.0, SMALL_FLOAT32), (float("inf"), LARGE_FLOAT32))

# Mean rows per expert up to which a configuration serves, in rising order, by dtype.
BUCKETS: dict[str, tuple[tuple[float, Configuration], ...]] = {
    "float16": _HALF,
    "bfloat16": _HALF,
    "float32": _SINGLE,
}


def configurations(dtype: str) -> tuple[Configuration, ...]:
    """Every configuration a dtype ("float32", "float16", "bfloat16") can get, smallest first."""
    return tuple(configuration for _, configuration in BUCKETS[dtype])


def choose(rows: int, experts: int, dtype: str) -> Configuration:
    """The configuration for R = rows over E = experts: by mean rows per expert, which the host knows without asking.

    The true counts stay on the device, so a skewed routing gets the tiles of its mean.
    """
    mean = rows / experts
    return next(configuration for most, configuration in BUCKETS[dtype] if mean <= most)


def tile_flops(counts: list[int], inner: list[int], columns: list[int], tile: Tile, outputs: int) -> int:
    """FLOPs that the tiles of one GEMM execute, padding included: experts of counts[e] rows, inner[e] deep and
    columns[e] wide, with `outputs` accumulators a column (2 for gate and up).
    """
    total = 0
    for rows, depth, width in zip(counts, inner, columns, strict=True):
        padded = (round_up(rows, tile.block_m), round_up(width, tile.block_n), round_up(depth, tile.block_k))
        total += 2 * outputs * padded[0] * padded[1] * padded[2]
    return total


def round_up(value: int, multiple: int) -> int:
    """The least multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple
