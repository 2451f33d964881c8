"""What a launch will ask a compiler for, known before it is launched: for compiling it elsewhere and ahead of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Target:
    """A GPU to compile for, which need not be there.

    architecture: "sm_90a"
    gpu:          its name, as tables of tuned configurations have it; empty for none of them
    """

    architecture: str
    gpu: str = ""

    @classmethod
    def of(cls, device: torch.device) -> Target:
        """A GPU that torch sees."""
        import torch

        from .cuda.compiler import device_architecture

        index = torch.cuda.current_device() if device.index is None else device.index
        return cls(device_architecture(index), torch.cuda.get_device_name(index))

    @property
    def capability(self) -> tuple[int, int]:
        """Its compute capability: (9, 0) for "sm_90a"."""
        return divmod(int(self.architecture.removeprefix("sm_").rstrip("af")), 10)


class Compilation(Protocol):
    """One binary that a launch will look for in its compiler's cache on disk, under the key that the launch uses."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def key(self) -> str:
        """The same for two that are one and the same binary."""
        ...

    def kept(self) -> bool:
        """Whether the cache has it. Costs milliseconds; raises what its compiler does where that cannot work at all."""
        ...

    def make(self) -> None:
        """Compile it into the cache, which takes seconds. Raises whatever its compiler does."""
        ...
