"""Compile every configuration ahead of time and read from the binary what it will cost, with no GPU at hand.

    python -m mohge.kernels.triton.aot --json -

writes one JSON record for every kernel, built-in configuration and dtype, those of `mohge.dispatch` included, as
launched for the preset `mohge-3b`: H and all widths are multiples of 16, the fast path. With --values, --spec and
--dtype it writes those of both GEMMs in one configuration for one layer. What was compiled before is not compiled again
(`kernels/compiled.py`).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ... import dispatch
from ...dispatch.aot import AotKernel, compile_ahead
from ...reference import LayerSpec
from ..compiled import (
    STAND_INS,
    CompiledRecord,
    add_configuration_options,
    asked_configuration,
    compile_apart,
    error_line,
    hopper_opcodes,
    recall,
    remembered,
    run_tool,
    sources_of,
    versions_of,
    write_records,
)
from ..values import Value
from .config import Configuration, compiled_ahead, configurations, from_values
from .tile import BYTES

CAPABILITY = 90
DTYPES = tuple(BYTES)
LAYER = "mohge-3b"
_RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)")


@dataclass(frozen=True)
class Job:
    """One kernel to compile, and its record without the counts."""

    kernel: AotKernel
    record: CompiledRecord


@dataclass(frozen=True)
class Selection:
    """What to compile: dtypes, and kernels by name; every kernel where none is named."""

    dtypes: tuple[str, ...] = DTYPES
    kernels: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """The same as options of this module's command."""
        dtypes = [argument for dtype in self.dtypes for argument in ("--dtype", dtype)]
        return dtypes + [argument for kernel in self.kernels for argument in ("--kernel", kernel)]


def jobs(selection: Selection = Selection()) -> list[Job]:
    """Everything selected: both GEMMs in every configuration, then the kernels that have one way only.

    Imports Triton. Raises ValueError for an unknown dtype or kernel.
    """
    for dtype in selection.dtypes:
        if dtype not in DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    everything = _jobs(selection.dtypes)
    known = sorted({job.record.name for job in everything})
    for name in selection.kernels:
        if name not in known:
            raise ValueError(f"kernel: expected one of {', '.join(known)}, got {name!r}")
    return [job for job in everything if not selection.kernels or job.record.name in selection.kernels]


def _jobs(dtypes: Sequence[str]) -> list[Job]:
    from ...dispatch.triton_backend import aot_kernels
    from .signatures import activate, dtype_of

    spec = LayerSpec.preset(LAYER)
    result = [job for dtype in dtypes for tiles in compiled_ahead(dtype) for job in _gemm_jobs(tiles, spec, dtype)]
    activates = [activate(configurations(dtype)[0].fc1, dtype) for dtype in dtypes]
    for kernel in (*activates, *aot_kernels()):
        dtype = dtype_of(kernel)
        if dtype == "int32" or dtype in dtypes:
            result.append(Job(kernel, _record(kernel.name, "dispatch", dtype)))
    return result


def _gemm_jobs(configuration: Configuration, spec: LayerSpec, dtype: str) -> list[Job]:
    from .signatures import gemms

    kernels = gemms(configuration, spec, dtype)
    return [Job(kernel, _record(kernel.name, configuration.name, dtype)) for kernel in kernels]


def _record(name: str, configuration: str, dtype: str) -> CompiledRecord:
    return CompiledRecord(name, configuration, dtype, f"sm_{CAPABILITY}")


def compile_all(
    selection: Selection = Selection(),
    workers: int = 2,
    timeout: float = 600.0,
) -> list[CompiledRecord]:
    """Compile what is selected in `workers` processes of their own, in the order of `jobs`.

    Works in any process, one where Triton is interpreting included. Nothing is started when everything is
    kept. A kernel that does not compile, and one whose process crashed or took more than `timeout` seconds, is a record
    with its error. Raises ValueError for an unknown dtype or kernel, and for fewer than one worker.
    """
    if workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    todo = jobs(selection)
    kept = [recalled(job) for job in todo]
    if all(kept):
        return [record for record in kept if record]
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(lambda part: _worker(selection, part, workers, timeout), range(workers)))
    done: dict[int, CompiledRecord] = {}
    for records, _ in parts:
        done.update(records)
    return [done.get(index) or replace(job.record, error=parts[index % workers][1]) for index, job in enumerate(todo)]


def _worker(selection: Selection, part: int, workers: int, timeout: float) -> tuple[dict[int, CompiledRecord], str]:
    """One process that compiles jobs part, part + workers, ...: its records by index, and how it ended."""
    module = f"{__package__}.aot"  # __name__ is "__main__" where this file is the command
    command = [sys.executable, "-m", module, "--part", f"{part}/{workers}", *selection.arguments()]
    environment = {name: value for name, value in os.environ.items() if name not in STAND_INS}
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
        output, how = ended.stdout, f"the compiling process ended with {ended.returncode}: {_last_line(ended.stderr)}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        how = f"not compiled within {timeout:g} s"
    lines = [json.loads(line) for line in output.splitlines() if line.endswith("}")]
    return {line.pop("index"): CompiledRecord(**line) for line in lines}, how


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def compile_configuration(values: Mapping[str, Value], spec: LayerSpec, dtype: str) -> list[CompiledRecord]:
    """fc1 and fc2 of one configuration as a layer of this spec launches them, in this process where it can compile.

    Raises ValueError with the rule that the values break.
    """
    todo = _gemm_jobs(from_values(values, spec, dtype), spec, dtype)
    kept = [record for record in map(recalled, todo) if record is not None]
    if len(kept) == len(todo):
        return kept
    if _interpreted():
        return compile_apart(f"{__package__}.aot", [job.record for job in todo], values, spec)
    return [compile_job(job) for job in todo]


def compile_job(job: Job) -> CompiledRecord:
    """Compile in this process, unless it is kept; a kernel that fails becomes a record with its error."""
    (record,) = remembered(key(job.kernel), lambda: [_compile(job)])
    return _relabelled(record, job)


def recalled(job: Job) -> CompiledRecord | None:
    """What is kept of a job compiled before."""
    kept = recall(key(job.kernel))
    return _relabelled(kept[0], job) if kept else None


def _relabelled(record: CompiledRecord, job: Job) -> CompiledRecord:
    """A record under the job's own configuration name: equal tiles may have another one."""
    return replace(record, name=job.record.name, configuration=job.record.configuration, dtype=job.record.dtype)


def key(kernel: AotKernel) -> list[str | bytes]:
    """Everything that decides what the compiler makes of a kernel, and the code that reads it from the binary."""
    asked = [sorted(kernel.signature.items()), sorted(kernel.constexprs.items()), sorted(kernel.divisible)]
    return [*_sources(), repr([kernel.name, CAPABILITY, kernel.num_warps, kernel.num_stages, asked])]


@functools.cache
def _sources() -> tuple[str | bytes, ...]:
    return (*versions_of("triton"), *sources_of(Path(__file__).parent, Path(dispatch.__file__).parent))


def _compile(job: Job) -> CompiledRecord:
    try:
        compiled = compile_ahead(job.kernel, CAPABILITY)
        return inspect_binary(compiled.asm["cubin"], replace(job.record, shared_bytes=int(compiled.metadata.shared)))
    except Exception as error:  # compilers raise anything; the record carries it and the next kernel still compiles
        return replace(job.record, error=error_line(error))


def inspect_binary(cubin: bytes, record: CompiledRecord) -> CompiledRecord:
    """`record` with registers, stack and tensor-core instructions of a binary, read with the tools Triton ships."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        usage = run_tool("cuobjdump", "--dump-resource-usage", str(path))
        opcodes = hopper_opcodes(path)
    found = _RESOURCES.search(usage)
    if found is None:
        raise RuntimeError("cuobjdump named no registers")
    registers, stack, local = (int(number) for number in found.groups())
    return replace(
        record,
        registers=registers,
        spills=stack + local,
        tensor_instructions=len(opcodes) - opcodes.count("UTMALDG"),
        warpgroup_instructions=opcodes.count("HGMMA"),
        descriptor_loads=opcodes.count("UTMALDG"),
    )


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 when everything compiled, 1 when something did not, 2 for a process that cannot compile."""
    parser = argparse.ArgumentParser(prog="python -m mohge.kernels.triton.aot", description="Compile for sm_90.")
    parser.add_argument("--json", metavar="FILE", default="-", help="where the records go; - is standard output")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="may be repeated; all by default")
    parser.add_argument("--kernel", action="append", metavar="NAME", help="may be repeated; all by default")
    parser.add_argument("--workers", type=int, default=2, help="processes to compile in, 2 by default")
    parser.add_argument("--part", metavar="I/N", help="compile jobs I, I + N, ... in this process, one JSON line each")
    add_configuration_options(parser)
    options = parser.parse_args(arguments)
    if _interpreted():
        print("TRITON_INTERPRET is set, so Triton would interpret and not compile; unset it", file=sys.stderr)
        return 2
    try:
        selection = Selection(tuple(options.dtype or DTYPES), tuple(options.kernel or ()))
        if options.part:
            return _compile_part(selection, options.part)
        if asked := asked_configuration(options):
            records = [record for dtype in selection.dtypes for record in compile_configuration(*asked, dtype)]
        else:
            records = compile_all(selection, options.workers)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return write_records(records, options.json)


def _compile_part(selection: Selection, part: str) -> int:
    """Compile jobs I, I + N, ... for part "I/N"; each line is written when done, so that a crash keeps them."""
    first, step = (int(number) for number in part.split("/"))
    for index, job in list(enumerate(jobs(selection)))[first::step]:
        print(json.dumps({"index": index, **asdict(compile_job(job))}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
