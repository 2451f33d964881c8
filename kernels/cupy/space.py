"""What a tuner may try with the CUDA C++ kernels, and configurations as flat values."""

from __future__ import annotations

from collections.abc import Mapping

from ..values import GEMMS, Value, join_values, named, split_values
from .config import KINDS, Configuration

_COMMON_FIELDS = ("block_m", "block_n", "block_k", "blocks_per_sm", "band")
_WGMMA_FIELDS = ("block_m", "block_n", "stages", "band")
FIELDS = {
    "tile": (*_COMMON_FIELDS, "thread_m", "thread_n"),
    "mma": (*_COMMON_FIELDS, "stages", "warps_m", "warps_n"),
    "wgmma": _WGMMA_FIELDS,
    "persistent": (*_WGMMA_FIELDS, "pingpong_below"),
    "swapped": _WGMMA_FIELDS,
}

# What a tuner may try. The tensor-core kernel takes 16 rows and up to 256 columns a block; 128 x 256 leaves eight warps
# 128 sums a thread, half of its registers. K steps of 16 are one mma, of 128 a swizzled line of 256 bytes. From two to
# six stages of at most 227 KiB. Warps from one to eight in either direction, up to 16 together as the sums allow. The
# CUDA-core kernel has its own thread tiles: 8 x 8 sums of gate and of up are half of a thread's registers. Bands from
# one row block (weights read afresh for each) to 32, as in Triton's space. The Hopper kernels take blocks of 128 and
# 256 only, and up to six stages of 32 KiB; ping-pong below 640, 1024, or for all widths of the released layer. With
# swapped operands 8 to 128 rows and 64 or 128 lines of weights, and as many stages as fit for each: 7 to 25.
_SPACE: dict[str, tuple[Value, ...]] = {
    "block_m": (8, 16, 32, 64, 128, 256),
    "block_n": (32, 64, 128, 256),
    "block_k": (16, 32, 64, 128),
    "blocks_per_sm": (1, 2, 3, 4),
    "band": (1, 2, 4, 8, 16, 32),
    "thread_m": (1, 2, 4, 8),
    "thread_n": (1, 2, 4, 8),
    "stages": (2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 18, 22, 25),
    "warps_m": (1, 2, 4, 8),
    "warps_n": (1, 2, 4, 8),
    "pingpong_below": (0, 640, 1024, 4096),
}


def space(versions: tuple[str, ...]) -> dict[str, tuple[Value, ...]]:
    """Every parameter with its choices for a layer that can run `versions`; those of the other version are left out."""
    fields = [field for field in _SPACE if any(field in FIELDS[version] for version in versions)]
    choices = {f"{gemm}_{field}": _SPACE[field] for gemm in GEMMS for field in fields}
    return {"version": tuple(sorted(versions)), **choices}


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
