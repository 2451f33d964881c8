"""Launch configurations of the CUDA C++ kernels: what a version's launch is made of, and the rules it must keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..grouped import TileShape, gemm_works
from .hopper_config import PersistentConfig, SwappedConfig, WgmmaConfig, padded
from .limits import MOST_THREADS, WARP, check_fits, defines_of

if TYPE_CHECKING:
    from ...reference import LayerSpec
    from ..tunable import GemmWork

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
ELEMENTS = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16"}  # torch's names to CUDA's


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
        check_fits(
            self.threads,
            self.shared_bytes,
            self.blocks_per_sm,
            2 * self.thread_m * self.thread_n + self.thread_m + 1 + slices,
        )

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
        return defines_of(self, "block_m", "block_n", "block_k", "thread_m", "thread_n", "blocks_per_sm")


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
        check_fits(self.threads, self.shared_bytes, self.blocks_per_sm, (warp_m * warp_n) // WARP + warp_m // 4 + 4)

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
        return defines_of(self, "block_m", "block_n", "block_k", "stages", "warps_m", "warps_n", "blocks_per_sm")


Config = TileConfig | MmaConfig | WgmmaConfig | SwappedConfig
KINDS: dict[str, type[Config]] = {
    "tile": TileConfig,
    "mma": MmaConfig,
    "wgmma": WgmmaConfig,
    "persistent": PersistentConfig,
    "swapped": SwappedConfig,
}
HOPPER = ("wgmma", "persistent", "swapped")  # versions that only compute capability 9.0 runs


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
        """The .cu file, without the ending."""
        return next(version for version, kind in KINDS.items() if type(self.fc1) is kind)

    @property
    def kernels(self) -> tuple[str, str]:
        """The names of both kernels."""
        return f"{self.version}_fc1", f"{self.version}_fc2"

    @property
    def whole_stages(self) -> bool:
        """Whether its kernels work on widths padded to whole stages (see weights.py)."""
        return self.version in HOPPER

    def works(self, counts: NDArray[np.int64], spec: LayerSpec, dtype: str) -> list[GemmWork]:
        """What both launches do for rows per expert `counts` int[E]; see `grouped.gemm_works`."""
        if self.whole_stages:
            spec = replace(spec, widths=tuple(map(int, padded(np.asarray(spec.widths)))))
        fc1, fc2 = self.fc1, self.fc2
        shapes = (
            TileShape(fc1.block_m, fc1.fc1_columns, fc1.block_k, 2, fc1.threads),
            TileShape(fc2.block_m, fc2.block_n, fc2.block_k, 1, fc2.threads),
        )
        return gemm_works(spec, counts, shapes, self.kernels, BYTES[dtype])
