"""Launch configurations of the two grouped GEMMs: what is built in, what a tuner may try, and what a case gets.

Plain data and pure functions: nothing here imports Triton or touches a device. Registers, spills, shared memory,
tensor-core instructions and descriptor loads of each configuration are read from the compiled binary by `aot.py`, and a
test holds `blocks_per_sm` to what they allow. No choice was measured; LOG.md says what each is expected to do, and how
to find out.

How the built-in tiles were chosen, for an SM of 64 Ki registers and 227 KiB of shared memory (Hopper):

- large: 128 x 256 outputs a tile (gate and up 128 columns each), so that a K step of 64 reads 48 KiB for 4.2 MFLOP,
  87 FLOP a byte from shared memory; eight warps are two warpgroups of 64 rows each, 128 accumulator registers a thread.
- medium: 64 rows, one warpgroup, two blocks a SM so that one block's epilogue hides behind the other's main loop.
- small and tiny: the weights are the traffic, so they take the tensor core's side of 64 rows and more, where a
  warpgroup instruction reads them in place, and 16 rows of tokens the other; two blocks of 92 to 110 KiB a SM keep
  loads in flight while one of them drains.
- float32 has no tensor-core path of full precision; its tiles are small enough that the FMA version does not spill.

Weights come through descriptors: one thread asks for a block, where pointers take 8 of a thread's 12 copies a step and
as many address additions. Where H is no multiple of 8, or fc2's K step divides some width not, pointers serve. Odd
widths cost masks only: rows of the activation start on 32 bytes in any case. An odd H costs more: rows of x and of the
weights start at odd addresses, loads go element by element and are not pipelined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..grouped import gemm_works
from ..values import GEMMS, Value, both_tiles, join_values, named, split_values
from .tile import BYTES, FLATTENED, PLAIN, SPECIALISED, Tile

if TYPE_CHECKING:
    from ...reference import LayerSpec
    from ..tunable import GemmWork

KERNELS = ("gate_up", "down")


@dataclass(frozen=True)
class Configuration:
    """A name for records, and the tiles of both GEMMs."""

    name: str
    fc1: Tile
    fc2: Tile

    def works(self, counts: NDArray[np.int64], spec: LayerSpec, dtype: str) -> list[GemmWork]:
        """What both launches do for rows per expert `counts` int[E]; see `grouped.gemm_works`."""
        return gemm_works(spec, counts, (self.fc1.shape(), self.fc2.shape()), KERNELS, BYTES[dtype])

    def for_layer(self, spec: LayerSpec, dtype: str) -> Configuration:
        """See `Tile.for_layer`."""
        return replace(self, fc1=self.fc1.for_layer(spec, dtype), fc2=self.fc2.for_layer(spec, dtype))

    def held_to(self, version: str) -> Configuration:
        """This configuration without what a version leaves out; itself for "auto". See VERSIONS."""
        left_out = VERSIONS.get(version, {})
        return replace(self, fc1=replace(self.fc1, **left_out), fc2=replace(self.fc2, **left_out))


# One to a few rows for a few experts: fewer tiles than SMs, unless the inner dimension is split as well.
TINY = Configuration(
    name="tiny",
    fc1=Tile(16, 64, 128, num_warps=4, num_stages=3, blocks_per_sm=2, descriptors=1, swap=1, outputs=2),
    fc2=Tile(16, 128, 64, num_warps=4, num_stages=5, blocks_per_sm=2, descriptors=2, swap=1, split_k=2),
)
SMALL = Configuration(
    name="small",
    fc1=Tile(16, 64, 128, num_warps=4, num_stages=3, blocks_per_sm=2, descriptors=1, swap=1, outputs=2),
    fc2=Tile(16, 128, 64, num_warps=4, num_stages=5, blocks_per_sm=2, descriptors=2, swap=1),
)
MEDIUM = Configuration(
    name="medium",
    fc1=Tile(64, 64, 64, num_warps=4, num_stages=4, blocks_per_sm=2, descriptors=1, outputs=2),
    fc2=Tile(64, 128, 64, num_warps=4, num_stages=4, blocks_per_sm=2, descriptors=2),
)
LARGE = Configuration(
    name="large",
    fc1=Tile(128, 128, 64, num_warps=8, num_stages=4, descriptors=1, epilogue=2, outputs=2),
    fc2=Tile(128, 256, 64, num_warps=8, num_stages=4, descriptors=2),
)
# Given to nobody unless a tuner finds them faster: other ways to load, multiply and store, compiled with the rest.
ALTERNATIVES = (
    Configuration(
        name="large_pointers",
        fc1=Tile(128, 128, 64, num_warps=8, num_stages=4, outputs=2),
        fc2=Tile(128, 256, 64, num_warps=8, num_stages=4, descriptors=1, epilogue=2),
    ),
    Configuration(
        name="large_overlapped",
        fc1=Tile(128, 128, 64, num_warps=8, num_stages=3, descriptors=1, loop=FLATTENED, outputs=2),
        fc2=Tile(64, 128, 64, num_warps=4, num_stages=4, descriptors=2, loop=SPECIALISED),
    ),
    Configuration(
        name="small_unswapped",
        fc1=Tile(16, 64, 128, num_warps=4, num_stages=3, blocks_per_sm=2, descriptors=1, outputs=2),
        fc2=Tile(16, 128, 64, num_warps=4, num_stages=5, blocks_per_sm=2, descriptors=2),
    ),
    Configuration(
        name="tiny_split",
        fc1=Tile(16, 64, 128, num_warps=4, num_stages=3, blocks_per_sm=2, descriptors=1, swap=1, split_k=4, outputs=2),
        fc2=Tile(16, 128, 64, num_warps=4, num_stages=5, blocks_per_sm=2, swap=1, split_k=4),
    ),
)
# The built-in tiles with something left out, to be timed beside them: versions 3, 4, 7 and 8 of LOG.md. All of them
# compile for sm_90 without spills. By name, the one that leaves out most first.
VERSIONS: dict[str, dict[str, int]] = {
    "pointers": {"descriptors": 0, "swap": 0, "split_k": 1},
    "unswapped": {"swap": 0, "split_k": 1},
}
SMALL_FLOAT32 = Configuration(
    name="small_float32",
    fc1=Tile(16, 32, 32, num_warps=4, num_stages=3, blocks_per_sm=4, outputs=2),
    fc2=Tile(16, 64, 32, num_warps=4, num_stages=3, blocks_per_sm=4),
)
LARGE_FLOAT32 = Configuration(
    name="large_float32",
    fc1=Tile(64, 32, 16, num_warps=4, num_stages=3, blocks_per_sm=3, epilogue=2, outputs=2),
    fc2=Tile(64, 64, 16, num_warps=4, num_stages=3, blocks_per_sm=4),
)

# What the largest built-in tiles need of an SM, in bytes a block.
SHARED_BYTES = max(tile.shared_bytes("bfloat16") for tile in (LARGE.fc1, LARGE.fc2))

# Mean rows per expert up to which a configuration serves, in rising order, by dtype. All are predicted, none measured:
# 0.25 is where 64 experts' fc2 tiles outnumber an H200's 132 SMs, 16 where one row block of `small` no longer holds a
# mean expert and would read its weights twice, 96 where half of a 128-row block would be padding or less.
_HALF = ((0.25, TINY), (16.0, SMALL), (96.0, MEDIUM), (float("inf"), LARGE))
_SINGLE = ((32.0, SMALL_FLOAT32), (float("inf"), LARGE_FLOAT32))

BUCKETS: dict[str, tuple[tuple[float, Configuration], ...]] = {
    "float16": _HALF,
    "bfloat16": _HALF,
    "float32": _SINGLE,
}

FIELDS = (
    *("block_m", "block_n", "block_k", "num_warps", "num_stages", "band", "blocks_per_sm"),
    *("descriptors", "swap", "split_k", "loop", "epilogue"),
)

# What a tuner may try. Rows from 16, the least a tensor core takes, to 256, where the sums of a narrow column block
# fill the registers; columns up to 256, the widest warpgroup instruction, half of that in fc1, which has two sums a
# column. A K step of 32 reads 64 bytes of a row, two sectors; steps of 128 leave room for few stages of the larger
# tiles. Four warps are a warpgroup, and one warp cannot keep a tensor core busy. Two stages are the least that overlaps
# loads with arithmetic; more than six fit only for tiles so small that all their loads are in flight before. Bands from
# one row block (weights read afresh for each) to 32 (4096 rows of 128: 8 MB of x at H = 1024, a sixth of an H200's L2).
# Splits up to 4: one token of 6 experts has 48 fc2 tiles of 128 columns, and four times as many pass 132 SMs.
_HALF_SPACE: dict[str, tuple[Value, ...]] = {
    "block_m": (16, 32, 64, 128, 256),
    "block_k": (32, 64, 128),
    "num_warps": (4, 8),
    "num_stages": (2, 3, 4, 5, 6),
    "band": (1, 2, 4, 8, 16, 32),
    "blocks_per_sm": (1, 2, 3, 4),
    "swap": (0, 1),
    "split_k": (1, 2, 4),
    "epilogue": (1, 2),
}
# The FMA version keeps both fragments of a K step in registers beside the sums, so its tiles and steps are smaller.
_SINGLE_SPACE: dict[str, tuple[Value, ...]] = {
    **_HALF_SPACE,
    "block_m": (16, 32, 64),
    "block_k": (16, 32),
    "num_stages": (2, 3, 4),
    "descriptors": (0,),
    "swap": (0,),
    "loop": (PLAIN,),
}
_SPACES = {
    "half": {
        "fc1": {**_HALF_SPACE, "block_n": (32, 64, 128), "descriptors": (0, 1), "loop": (PLAIN, FLATTENED)},
        "fc2": {**_HALF_SPACE, "block_n": (64, 128, 256), "descriptors": (0, 1, 2), "loop": (PLAIN, SPECIALISED)},
    },
    "single": {"fc1": {**_SINGLE_SPACE, "block_n": (16, 32, 64)}, "fc2": {**_SINGLE_SPACE, "block_n": (32, 64, 128)}},
}


def space(dtype: str) -> dict[str, tuple[Value, ...]]:
    """Every parameter with its choices for a dtype; see above for why these."""
    return both_tiles(_SPACES["single" if dtype == "float32" else "half"])


def configurations(dtype: str) -> tuple[Configuration, ...]:
    """Every built-in configuration a dtype ("float32", "float16", "bfloat16") can get, smallest first."""
    return tuple(configuration for _, configuration in BUCKETS[dtype])


def compiled_ahead(dtype: str) -> tuple[Configuration, ...]:
    """Those, and the alternatives that a dtype has."""
    return (*configurations(dtype), *(ALTERNATIVES if dtype != "float32" else ()))


def offered(spec: LayerSpec, dtype: str) -> tuple[Configuration, ...]:
    """Every built-in configuration, as this layer can be loaded."""
    return tuple(configuration.for_layer(spec, dtype) for configuration in configurations(dtype))


def choose(rows: int, spec: LayerSpec, dtype: str) -> Configuration:
    """The built-in configuration for R = rows: by mean rows per expert, which the host knows without asking.

    The true counts stay on the device, so a skewed routing gets the tiles of its mean.
    """
    mean = rows / spec.experts
    return next(tiles for most, tiles in BUCKETS[dtype] if mean <= most).for_layer(spec, dtype)


def to_values(configuration: Configuration) -> dict[str, Value]:
    """A configuration as flat values."""
    return join_values(configuration.fc1, configuration.fc2, FIELDS)


def from_values(values: Mapping[str, Value], spec: LayerSpec, dtype: str, name: str = "tuned") -> Configuration:
    """The configuration of flat values for a layer. Raises ValueError with the rule that they break, on any GPU like
    Hopper.
    """
    if dtype not in BYTES:
        raise ValueError(f"dtype: expected one of {', '.join(BYTES)}, got {dtype!r}")
    fc1, fc2 = split_values(values, FIELDS)
    configuration = Configuration(
        name, named("fc1", lambda: Tile(**fc1, outputs=2)), named("fc2", lambda: Tile(**fc2, outputs=1))
    )
    for gemm, tile in zip(GEMMS, (configuration.fc1, configuration.fc2), strict=True):
        named(gemm, lambda tile=tile: tile.check_fits(dtype))
        if tile.descriptors and (rule := tile.descriptors_rule(spec, dtype)) is not None:
            raise ValueError(f"{gemm}: {rule}")
    return configuration
