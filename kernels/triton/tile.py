"""The launch of one GEMM: what may be chosen, and under which rules.

Plain data: nothing here imports Triton or touches a device. A rule is either of the kernels or of one SM of Hopper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..grouped import TileShape

if TYPE_CHECKING:
    from ...reference import LayerSpec

WARP = 32
BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
# Of one SM on Hopper. A thread may have 255 registers; with more than 128 sums, the next power of two, every one of
# them would be a sum and none left for addresses.
MOST_SUMS = 128
REGISTERS_PER_SM = 65536
MOST_SHARED_BYTES = 227 * 1024
SHARED_PER_SM, SHARED_RESERVED = 228 * 1024, 1024  # the driver keeps some of it for itself in every block
MOST_WARPS_PER_SM = 64
BARRIER_BYTES = 8
# A warp-specialised kernel has a group of four warps that loads and one that multiplies beside the four it asks for.
SPECIALISED_WARPS = 12

PLAIN, FLATTENED, SPECIALISED = 0, 1, 2


@dataclass(frozen=True)
class Tile:
    """One GEMM's launch: a program computes block_m rows by block_n output columns, block_k of the inner dimension a
    step, `num_stages` steps in flight.

    block_n:       for fc1 activation columns: the program reads block_n gate and block_n up rows
    band:          row blocks that share weights in L2 (see `TileSchedule`)
    blocks_per_sm: sizes the persistent grid
    descriptors:   operands that tensor descriptors (TMA) load: 0 none, 1 the weights, 2 the activations too (fc2; fc1
                   gathers rows, which Hopper's TMA cannot); see `descriptors_rule`
    swap:          1 computes the transpose: weights take the side of the tensor core that has at least 64 rows
    split_k:       how many tiles share the inner dimension of a block; their float32 sums are added in order
    loop:          0 PLAIN; 1 FLATTENED, tiles and steps in one loop (fc1); 2 SPECIALISED warps (fc2)
    epilogue:      parts in which a block is stored; two need half the shared memory of one
    outputs:       sums behind a column: 2 for fc1, 1 for fc2

    Raises ValueError where Triton could not compile the tile or every thread would spill its sums.
    """

    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int
    band: int = 8
    blocks_per_sm: int = 1
    descriptors: int = 0
    swap: int = 0
    split_k: int = 1
    loop: int = PLAIN
    epilogue: int = 1
    outputs: int = 1

    def __post_init__(self) -> None:
        for name, least in (("block_m", 16), ("block_n", 16), ("block_k", 16), ("num_warps", 1), ("split_k", 1)):
            value = getattr(self, name)
            if value < least or value & (value - 1):
                raise ValueError(f"{name}: expected a power of two from {least}, got {value}")
        for name in ("num_stages", "band", "blocks_per_sm", "outputs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.num_warps > 16:
            raise ValueError(f"num_warps: expected at most 16, got {self.num_warps}")
        if self.sums > MOST_SUMS:
            raise ValueError(f"expected at most {MOST_SUMS} sums a thread, got {self.sums}")
        for name, choices in self._choices().items():
            if getattr(self, name) not in choices:
                expected = " or ".join(map(str, choices))
                raise ValueError(f"{name}: expected {expected}, got {getattr(self, name)}")
        self._check_loop()

    def _choices(self) -> dict[str, tuple[int, ...]]:
        first = self.outputs == 2
        return {
            "descriptors": (0, 1) if first else (0, 1, 2),
            "swap": (0, 1),
            "loop": (PLAIN, FLATTENED) if first else (PLAIN, SPECIALISED),
            "epilogue": (1, 2),
        }

    def _check_loop(self) -> None:
        """What a loop other than PLAIN needs. With anything else the compiler ignores it (FLATTENED) or ends in an
        error of its own (SPECIALISED), from Triton 3.6 to 3.9; 12 warps of 168 registers fill an SM.
        """
        needs: dict[str, int] = {}
        if self.loop != PLAIN:
            needs = {"swap": 0, "split_k": 1}
        if self.loop == SPECIALISED:
            needs |= {"descriptors": 2, "num_warps": 4, "block_m": 64, "epilogue": 1, "blocks_per_sm": 1}
        for name, value in needs.items():
            if getattr(self, name) != value:
                raise ValueError(f"loop: expected {name} {value} for loop {self.loop}, got {getattr(self, name)}")
        if self.loop == SPECIALISED and self.block_n > 128:
            raise ValueError(f"loop: expected block_n up to 128 for loop {self.loop}, got {self.block_n}")

    @property
    def threads(self) -> int:
        """Threads of a program."""
        return WARP * (SPECIALISED_WARPS if self.loop == SPECIALISED else self.num_warps)

    @property
    def sums(self) -> int:
        """Accumulators of a thread that multiplies."""
        return self.outputs * self.block_m * self.block_n // (WARP * self.num_warps)

    def uses_warpgroups(self, dtype: str) -> bool:
        """Whether the product is made of Hopper's warpgroup instructions, which take 64 rows and four warps."""
        many = self.outputs * self.block_n if self.swap else self.block_m
        return dtype != "float32" and many >= 64 and self.num_warps >= 4

    def shared_bytes(self, dtype: str) -> int:
        """Shared memory of the pipelined operands, their barriers, and a block being stored where loads go on.

        Warpgroup instructions read the newest stage in place; the others take it to registers, and one buffer less is
        needed. A test compares it with the binaries; for SPECIALISED it is what no binary passes.
        """
        buffers = self.num_stages - (0 if self.uses_warpgroups(dtype) else 1)
        operands = buffers * (self.block_m + self.outputs * self.block_n) * self.block_k * BYTES[dtype]
        barriers = BARRIER_BYTES * buffers if self.descriptors else 0
        if self.loop == FLATTENED:
            return operands + barriers + self.block_m * self.block_n * BYTES[dtype] // self.epilogue
        if self.loop == SPECIALISED:
            return operands + 4 * barriers + 4 * self.block_m * min(64, self.block_n)
        return operands + barriers

    def check_fits(self, dtype: str) -> None:
        """Raise ValueError unless blocks_per_sm programs fit on one SM of Hopper, as far as sizes alone say, and the
        dtype can be loaded as asked.
        """
        if self.descriptors and dtype == "float32":
            raise ValueError(f"descriptors: expected 0 for float32, got {self.descriptors}")
        shared, blocks = self.shared_bytes(dtype), self.blocks_per_sm
        if shared > MOST_SHARED_BYTES:
            raise ValueError(f"expected at most {MOST_SHARED_BYTES} bytes of shared memory, got {shared}")
        if blocks * (shared + SHARED_RESERVED) > SHARED_PER_SM:
            raise ValueError(
                f"blocks_per_sm: expected {blocks} x {shared} bytes of shared memory within {SHARED_PER_SM} bytes"
            )
        if (
            blocks * WARP * self.num_warps * self.sums > REGISTERS_PER_SM
            or blocks * self.threads > WARP * MOST_WARPS_PER_SM
        ):
            raise ValueError(
                f"blocks_per_sm: expected {blocks} blocks of {self.threads} threads with {self.sums} sums each within"
                f" {REGISTERS_PER_SM} registers and {MOST_WARPS_PER_SM} warps"
            )

    def descriptors_rule(self, spec: LayerSpec, dtype: str) -> str | None:
        """None, or why descriptors cannot load this layer.

        A descriptor's rows start on 16 bytes. One of fc2 may end inside no step: past W_e it would go on with the next
        expert's weights, and 0 times what is not finite there is not 0.
        """
        if spec.hidden * BYTES[dtype] % 16:
            return f"descriptors: expected 0 for a hidden size of {spec.hidden}, whose rows do not start on 16 bytes"
        if self.outputs == 1 and any(width % self.block_k for width in spec.widths):
            return f"descriptors: expected 0 unless every width is a multiple of block_k {self.block_k}"
        return None

    def for_layer(self, spec: LayerSpec, dtype: str) -> Tile:
        """This tile, or the one with pointers where this layer's sizes rule descriptors out."""
        if not self.descriptors or self.descriptors_rule(spec, dtype) is None:
            return self
        return replace(self, descriptors=0, loop=PLAIN if self.loop == SPECIALISED else self.loop)

    def constants(self, spec: LayerSpec) -> dict[str, Any]:
        """What the kernel of this tile is compiled with for a layer: its blocks, and what divides evenly."""
        depths = (spec.hidden,) if self.outputs == 2 else spec.widths
        own: dict[str, Any] = {"FLATTEN": self.loop == FLATTENED}
        if self.outputs == 1:
            own = {"EVEN_N": spec.hidden % self.block_n == 0, "SPECIALISE": self.loop == SPECIALISED}
        return {
            **own,
            "UNIT": math.gcd(spec.hidden, 16),
            "BLOCK_M": self.block_m,
            "BLOCK_N": self.block_n,
            "BLOCK_K": self.block_k,
            "EVEN_K": all(depth % self.block_k == 0 for depth in depths),
            "DESCRIPTORS": self.descriptors,
            "SWAP": self.swap,
            "SPLIT_K": self.split_k,
            "PARTS": self.epilogue,
            "PRECISION": "ieee",
        }

    def weight_block(self) -> tuple[int, int]:
        """The rows and columns of the packed weights that one step reads."""
        return (2 * self.block_n, self.block_k) if self.outputs == 2 else (self.block_k, self.block_n)

    def shape(self) -> TileShape:
        """What one entry of the work list computes."""
        return TileShape(self.block_m, self.block_n, self.block_k, self.outputs, self.threads, self.split_k)
