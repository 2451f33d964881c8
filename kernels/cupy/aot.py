"""Compile every CUDA C++ kernel ahead of time for Hopper and read from the binary what it will cost, with no GPU.

    python -m mohge.kernels.cupy.aot --json -

prints one JSON record for every kernel, built-in configuration and dtype, those of `mohge.dispatch` included; with
--values and --dtype those of both GEMMs in one configuration. What was compiled before is not compiled again
(`kernels/compiled.py`).
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...dispatch import cupy_backend
from ...dispatch.aot import for_target
from ...dispatch.compilation import Compilation, Target
from ...dispatch.cuda import compiler, resources
from ...reference import LayerSpec
from ..common import dtype_name
from ..compiled import (
    CompiledRecord,
    add_configuration_options,
    asked_configuration,
    remembered,
    versions_of,
    write_records,
)
from ..values import Value
from .config import KINDS, Configuration
from .launch import FOLDER, defines
from .shipped import SHIPPED
from .space import from_values

ARCHITECTURE = "sm_90a"
TORCH_NAMES = {name: dtype_name(dtype) for dtype, name in (cupy_backend.ELEMENTS | cupy_backend.IDS).items()}
DTYPES = dict.fromkeys(KINDS, (torch.float16, torch.bfloat16)) | {
    "tile": (torch.float32, torch.float16, torch.bfloat16)
}


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
    for version, configs in SHIPPED.items():
        for name, config in configs.items():
            for dtype in DTYPES[version]:
                constants = defines(config, dtype)
                yield Source(FOLDER / f"{version}.cu", constants, name, dtype_name(dtype), config.shared_bytes)
    for name, constants in cupy_backend.VARIANTS:
        element = constants.get("ELEMENT") or constants.get("ID", "int")
        yield Source(cupy_backend.FOLDER / name, constants, "dispatch", TORCH_NAMES[str(element)])


def compile_source(source: Source) -> list[CompiledRecord]:
    """The records of one file's kernels, or one record with the error."""
    try:
        cubin = compiler.compile_cubin(source.file, source.defines, ARCHITECTURE)
        # The file's name says what it was made from; what reads it is part of the key beside it.
        records = remembered([*_reader(), cubin.name], lambda: _read(cubin))
    except ValueError as error:
        return [CompiledRecord(source.file.stem, source.configuration, source.dtype, ARCHITECTURE, error=str(error))]
    return [
        replace(
            record,
            configuration=source.configuration,
            dtype=source.dtype,
            shared_bytes=(record.shared_bytes or 0) + source.dynamic_bytes,
        )
        for record in records
    ]


def _read(cubin: Path) -> list[CompiledRecord]:
    """The kernels of a binary, without configuration and dtype, which it does not know, and with static memory only."""
    return [
        CompiledRecord(
            name=kernel.name,
            configuration="",
            dtype="",
            architecture=ARCHITECTURE,
            registers=kernel.registers,
            spills=kernel.local_bytes,
            shared_bytes=kernel.shared_bytes,
            tensor_instructions=kernel.hmma + kernel.hgmma,
            warpgroup_instructions=kernel.hgmma,
        )
        for kernel in resources.inspect_cubin(cubin).values()
    ]


@functools.cache
def _reader() -> tuple[str | bytes, ...]:
    return (*versions_of("triton"), Path(__file__).read_bytes(), Path(resources.__file__).read_bytes())


def compile_configuration(configuration: Configuration, dtype: str) -> list[CompiledRecord]:
    """fc1 and fc2 of one configuration. Works in any process: NVRTC knows no interpreter and no simulator."""
    records = []
    for tile, kernel in zip((configuration.fc1, configuration.fc2), configuration.kernels, strict=True):
        constants = defines(tile, getattr(torch, dtype))
        source = Source(FOLDER / f"{configuration.version}.cu", constants, "tuned", dtype, tile.shared_bytes)
        found = compile_source(source)
        records.append(next((record for record in found if record.name == kernel), replace(found[0], name=kernel)))
    return records


def launched(configuration: Configuration, spec: LayerSpec, dtype: str, target: Target) -> list[Compilation]:
    """What a layer of this spec launches in a call with a configuration, between the dispatch plan and combine."""
    from ...dispatch import triton_schedule

    fc1, fc2 = configuration.fc1, configuration.fc2
    lists = triton_schedule.launched(spec.experts, (fc1.block_m, fc1.band), (fc2.block_m, fc2.band))
    file = FOLDER / f"{configuration.version}.cu"
    constants = [defines(tile, getattr(torch, dtype)) for tile in dict.fromkeys((fc1, fc2))]
    cubins = [compiler.CubinCompilation(file, each, target.architecture) for each in constants]
    return [*cubins, *for_target([lists], target)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 when a kernel did not compile, or 2 for a process that cannot compile."""
    parser = argparse.ArgumentParser(prog="python -m mohge.kernels.cupy.aot", description=str(__doc__).splitlines()[0])
    parser.add_argument("--json", default="-", metavar="FILE", help="where the records go; - is standard output")
    parser.add_argument("--dtype", choices=sorted({*TORCH_NAMES.values()}), help="only this one; default: all")
    add_configuration_options(parser)
    options = parser.parse_args(arguments)
    reason = compiler.cannot_compile()
    if reason is not None:
        parser.error(reason)
    try:
        asked = asked_configuration(options)
        if asked is None:
            records = [record for source in sources(options.dtype) for record in compile_source(source)]
        else:
            records = _compile_values(*asked, options.dtype or "bfloat16")
    except ValueError as error:
        parser.error(str(error))
    return write_records(records, options.json)


def _compile_values(values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> list[CompiledRecord]:
    from .implementation import IMPLEMENTATION

    rule = IMPLEMENTATION.check_values(values, spec, dtype)
    if rule is not None:
        raise ValueError(rule)
    return compile_configuration(from_values(values), dtype)


if __name__ == "__main__":
    sys.exit(main())
