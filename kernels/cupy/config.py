"""Launch configurations of the CUDA C++ kernels: what may be chosen, under which rules, and what a case gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..grouped import TileShape, gemm_works
from ..values import GEMMS, Value, join_values, named, split_values

if TYPE_CHECKING:
    from ...reference import LayerSpec
    from ..tunable import GemmWork

WARP = 32
MOST_SHARED_BYTES = 227 * 1024  # what one block may ask for on compute capability 9.0
MOST_THREADS = 1024
# Of one multiprocessor; and what CUDA keeps for itself of every block's shared memory.
REGISTERS_PER_THREAD, REGISTERS_PER_SM, THREADS_PER_SM = 255, 65536, 2048
SHARED_PER_SM, SHARED_RESERVED = 228 * 1024, 1024
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
ELEMENTS = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16"}  # torch's names to CUDA's


def _check_fits(config: Config, least_registers: int) -> None:
    """Raise ValueError unless blocks_per_sm blocks fit on one multiprocessor of Hopper, as far as sizes alone say."""
    shared, blocks = config.shared_bytes, config.blocks_per_sm
    if shared > MOST_SHARED_BYTES:
        raise ValueError(f"expected at most {MOST_SHARED_BYTES} bytes of shared memory, got {shared}")
    if blocks * (shared + SHARED_RESERVED) > SHARED_PER_SM:
        raise ValueError(
            f"blocks_per_sm: expected {blocks} x {shared} bytes of shared memory within {SHARED_PER_SM} bytes"
        )
    if blocks * config.threads > THREADS_PER_SM:
        raise ValueError(f"blocks_per_sm: expected at most {THREADS_PER_SM} threads, got {blocks} x {config.threads}")
    allowed = min(REGISTERS_PER_THREAD, REGISTERS_PER_SM // (blocks * config.threads))
    if least_registers > allowed:
        raise ValueError(f"expected numbers for at most {allowed} registers a thread, got {least_registers}")


@dataclass(frozen=True)
class TileConfig:
    """The shared-memory tile kernel: a block computes block_m x block_n outputs, a thread thread_m x thread_n of them.

    block_k is how many elements of the inner dimension one step brings to shared memory. fc1 keeps a gate and an up
    accumulator for every output. blocks_per_sm is what `__launch_bounds__` promises the compiler. band is the number of
    row blocks of an expert that share weights in L2 (see `TileSchedule`).
    """

    block_m: int
    block_n: int
    block_k: int
    thread_m: int
    thread_n: int
    blocks_per_sm: int = 1
    band: int = 8

    def __post_init__(self) -> None:
        for name in ("block_m", "block_n", "block_k", "thread_m", "thread_n", "blocks_per_sm", "band"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.block_m % self.thread_m or self.block_n % self.thread_n:
            raise ValueError(
                f"expected thread_m, thread_n to divide block_m, block_n; got {self.thread_m}, {self.thread_n} and "
                f"{self.block_m}, {self.block_n}"
            )
        if self.threads % WARP or self.threads > MOST_THREADS:
            raise ValueError(f"expected a multiple of {WARP} threads up to {MOST_THREADS}, got {self.threads}")
        for name in ("block_m", "block_n"):
            if getattr(self, name) * self.block_k % self.threads:
                raise ValueError(f"expected {self.threads} threads to divide {name} * block_k evenly")
        if self.block_n % 8 or self.threads % self.block_n or self.threads % self.block_k:
            raise ValueError(
                f"expected block_n in eights, and {self.threads} threads to be a multiple of block_n and block_k; got "
                f"{self.block_n} and {self.block_k}"
            )
        # What fc1, the larger of both, cannot do without: its sums, the fragments of one k, the next slice under way.
        slices = (self.block_m + 2 * self.block_n) * self.block_k // self.threads
        _check_fits(self, 2 * self.thread_m * self.thread_n + self.thread_m + 1 + slices)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.block_m // self.thread_m * (self.block_n // self.thread_n)

    @property
    def fc1_columns(self) -> int:
        """Activation columns one fc1 tile stores."""
        return self.block_n

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of an fc1 launch (fc2 needs less), in bytes: two buffers of A, gate and up."""
        return 2 * self.block_k * (self.block_m + 4 + 2 * (self.block_n + 4)) * 4

    def defines(self) -> dict[str, str]:
        """The compile-time constants `tile.cu` reads."""
        return _defines(self, "block_m", "block_n", "block_k", "thread_m", "thread_n", "blocks_per_sm")


@dataclass(frozen=True)
class MmaConfig:
    """The tensor-core kernel: warps_m x warps_n warps share a block_m x block_n tile through `stages` stages.

    An fc1 tile holds block_n / 2 gate and as many up columns, so it stores block_n / 2 activation columns. A stage
    is one block_k deep slice of both operands, in 16-bit elements. blocks_per_sm and band are those of `TileConfig`.
    """

    block_m: int
    block_n: int
    block_k: int
    stages: int
    warps_m: int
    warps_n: int
    blocks_per_sm: int = 1
    band: int = 8

    def __post_init__(self) -> None:
        for name in ("block_m", "warps_m", "warps_n", "blocks_per_sm", "band"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.stages < 2:
            raise ValueError(f"stages: expected at least 2, got {self.stages}")
        if self.block_k not in (16, 32, 64, 128):
            raise ValueError(f"block_k: expected 16, 32, 64 or 128, got {self.block_k}")
        if self.block_m % (16 * self.warps_m) or self.block_n % (16 * self.warps_n):
            raise ValueError(
                f"expected warp tiles in multiples of 16 x 16, got {self.block_m} x {self.block_n} over "
                f"{self.warps_m} x {self.warps_n} warps"
            )
        if self.block_n not in (16, 32, 64, 128, 256):
            raise ValueError(f"block_n: expected a power of two from 16 to 256, got {self.block_n}")
        if self.threads > MOST_THREADS:
            raise ValueError(f"expected at most {MOST_THREADS} threads, got {self.threads}")
        warp_m, warp_n = self.block_m // self.warps_m, self.block_n // self.warps_n
        # Its sums, and the fragments of one step of 16 in k: four registers for 16 rows, two for 8 columns at a time.
        _check_fits(self, (warp_m * warp_n) // WARP + warp_m // 4 + 4)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return WARP * self.warps_m * self.warps_n

    @property
    def fc1_columns(self) -> int:
        """Activation columns one fc1 tile stores."""
        return self.block_n // 2

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a launch, in bytes."""
        return self.stages * (self.block_m + self.block_n) * self.block_k * 2

    def defines(self) -> dict[str, str]:
        """The compile-time constants `mma.cu` reads."""
        return _defines(self, "block_m", "block_n", "block_k", "stages", "warps_m", "warps_n", "blocks_per_sm")


Config = TileConfig | MmaConfig
KINDS: dict[str, type[Config]] = {"tile": TileConfig, "mma": MmaConfig}


@dataclass(frozen=True)
class Configuration:
    """The launches of both GEMMs, of one version. Raises ValueError for two versions."""

    fc1: Config
    fc2: Config

    def __post_init__(self) -> None:
        if type(self.fc1) is not type(self.fc2):
            raise ValueError(f"expected one version, got {type(self.fc1).__name__} and {type(self.fc2).__name__}")

    @classmethod
    def both(cls, config: Config) -> Configuration:
        """The same for both GEMMs."""
        return cls(config, config)

    @property
    def version(self) -> str:
        """The .cu file: "tile" or "mma"."""
        return next(version for version, kind in KINDS.items() if isinstance(self.fc1, kind))

    @property
    def kernels(self) -> tuple[str, str]:
        """The names of both kernels."""
        return f"{self.version}_fc1", f"{self.version}_fc2"

    def works(self, counts: NDArray[np.int64], spec: LayerSpec, dtype: str) -> list[GemmWork]:
        """What both launches do for rows per expert `counts` int[E]; see `grouped.gemm_works`."""
        fc1, fc2 = self.fc1, self.fc2
        shapes = (
            TileShape(fc1.block_m, fc1.fc1_columns, fc1.block_k, 2, fc1.threads),
            TileShape(fc2.block_m, fc2.block_n, fc2.block_k, 1, fc2.threads),
        )
        return gemm_works(spec, counts, shapes, self.kernels, BYTES[dtype])


TILE_CONFIGS = {
    "few rows": TileConfig(block_m=16, block_n=64, block_k=16, thread_m=2, thread_n=4, blocks_per_sm=4),
    "many rows": TileConfig(block_m=128, block_n=64, block_k=16, thread_m=8, thread_n=4, blocks_per_sm=2),
}

# 128 x 128 with eight warps of 32 x 64 keeps two blocks on an SM, so that one's epilogue hides behind the other's main
# loop. With few rows an expert the kernels only read weights: short tiles, more stages, more blocks in flight.
MMA_CONFIGS = {
    "few rows": MmaConfig(block_m=16, block_n=128, block_k=64, stages=4, warps_m=1, warps_n=4, blocks_per_sm=3),
    "some rows": MmaConfig(block_m=64, block_n=128, block_k=64, stages=3, warps_m=2, warps_n=4, blocks_per_sm=2),
    "many rows": MmaConfig(block_m=128, block_n=128, block_k=64, stages=3, warps_m=4, warps_n=2, blocks_per_sm=2),
}
SHIPPED: dict[str, Mapping[str, Config]] = {"tile": TILE_CONFIGS, "mma": MMA_CONFIGS}

_COMMON_FIELDS = ("block_m", "block_n", "block_k", "blocks_per_sm", "band")
FIELDS = {
    "tile": (*_COMMON_FIELDS, "thread_m", "thread_n"),
    "mma": (*_COMMON_FIELDS, "stages", "warps_m", "warps_n"),
}

# What a tuner may try. The tensor-core kernel takes 16 rows and up to 256 columns a block; 128 x 256 leaves eight warps
# 128 sums a thread, half of its registers. K steps of 16 are one mma, of 128 a swizzled line of 256 bytes. From two to
# six stages of at most 227 KiB. Warps from one to eight in either direction, up to 16 together as the sums allow. The
# CUDA-core kernel has its own thread tiles: 8 x 8 sums of gate and of up are half of a thread's registers. Bands from
# one row block (weights read afresh for each) to 32, as in Triton's space.
_SPACE: dict[str, tuple[Value, ...]] = {
    "block_m": (16, 32, 64, 128, 256),
    "block_n": (32, 64, 128, 256),
    "block_k": (16, 32, 64, 128),
    "blocks_per_sm": (1, 2, 3, 4),
    "band": (1, 2, 4, 8, 16, 32),
    "thread_m": (1, 2, 4, 8),
    "thread_n": (1, 2, 4, 8),
    "stages": (2, 3, 4, 5, 6),
    "warps_m": (1, 2, 4, 8),
    "warps_n": (1, 2, 4, 8),
}


def space(versions: tuple[str, ...]) -> dict[str, tuple[Value, ...]]:
    """Every parameter with its choices for a layer that can run `versions`; those of the other version are left out."""
    fields = [field for field in _SPACE if any(field in FIELDS[version] for version in versions)]
    return {"version": versions, **{f"{gemm}_{field}": _SPACE[field] for gemm in GEMMS for field in fields}}


def to_values(configuration: Configuration) -> dict[str, Value]:
    """A configuration as flat values, the version first."""
    fields = FIELDS[configuration.version]
    return {"version": configuration.version, **join_values(configuration.fc1, configuration.fc2, fields)}


def from_values(values: Mapping[str, Value]) -> Configuration:
    """The configuration of flat values; parameters of the other version may be there and mean nothing.

    Raises ValueError with the rule that they break.
    """
    tiles = dict(values)
    version = tiles.pop("version", None)
    if not isinstance(version, str) or version not in KINDS:
        raise ValueError(f"version: expected one of {', '.join(KINDS)}, got {version!r}")
    others = [field for fields in FIELDS.values() for field in fields if field not in FIELDS[version]]
    fc1, fc2 = split_values(tiles, FIELDS[version], others)
    kind = KINDS[version]
    return Configuration(named("fc1", lambda: kind(**fc1)), named("fc2", lambda: kind(**fc2)))


def choose_tile(rows: int, experts: int) -> TileConfig:
    """The built-in tile configuration for R rows over E experts: by the mean rows an expert, which the host knows."""
    return TILE_CONFIGS["few rows" if rows <= 24 * experts else "many rows"]


def choose_mma(rows: int, experts: int) -> MmaConfig:
    """The built-in tensor-core configuration for R rows over E experts: by the mean rows an expert."""
    if rows <= 16 * experts:
        return MMA_CONFIGS["few rows"]
    return MMA_CONFIGS["some rows" if rows <= 96 * experts else "many rows"]


def _defines(config: object, *names: str) -> dict[str, str]:
    return {name.upper(): str(getattr(config, name)) for name in names}
