"""Compile every CUDA C++ kernel ahead of time for Hopper and read from the binary what it will cost, with no GPU.

    python -m mohge.kernels.cupy.aot --json -

prints one JSON record for every kernel, configuration and dtype, those of `mohge.dispatch` included.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ...dispatch import cupy_backend
from ...dispatch.cuda import compiler, resources
from ..common import dtype_name
from .config import MMA_CONFIGS, TILE_CONFIGS
from .launch import FOLDER, defines

ARCHITECTURE = "sm_90a"
TORCH_NAMES = {name: dtype_name(dtype) for dtype, name in (cupy_backend.ELEMENTS | cupy_backend.IDS).items()}
VERSIONS = {
    "tile": (TILE_CONFIGS, (torch.float32, torch.float16, torch.bfloat16)),
    "mma": (MMA_CONFIGS, (torch.float16, torch.bfloat16)),
}


@dataclass(frozen=True)
class CompiledRecord:
    """What one kernel's binary says. Counts are None where `error` says why it did not compile.

    registers:           per thread
    spills:              bytes of stack a thread needs: spilled registers, or arrays that did not fit in registers
    shared_bytes:        shared memory of a block, static and asked for at launch
    tensor_instructions: tensor-core instructions in the machine code
    """

    name: str
    configuration: str
    dtype: str
    architecture: str = ARCHITECTURE
    registers: int | None = None
    spills: int | None = None
    shared_bytes: int | None = None
    tensor_instructions: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Source:
    """One .cu file with its constants, and what its records are called."""

    file: Path
    defines: Mapping[str, int | str]
    configuration: str
    dtype: str
    dynamic_bytes: int = 0


def sources(only: str | None = None) -> Iterator[Source]:
    """Everything launched on a GPU: each version's configurations in each dtype, and the dispatch kernels.

    `only` leaves out the floating-point variants of other dtypes.
    """
    for source in _all_sources():
        if only is None or source.dtype == only or source.dtype.startswith("int"):
            yield source


def _all_sources() -> Iterator[Source]:
    for version, (configs, dtypes) in VERSIONS.items():
        for name, config in configs.items():
            for dtype in dtypes:
                constants = defines(config, dtype)
                yield Source(FOLDER / f"{version}.cu", constants, name, dtype_name(dtype), config.shared_bytes)
    for name, constants in cupy_backend.VARIANTS:
        element = constants.get("ELEMENT") or constants.get("ID", "int")
        yield Source(cupy_backend.FOLDER / name, constants, "dispatch", TORCH_NAMES[str(element)])


def compile_source(source: Source) -> list[CompiledRecord]:
    """The records of one file's kernels, or one record with the error."""
    try:
        cubin = compiler.compile_cubin(source.file, source.defines, ARCHITECTURE)
        kernels = resources.inspect_cubin(cubin)
    except ValueError as error:
        return [CompiledRecord(source.file.stem, source.configuration, source.dtype, error=str(error))]
    return [
        CompiledRecord(
            name=kernel.name,
            configuration=source.configuration,
            dtype=source.dtype,
            registers=kernel.registers,
            spills=kernel.local_bytes,
            shared_bytes=kernel.shared_bytes + source.dynamic_bytes,
            tensor_instructions=kernel.hmma + kernel.hgmma,
        )
        for kernel in kernels.values()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 when a kernel did not compile, or 2 for a process that cannot compile."""
    parser = argparse.ArgumentParser(prog="python -m mohge.kernels.cupy.aot", description=str(__doc__).splitlines()[0])
    parser.add_argument("--json", default="-", metavar="FILE", help="where the records go; - is standard output")
    parser.add_argument("--dtype", choices=sorted({*TORCH_NAMES.values()}), help="only this one; default: all")
    options = parser.parse_args(arguments)
    reason = compiler.cannot_compile()
    if reason is not None:
        parser.error(reason)
    records = [record for source in sources(options.dtype) for record in compile_source(source)]
    text = json.dumps([asdict(record) for record in records], indent=1) + "\n"
    if options.json == "-":
        sys.stdout.write(text)
    else:
        Path(options.json).write_text(text, encoding="utf-8")
    return 1 if any(record.error for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
