"""Compile every kernel ahead of time for Hopper and read from the binary what it will cost, with no GPU at hand.

    python -m mohge.kernels.numba.aot --json -

prints one JSON record for every kernel, built-in configuration and dtype, those of `mohge.dispatch` included; with
--values and --dtype those of both GEMMs in one configuration, with --tensor-cores of the version that uses them. Numba
and libNVVM (`cuda-toolkit[nvvm]`) make PTX; the ptxas and nvdisasm that Triton ships make machine code of it and read
it. What was compiled before is not compiled again (`kernels/compiled.py`).
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false
# pyright: reportMissingImports=false, reportPrivateImportUsage=false

from __future__ import annotations

import argparse
import functools
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ... import dispatch
from ...reference import LayerSpec
from ..compiled import (
    CompiledRecord,
    add_configuration_options,
    asked_configuration,
    compile_apart,
    error_line,
    recall,
    remembered,
    run_tool,
    sources_of,
    tensor_opcodes,
    versions_of,
    write_records,
)
from ..values import Value
from . import config, mma_config
from .config import Configuration
from .mma_config import MmaConfiguration

CAPABILITY = (9, 0)
ARCHITECTURE = f"sm_{CAPABILITY[0]}{CAPABILITY[1]}"

_REGISTERS = re.compile(r"Used (\d+) registers")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores")
_SHARED = re.compile(r"(\d+) bytes smem")
_PTX_VERSION = re.compile(r"^\.version (\d+)\.(\d+)$", re.MULTILINE)
_TOOL_RELEASE = re.compile(r"release (\d+)\.(\d+)")


@dataclass(frozen=True)
class Job:
    """One kernel, the Numba types of its arguments, and the configuration and dtype its record names.

    variant: what else decides what is compiled, such as the tile the kernel was made for
    """

    name: str
    configuration: str
    dtype: str
    kernel: Any
    signature: tuple[Any, ...]
    variant: str = ""

    @property
    def record(self) -> CompiledRecord:
        """The record without the counts."""
        return CompiledRecord(self.name, self.configuration, self.dtype, ARCHITECTURE)

    @property
    def key(self) -> list[str | bytes]:
        """Everything that decides what the compiler makes of it, and the code that reads it from the binary."""
        return [*_sources(), self.name, self.dtype, ARCHITECTURE, self.variant, str(self.signature)]


def jobs() -> list[Job]:
    """Everything there is to compile. Raises ValueError in a process that simulates."""
    from ...dispatch.numba_bridge import ELEMENTS, SIMULATED
    from ..common import DTYPES

    if SIMULATED:
        raise ValueError("expected a process that compiles; start it without NUMBA_ENABLE_CUDASIM")
    result = _dispatch_jobs()
    for dtype in DTYPES:
        element = ELEMENTS[dtype]
        result += _row_jobs(dtype, element)
        for configuration in config.COMPILED:
            result += _gemm_jobs(configuration, dtype, element)
        for configuration in mma_config.COMPILED if element.name in mma_config.DTYPES else ():
            result += _mma_jobs(configuration, element)
    return result


def _dispatch_jobs() -> list[Job]:
    from numba.types import float32, int32, int64

    from ...dispatch import numba_backend
    from ...dispatch import numba_kernels as kernels
    from .ragged import activation_base_kernel

    i32, i32_2d, i64, f32 = int32[::1], int32[:, ::1], int64[::1], float32[::1]
    chunk, threads = numba_backend.CHUNK, numba_backend.THREADS
    table: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("rank", kernels.rank_kernel(chunk), (i32, i32, i32_2d)),
        ("scan", kernels.scan_kernel(threads), (i32_2d, i32)),
        ("offsets", kernels.offsets_kernel, (i32, i32)),
        ("scatter", kernels.scatter_kernel(chunk), (i32, f32, i32, i32_2d, i32, int64, i32, i32, f32)),
        ("tile_ends", kernels.tile_ends_kernel, (i32, i32, i32, int64, i32)),
        ("tiles", kernels.tiles_kernel, (i32, i32, i32, i32, int64, int64, i32, i32, i32, i32)),
        ("activation_base", activation_base_kernel, (i32, i64, i64)),
    ]
    return [Job(name, "dispatch", "int32", kernel, signature) for name, kernel, signature in table]


def _row_jobs(dtype: Any, element: Any) -> list[Job]:
    """Permute, whose words are 8 bytes whatever the dtype, and combine."""
    from numba.types import float32, int32, int64

    from ...dispatch import numba_kernels as kernels

    words, rows = int64[:, ::1], element.stored[:, ::1]
    combine = (rows, int32[:, ::1], float32[::1], rows)
    return [
        Job("permute", "dispatch", element.name, kernels.permute_kernel, (words, int32[::1], words)),
        Job("combine", "dispatch", element.name, kernels.combine_kernel(dtype), combine),
    ]


def _gemm_jobs(configuration: Configuration, dtype: Any, element: Any) -> list[Job]:
    from numba.types import int32, int64

    from .down import down_kernel
    from .gate_up import gate_up_kernel

    matrix, flat, i32, i64 = element.stored[:, ::1], element.stored[::1], int32[::1], int64[::1]
    weights = (i32, matrix, i64, i64)  # expert offsets, weights, width offsets, activation base
    tiles = (i32, i32, i32, i32)
    fc1 = gate_up_kernel(configuration.fc1, dtype)
    fc2 = down_kernel(configuration.fc2, dtype)
    return [
        Job(
            config.KERNELS[0],
            configuration.name,
            element.name,
            fc1,
            (matrix, i32, *weights, *tiles, flat),
            str(replace(configuration.fc1, band=1)),
        ),
        Job(
            config.KERNELS[1],
            configuration.name,
            element.name,
            fc2,
            (flat, *weights, *tiles, matrix),
            str(replace(configuration.fc2, band=1)),
        ),
    ]


def _mma_jobs(configuration: MmaConfiguration, element: Any) -> list[Job]:
    from numba.types import int32, int64

    from .mma_down import down_kernel
    from .mma_gate_up import gate_up_kernel

    matrix, words, i32, i64 = int32[:, ::1], int32[::1], int32[::1], int64[::1]
    tiles = (i32, i32, i32, i32)
    arguments = (
        (gate_up_kernel, configuration.fc1, (matrix, i32, i32, matrix, i64, i64, *tiles, words)),
        (down_kernel, configuration.fc2, (words, i32, words, i64, i64, *tiles, matrix)),
    )
    return [
        Job(name, configuration.name, element.name, kernel(tile, element.name), types, str(replace(tile, band=1)))
        for name, (kernel, tile, types) in zip(mma_config.KERNELS, arguments, strict=True)
    ]


def ptx(job: Job) -> str:
    """The PTX of one job. Numba asks the current device what it can do only when a kernel calls device functions."""
    from numba import cuda

    device = SimpleNamespace(compute_capability=CAPABILITY)
    bounds = job.kernel.targetoptions.get("launch_bounds")
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        code, _ = cuda.compile(
            job.kernel.py_func,
            job.signature,
            device=False,
            abi="numba",
            cc=CAPABILITY,
            output="ptx",
            launch_bounds=bounds,
        )
    return code


def compile_here(work: Sequence[Job]) -> list[CompiledRecord]:
    """Compile in this process, one after the other, what is not kept; one that fails is a record with its error."""
    return [
        replace(*remembered(job.key, lambda job=job: [_compile(job)]), configuration=job.configuration) for job in work
    ]


def compile_configuration(
    values: Mapping[str, Value], spec: LayerSpec, dtype: str, tensor_cores: bool = False
) -> list[CompiledRecord]:
    """fc1 and fc2 of one configuration, in this process where it can compile; kernels depend on no layer's sizes.

    tensor_cores: of which version the values are

    Raises ValueError with the rule that the values break.
    """
    import torch

    from ...dispatch.numba_bridge import ELEMENTS, SIMULATED

    kind = getattr(torch, dtype, None)
    if tensor_cores:
        todo = _mma_jobs(mma_config.from_values(values, dtype), ELEMENTS[kind])
    else:
        todo = _gemm_jobs(config.from_values(values, dtype), kind, ELEMENTS[kind])
    if SIMULATED and not all(recall(job.key) for job in todo):
        flags = ["--tensor-cores"] if tensor_cores else []
        return compile_apart(f"{__package__}.aot", [job.record for job in todo], values, spec, flags=flags)
    return compile_here(todo)


@functools.cache
def _sources() -> tuple[str | bytes, ...]:
    versions = versions_of("numba", "numba-cuda", "triton", "nvidia-nvvm", "cuda-toolkit")
    return (*versions, *sources_of(Path(__file__).parent, Path(dispatch.__file__).parent))


def _compile(job: Job) -> CompiledRecord:
    try:
        return replace(job.record, **_assemble(ptx(job)))
    except Exception as error:  # compilers raise anything; the record carries it and the next kernel still compiles
        return replace(job.record, error=error_line(error))


def _assemble(code: str) -> dict[str, int]:
    """Registers, stack, shared memory and tensor-core instructions of a kernel's PTX."""
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(_readable_by(_tool_release(), code), encoding="utf-8")
        usage = run_tool("ptxas", f"-arch={ARCHITECTURE}", "-v", str(source), "-o", str(binary))
        opcodes = tensor_opcodes(binary)
    registers, spills, shared = _REGISTERS.search(usage), _SPILLS.search(usage), _SHARED.search(usage)
    if registers is None or spills is None:
        raise RuntimeError("ptxas named no registers")
    return {
        "registers": int(registers[1]),
        "spills": int(spills[1]),
        "shared_bytes": int(shared[1]) if shared else 0,
        "tensor_instructions": len(opcodes),
        "warpgroup_instructions": opcodes.count("HGMMA"),
    }


def _readable_by(release: tuple[int, int], code: str) -> str:
    """The PTX, declared as the newest version that ptxas of CUDA `release` reads.

    libNVVM 13.0 declares PTX 9.0 and Triton 3.7 ships ptxas 12.8, which reads up to 8.7. For sm_90 the versions between
    change nothing but the number; if one ever does, ptxas says so and the record carries it.
    """
    major, minor = release
    newest = (9, minor) if major >= 13 else (8, minor - 1 if minor >= 6 else minor)
    found = _PTX_VERSION.search(code)
    if found is None or (int(found[1]), int(found[2])) <= newest:
        return code
    return _PTX_VERSION.sub(f".version {newest[0]}.{newest[1]}", code, count=1)


def _tool_release() -> tuple[int, int]:
    found = _TOOL_RELEASE.search(run_tool("ptxas", "--version"))
    if found is None:
        raise RuntimeError("ptxas named no release")
    return int(found[1]), int(found[2])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 when a kernel did not compile, or 2 for a process that cannot compile."""
    parser = argparse.ArgumentParser(
        prog="python -m mohge.kernels.numba.aot", description="Compile every Numba kernel for Hopper."
    )
    parser.add_argument("--json", default="-", metavar="FILE", help="where the records go; - is standard output")
    parser.add_argument("--only", default="", metavar="NAMES", help="kernels to compile, such as rank,gate_up")
    parser.add_argument("--dtype", default="", help="leave out kernels of other dtypes, such as bfloat16")
    parser.add_argument("--ptx", metavar="FOLDER", help="also write the PTX of every kernel there")
    parser.add_argument("--tensor-cores", action="store_true", help="--values are those of numba_mma")
    add_configuration_options(parser)
    options = parser.parse_args(arguments)
    names = set(filter(None, options.only.split(",")))
    try:
        if asked := asked_configuration(options):
            records = compile_configuration(*asked, options.dtype or "bfloat16", options.tensor_cores)
            return write_records(records, options.json)
        work = [job for job in jobs() if not names or job.name in names]
        work = [job for job in work if options.dtype in ("", job.dtype)]
    except (ImportError, ValueError) as error:
        parser.error(str(error))
    for job in work if options.ptx else ():
        Path(options.ptx, f"{job.name}-{job.configuration}-{job.dtype}.ptx").write_text(ptx(job), encoding="utf-8")
    return write_records(compile_here(work), options.json)


if __name__ == "__main__":
    sys.exit(main())
