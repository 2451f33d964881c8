"""The built-in launch configurations of the CUDA C++ kernels, and which of them a case gets."""

from __future__ import annotations

from collections.abc import Mapping

from .config import Config, Configuration, MmaConfig, PersistentConfig, TileConfig, WgmmaConfig

MOST_ROWS_FOR_MMA = 96  # mean rows an expert up to which 64-row tiles waste less than 128-row ones

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
# 128 x 256 with four stages fills shared memory, and takes a quarter less from L2 for the same FLOPs than 128 x 128.
# fc2 has only W / 64 stages a tile, so storing it is a larger share the narrower an expert is: below W 1024 it hides
# behind the other consumer's products. Reckoned, not measured: see LOG.md.
WGMMA_CONFIGS = {"many rows": WgmmaConfig(block_m=128, block_n=256, stages=4)}
PERSISTENT_CONFIGS = {
    "fc1": PersistentConfig(block_m=128, block_n=256, stages=4),
    "fc2": PersistentConfig(block_m=128, block_n=256, stages=4, pingpong_below=1024),
}
PERSISTENT = Configuration(PERSISTENT_CONFIGS["fc1"], PERSISTENT_CONFIGS["fc2"])
SHIPPED: dict[str, Mapping[str, Config]] = {
    "tile": TILE_CONFIGS,
    "mma": MMA_CONFIGS,
    "wgmma": WGMMA_CONFIGS,
    "persistent": PERSISTENT_CONFIGS,
}


def choose_tile(rows: int, experts: int) -> TileConfig:
    """The built-in tile configuration for R rows over E experts: by the mean rows an expert, which the host knows."""
    return TILE_CONFIGS["few rows" if rows <= 24 * experts else "many rows"]


def choose_mma(rows: int, experts: int) -> MmaConfig:
    """The built-in tensor-core configuration for R rows over E experts: by the mean rows an expert."""
    if rows <= 16 * experts:
        return MMA_CONFIGS["few rows"]
    return MMA_CONFIGS["some rows" if rows <= MOST_ROWS_FOR_MMA * experts else "many rows"]


def built_in(versions: tuple[str, ...], rows: int, experts: int) -> Configuration:
    """The built-in configuration out of what can run a layer, the fastest version first, for R rows over E experts.

    The persistent version takes 128 rows a tile; with fewer rows an expert mma's short tiles waste less.
    """
    version = versions[0]
    if version == "persistent" and "mma" in versions and rows <= MOST_ROWS_FOR_MMA * experts:
        version = "mma"
    if version == "persistent":
        return PERSISTENT
    if version == "wgmma":
        return Configuration.both(WGMMA_CONFIGS["many rows"])
    return Configuration.both((choose_tile if version == "tile" else choose_mma)(rows, experts))


def offered(versions: tuple[str, ...]) -> tuple[Configuration, ...]:
    """Every configuration `built_in` can give for these versions."""
    version = versions[0]
    if version != "persistent":
        return tuple(map(Configuration.both, SHIPPED[version].values()))
    return (*(map(Configuration.both, MMA_CONFIGS.values()) if "mma" in versions else ()), PERSISTENT)
