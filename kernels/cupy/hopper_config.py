"""Launch configurations of the versions that only Hopper runs: tiles of 128 or 256 rows, and those of few rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .limits import check_fits, defines_of

STAGE_DEPTH = 64  # elements of 16 bits in 128 bytes, the line that TMA and wgmma share


def padded(widths: NDArray[np.int64]) -> NDArray[np.int64]:
    """P_e for W_e, int64[E]: the next multiple of 64, so that a width is whole stages."""
    return -(-widths // STAGE_DEPTH) * STAGE_DEPTH


@dataclass(frozen=True)
class WgmmaConfig:
    """The Hopper kernel: two consumer warpgroups share a block_m x block_n tile, a third one fills `stages` stages.

    An fc1 tile stores block_n / 2 activation columns, as that of `MmaConfig`. A stage is 64 elements deep. 256 x 256 is
    out of reach: its sums alone would take all registers of a thread. band is that of `TileConfig`.
    """

    block_m: int
    block_n: int
    stages: int
    band: int = 8

    block_k: ClassVar[int] = STAGE_DEPTH
    blocks_per_sm: ClassVar[int] = 1
    threads: ClassVar[int] = 384

    def __post_init__(self) -> None:
        for name in ("block_m", "block_n"):
            if getattr(self, name) not in (128, 256):
                raise ValueError(f"{name}: expected 128 or 256, got {getattr(self, name)}")
        if self.block_m * self.block_n > 128 * 256:
            raise ValueError(f"expected block_m * block_n of at most 128 * 256, got {self.block_m} * {self.block_n}")
        if self.stages < 2:
            raise ValueError(f"stages: expected at least 2, got {self.stages}")
        if self.band < 1:
            raise ValueError(f"band: expected at least 1, got {self.band}")
        check_fits(self.threads, self.shared_bytes, self.blocks_per_sm, 0)

    @property
    def fc1_columns(self) -> int:
        """Activation columns one fc1 tile stores."""
        return self.block_n // 2

    @property
    def box_n(self) -> int:
        """Lines of gate and up that one TMA box brings in fc1."""
        return self.block_n

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a launch, in bytes: the stages, and two barriers for each."""
        return self.stages * ((self.block_m + self.block_n) * self.block_k * 2 + 16)

    def defines(self) -> dict[str, str]:
        """The compile-time constants the .cu file reads."""
        return defines_of(self, "block_m", "block_n", "stages")


@dataclass(frozen=True)
class PersistentConfig(WgmmaConfig):
    """The persistent Hopper kernel; its consumers take half a tile each, in turns, where an expert's width is below
    pingpong_below (0: never).
    """

    pingpong_below: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pingpong_below < 0:
            raise ValueError(f"pingpong_below: expected 0 or more, got {self.pingpong_below}")

    @property
    def box_n(self) -> int:
        """See `WgmmaConfig.box_n`: half a tile, which is what one consumer may take."""
        return self.block_n // 2

    def defines(self) -> dict[str, str]:
        """See `WgmmaConfig.defines`."""
        return {**super().defines(), **defines_of(self, "pingpong_below")}


@dataclass(frozen=True)
class SwappedConfig:
    """The Hopper kernel for few rows: block_m rows of tokens against block_n lines of weights, 64 for each consumer
    warpgroup, through `stages` stages of 64 elements that one more warpgroup fills.

    An fc1 tile stores block_n / 2 activation columns, as that of `MmaConfig`. band is that of `TileConfig`.
    """

    block_m: int
    block_n: int
    stages: int
    band: int = 32

    block_k: ClassVar[int] = STAGE_DEPTH
    blocks_per_sm: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.block_m not in (8, 16, 32, 64, 128):
            raise ValueError(f"block_m: expected 8, 16, 32, 64 or 128, got {self.block_m}")
        if self.block_n not in (64, 128):
            raise ValueError(f"block_n: expected 64 or 128, got {self.block_n}")
        if self.stages < 2:
            raise ValueError(f"stages: expected at least 2, got {self.stages}")
        if self.band < 1:
            raise ValueError(f"band: expected at least 1, got {self.band}")
        check_fits(self.threads, self.shared_bytes, self.blocks_per_sm, self.block_m // 2)  # its sums

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 128 * (1 + self.block_n // 64)

    @property
    def fc1_columns(self) -> int:
        """Activation columns one fc1 tile stores."""
        return self.block_n // 2

    @property
    def box_n(self) -> int:
        """See `WgmmaConfig.box_n`."""
        return self.block_n

    @property
    def shared_bytes(self) -> int:
        """See `WgmmaConfig.shared_bytes`."""
        return self.stages * ((self.block_m + self.block_n) * self.block_k * 2 + 16)

    def defines(self) -> dict[str, str]:
        """The compile-time constants `swapped.cu` reads."""
        return defines_of(self, "block_m", "block_n", "stages")
