"""The built-in launch configurations of the CUDA C++ kernels, and which of them a case gets."""

from __future__ import annotations

from collections.abc import Mapping

from .config import Config, Configuration, MmaConfig, PersistentConfig, SwappedConfig, TileConfig, WgmmaConfig

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
# As many stages as shared memory holds. A tile of rows has room for the mean and three deviations of it, so that hardly
# an expert reads its weights twice; more would only take place from stages and bring more rows from L2. With less than
# one row an expert few experts are in use: half as many lines make enough tiles for all multiprocessors.
SWAPPED_CONFIGS = {
    "single rows": SwappedConfig(block_m=8, block_n=64, stages=25),
    "few rows": SwappedConfig(block_m=16, block_n=128, stages=12),
    "some rows": SwappedConfig(block_m=32, block_n=128, stages=11),
    "more rows": SwappedConfig(block_m=64, block_n=128, stages=9),
    "many rows": SwappedConfig(block_m=128, block_n=128, stages=7),
}
MOST_MEAN_ROWS = {"single rows": 1, "few rows": 8, "some rows": 20, "more rows": 44}
# Mean rows an expert up to which `persistent` gives way to `swapped`. Reckoned, not measured: from L2 come, weights and
# rows together, 1.07, 1.19 and 1.40 times the weights at 6, 20 and 44 rows; with 128 x 256 tiles 1.18, 1.22 and 1.28,
# but with a last round of fc1 that is nearly empty and weights of fc2 that wait for it. At 64 rows: 1.67 against 1.33.
MOST_ROWS_FOR_SWAPPED = MOST_MEAN_ROWS["more rows"]
SHIPPED: dict[str, Mapping[str, Config]] = {
    "tile": TILE_CONFIGS,
    "mma": MMA_CONFIGS,
    "wgmma": WGMMA_CONFIGS,
    "persistent": PERSISTENT_CONFIGS,
    "swapped": SWAPPED_CONFIGS,
}


def choose_tile(rows: int, experts: int) -> TileConfig:
    """The built-in tile configuration for R rows over E experts: by the mean rows an expert, which the host knows."""
    return TILE_CONFIGS["few rows" if rows <= 24 * experts else "many rows"]


def choose_mma(rows: int, experts: int) -> MmaConfig:
    """The built-in tensor-core configuration for R rows over E experts: by the mean rows an expert."""
    if rows <= 16 * experts:
        return MMA_CONFIGS["few rows"]
    return MMA_CONFIGS["some rows" if rows <= MOST_ROWS_FOR_MMA * experts else "many rows"]


def choose_swapped(rows: int, experts: int) -> SwappedConfig:
    """The built-in configuration with swapped operands for R rows over E experts: by the mean rows an expert."""
    fitting = (name for name, most in MOST_MEAN_ROWS.items() if rows <= most * experts)
    return SWAPPED_CONFIGS[next(fitting, "many rows")]


def built_in(versions: tuple[str, ...], rows: int, experts: int) -> Configuration:
    """The built-in configuration for R rows over E experts.

    versions: what can run a layer, the fastest with many rows first. The persistent one takes 128 rows a tile; with
    fewer rows an expert the weights are all that counts, and swapped reads them with as few rows beside them as it can.
    """
    version = versions[0]
    if version == "persistent" and "swapped" in versions and rows <= MOST_ROWS_FOR_SWAPPED * experts:
        version = "swapped"
    if version == "persistent":
        return PERSISTENT
    if version == "wgmma":
        return Configuration.both(WGMMA_CONFIGS["many rows"])
    choose = {"tile": choose_tile, "mma": choose_mma, "swapped": choose_swapped}[version]
    return Configuration.both(choose(rows, experts))


def offered(versions: tuple[str, ...]) -> tuple[Configuration, ...]:
    """Every configuration `built_in` can give for these versions."""
    version = versions[0]
    if version != "persistent":
        return tuple(map(Configuration.both, SHIPPED[version].values()))
    few = [Configuration.both(SWAPPED_CONFIGS[name]) for name in MOST_MEAN_ROWS] if "swapped" in versions else []
    return (*few, PERSISTENT)
