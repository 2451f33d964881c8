"""Launch configurations of the CUDA C++ kernels: frozen data, and the pure functions that choose among them."""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
MOST_SHARED_BYTES = 227 * 1024  # what one block may ask for on compute capability 9.0
MOST_THREADS = 1024
ELEMENTS = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16"}  # torch's names to CUDA's


@dataclass(frozen=True)
class TileConfig:
    """The shared-memory tile kernel: a block computes block_m x block_n outputs, a thread thread_m x thread_n of them.

    block_k is how many elements of the inner dimension one step brings to shared memory. fc1 keeps a gate and an up
    accumulator for every output. blocks_per_sm is what `__launch_bounds__` promises the compiler.
    """

    block_m: int
    block_n: int
    block_k: int
    thread_m: int
    thread_n: int
    blocks_per_sm: int = 1

    def __post_init__(self) -> None:
        for name in ("block_m", "block_n", "block_k", "thread_m", "thread_n", "blocks_per_sm"):
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
    is one block_k deep slice of both operands, in 16-bit elements.
    """

    block_m: int
    block_n: int
    block_k: int
    stages: int
    warps_m: int
    warps_n: int
    blocks_per_sm: int = 1

    def __post_init__(self) -> None:
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
        if self.shared_bytes > MOST_SHARED_BYTES:
            raise ValueError(f"expected at most {MOST_SHARED_BYTES} bytes of shared memory, got {self.shared_bytes}")

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


def choose_tile(rows: int, experts: int) -> TileConfig:
    """The tile configuration for R rows over E experts: by the mean rows an expert, which the host knows."""
    return TILE_CONFIGS["few rows" if rows <= 24 * experts else "many rows"]


def choose_mma(rows: int, experts: int) -> MmaConfig:
    """The tensor-core configuration for R rows over E experts: by the mean rows an expert, which the host knows."""
    if rows <= 16 * experts:
        return MMA_CONFIGS["few rows"]
    return MMA_CONFIGS["some rows" if rows <= 96 * experts else "many rows"]


def _defines(config: object, *names: str) -> dict[str, str]:
    return {name.upper(): str(getattr(config, name)) for name in names}
