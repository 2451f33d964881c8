"""Launch configurations of the tensor-core GEMMs in Numba: what may be chosen, under which rules, and what a case gets.

Plain data and pure functions, as in `config.py`. The limit is mma.sync, of which a multiprocessor of Hopper can start
one 16 x 8 x 16 a cycle at best; what competes with it is shared memory, 32 words a cycle. A warp tile of m by n tiles
reads 4 m + 2 n times 32 words for m n of them, so 4 x 8 (64 x 64) reads 32 for 32: shared memory is then as busy as the
tensor cores can be. fc1 has two outputs, so 64 x 32 columns of the activation are the same shape.

Arrays whose size is known when compiling have 48 KiB, three stages of 128 + 128 lines of 32 elements, no byte to spare:
the swizzle of `mma_tile.py` needs no padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..grouped import TileShape, gemm_works
from ..values import Value, both_tiles, join_values, named, split_values
from .config import check_fits

if TYPE_CHECKING:
    from ...reference import LayerSpec
    from ..tunable import GemmWork

KERNELS = ("mma_gate_up", "mma_down")
DTYPES = ("float16", "bfloat16")
WARP, CHUNK, ITEM = 32, 8, 2  # threads; elements and bytes: cp.async moves 8 elements of 2 bytes


@dataclass(frozen=True)
class MmaTile:
    """One GEMM's launch: warps_m by warps_n warps compute block_m rows by block_n columns, block_k of the inner
    dimension a step, `stages` steps of which are in shared memory or on their way there.

    outputs:       sums behind one output column: 2 for fc1, whose columns need a gate and an up sum, else 1
    band:          row blocks of an expert that share weights in L2 (see `TileSchedule`)
    blocks_per_sm: blocks a multiprocessor should hold at once; the compiler limits registers to what that allows

    Raises ValueError where warps or copies do not divide the tile evenly, where shared memory does not hold the stages,
    and where a thread's sums and fragments alone need more registers than it can have.
    """

    block_m: int
    block_n: int
    block_k: int
    warps_m: int
    warps_n: int
    stages: int
    outputs: int = 1
    band: int = 8
    blocks_per_sm: int = 1

    def __post_init__(self) -> None:
        for name in ("block_m", "block_n", "block_k", "warps_m", "warps_n"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name}: expected a power of two, got {value}")
        for name, least in (("stages", 2), ("band", 1), ("blocks_per_sm", 1), ("block_k", 16)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if self.m_tiles < 1 or self.n_tiles < 1:
            raise ValueError(
                f"expected at least 16 x 8 outputs a warp, got {self.block_m} x {self.block_n} for "
                f"{self.warps_m} x {self.warps_n} warps"
            )
        if self.lines_at_once < CHUNK:
            raise ValueError(
                f"expected threads for at least {CHUNK} lines of block_k at once, got {self.lines_at_once}: a thread's"
                " chunks then stand at one place of their lines"
            )
        lines = min(self.block_m, self.outputs * self.block_n)
        if self.lines_at_once > lines:
            raise ValueError(f"expected tiles of at least one chunk a thread, got {self.threads} threads for {self}")
        check_fits(self.shared_bytes, self.threads, self.blocks_per_sm, self.least_registers)

    @property
    def threads(self) -> int:
        """Threads a block."""
        return WARP * self.warps_m * self.warps_n

    @property
    def m_tiles(self) -> int:
        """A warp's tiles of 16 rows."""
        return self.block_m // self.warps_m // 16

    @property
    def n_tiles(self) -> int:
        """A warp's tiles of 8 columns, of each output."""
        return self.block_n // self.warps_n // 8

    @property
    def chunks(self) -> int:
        """Chunks a line."""
        return self.block_k // CHUNK

    @property
    def lines_per_turn(self) -> int:
        """Neighbouring lines whose chunks stand at the same places: those that fill 128 bytes."""
        return max(1, CHUNK // self.chunks)

    @property
    def turns(self) -> int:
        """After how many turns the places repeat."""
        return min(CHUNK, self.chunks)

    @property
    def lines_at_once(self) -> int:
        """Lines that all threads copy with one chunk each."""
        return self.threads // self.chunks

    @property
    def stage_words(self) -> int:
        """Words of A and B in one stage."""
        return (self.block_m + self.outputs * self.block_n) * self.block_k // 2

    @property
    def shared_bytes(self) -> int:
        """Shared memory of all stages."""
        return self.stages * self.stage_words * 4

    @property
    def least_registers(self) -> int:
        """Registers of a thread's sums, its fragments of A and one of B, and the places its copies come from."""
        copies = (self.block_m + self.outputs * self.block_n) // self.lines_at_once
        return 4 * self.m_tiles * self.n_tiles * self.outputs + 4 * self.m_tiles + 2 + 2 * copies

    def shape(self) -> TileShape:
        """What one entry of the work list computes."""
        return TileShape(self.block_m, self.block_n, self.block_k, self.outputs, self.threads)


@dataclass(frozen=True)
class MmaConfiguration:
    """A name for records, and the tiles of both GEMMs."""

    name: str
    fc1: MmaTile
    fc2: MmaTile

    def works(self, counts: NDArray[np.int64], spec: LayerSpec, dtype: str) -> list[GemmWork]:
        """What both launches do for rows per expert `counts` int[E]; see `grouped.gemm_works`."""
        assert dtype in DTYPES
        return gemm_works(spec, counts, (self.fc1.shape(), self.fc2.shape()), KERNELS, ITEM)


LARGE = MmaConfiguration(
    name="large",
    fc1=MmaTile(block_m=128, block_n=64, block_k=32, warps_m=2, warps_n=2, stages=3, outputs=2),
    fc2=MmaTile(block_m=128, block_n=128, block_k=32, warps_m=2, warps_n=2, stages=3),
)
# Few rows an expert: the weights are the traffic. 16 rows waste little, and more stages keep more loads in flight.
SMALL = MmaConfiguration(
    name="small",
    fc1=MmaTile(block_m=16, block_n=32, block_k=64, warps_m=1, warps_n=4, stages=4, outputs=2, blocks_per_sm=2),
    fc2=MmaTile(block_m=16, block_n=64, block_k=64, warps_m=1, warps_n=4, stages=4, blocks_per_sm=2),
)
# One Python thread simulates one CUDA thread, so a block is one warp with as few tiles as show every index.
SIMULATED = MmaConfiguration(
    name="simulated",
    fc1=MmaTile(block_m=32, block_n=16, block_k=16, warps_m=1, warps_n=1, stages=3, outputs=2),
    fc2=MmaTile(block_m=32, block_n=16, block_k=32, warps_m=1, warps_n=1, stages=2),
)

COMPILED = (SMALL, LARGE)
_SMALL_MEAN_ROWS = 24


FIELDS = ("block_m", "block_n", "block_k", "warps_m", "warps_n", "stages", "band", "blocks_per_sm")

# What a tuner may try. Up to 128 lines of each operand, because of 48 KiB and two stages at least; a block_k of 16 has
# two chunks a line, 64 has eight, a whole row of banks. One to eight warps; bands as in Triton's space.
_SPACE: dict[str, tuple[Value, ...]] = {
    "block_m": (16, 32, 64, 128),
    "block_n": (16, 32, 64, 128),
    "block_k": (16, 32, 64),
    "warps_m": (1, 2, 4),
    "warps_n": (1, 2, 4),
    "stages": (2, 3, 4, 5, 6),
    "band": (1, 2, 4, 8, 16, 32),
    "blocks_per_sm": (1, 2, 3, 4),
}


def space() -> dict[str, tuple[Value, ...]]:
    """Every parameter with its choices, the same for both 16-bit types."""
    return both_tiles({"fc1": _SPACE, "fc2": _SPACE})


def cannot(spec: LayerSpec, dtype: str) -> str | None:
    """None, or why the tensor-core kernels cannot run this layer."""
    if dtype not in DTYPES:
        return f"computes in 16-bit types on tensor cores: expected float16 or bfloat16, got {dtype}"
    for size, what in ((spec.hidden, "hidden"), *((width, "every width") for width in spec.widths)):
        if size % CHUNK:
            return f"moves 16-byte chunks: expected {what} to be a multiple of {CHUNK}, got {size}"
    return None


def choose(rows: int, experts: int, *, simulated: bool = False) -> MmaConfiguration:
    """The built-in configuration for R = rows over E = experts: by mean rows per expert, which the host knows without
    asking.
    """
    if simulated:
        return SIMULATED
    return SMALL if rows <= _SMALL_MEAN_ROWS * experts else LARGE


def to_values(configuration: MmaConfiguration) -> dict[str, Value]:
    """A configuration as flat values."""
    return join_values(configuration.fc1, configuration.fc2, FIELDS)


def from_values(values: Mapping[str, Value], dtype: str, name: str = "tuned") -> MmaConfiguration:
    """The configuration of flat values. Raises ValueError with the rule that they break."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    fc1, fc2 = split_values(values, FIELDS)
    return MmaConfiguration(name, named("fc1", lambda: MmaTile(**fc1, outputs=2)), named("fc2", lambda: MmaTile(**fc2)))
