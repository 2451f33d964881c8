"""What a compiled kernel costs, read from its cubin: registers, spills, shared memory, tensor-core instructions."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_USAGE = re.compile(r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
_FUNCTION = re.compile(r"^\s*Function : (\S+)", re.MULTILINE)
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)", re.MULTILINE)


@dataclass(frozen=True)
class KernelResources:
    """One kernel of a cubin.

    registers:      of each thread
    local_bytes:    of each thread: the stack frame, which is where spilled registers and indexed local arrays go
    spill_accesses: instructions that read or write it
    shared_bytes:   static shared memory of each block, often with the 1024 bytes CUDA keeps for itself on Hopper
    hmma, hgmma:    tensor-core instructions of one warp (mma) and of a warpgroup (wgmma)
    hgmma_waits:    where a warpgroup waits for its products; as many as products would mean that the compiler, unsure
                    of the sums' registers, made them one after the other
    instructions:   all of them
    """

    name: str
    registers: int
    local_bytes: int
    spill_accesses: int
    shared_bytes: int
    hmma: int
    hgmma: int
    hgmma_waits: int
    instructions: int


def inspect_cubin(cubin: Path) -> dict[str, KernelResources]:
    """Every kernel of a cubin file by name.

    Uses `cuobjdump` and `nvdisasm`, which Triton's package ships, or those on the PATH. Raises ValueError when they
    are missing or cannot read the file.
    """
    kernels = {}
    sass = _FUNCTION.split(_cuobjdump("-sass", cubin))
    listings = dict(zip(sass[1::2], sass[2::2], strict=True))
    for name, registers, stack, shared, local in _USAGE.findall(_cuobjdump("-res-usage", cubin)):
        listing = listings.get(name, "")
        opcodes = _INSTRUCTION.findall(listing)
        kernels[name] = KernelResources(
            name=name,
            registers=int(registers),
            local_bytes=max(int(stack), int(local)),
            spill_accesses=opcodes.count("LDL") + opcodes.count("STL"),
            shared_bytes=int(shared),
            hmma=opcodes.count("HMMA"),
            hgmma=opcodes.count("HGMMA"),
            hgmma_waits=listing.count("WARPGROUP.DEPBAR"),
            instructions=len(opcodes),
        )
    return kernels


def find_cuobjdump() -> Path | None:
    """The `cuobjdump` of Triton's package, else of the PATH, else None. Triton itself is not imported."""
    triton = importlib.util.find_spec("triton")
    if triton is not None and triton.origin is not None:
        shipped = Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        if shipped.is_file():
            return shipped
    found = shutil.which("cuobjdump")
    return Path(found) if found else None


def _cuobjdump(option: str, cubin: Path) -> str:
    tool = find_cuobjdump()
    if tool is None:
        raise ValueError("expected cuobjdump in Triton's package or on the PATH to read a cubin, found neither")
    # It calls nvdisasm, which lies beside it in both places.
    environment = {**os.environ, "PATH": f"{tool.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(tool), option, str(cubin)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if finished.returncode != 0:
        raise ValueError(f"{' '.join(command)} failed: {finished.stderr.strip()}")
    return finished.stdout
