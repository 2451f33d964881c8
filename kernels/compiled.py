"""What ahead-of-time compilation says of a kernel, and the memory that spares compiling the same kernel twice.

The three folders that compile (`triton/aot.py`, `cupy/aot.py`, `numba/aot.py`) share this record, the tools that read a
binary, and the end of their commands. Nothing here imports a kernel language.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..dispatch.cache import cache_folder, content_key, store
from ..reference import LayerSpec

_OPCODE = re.compile(r"\b(HGMMA|HMMA|QGMMA|IMMA|DMMA|UTMALDG)\b")
# A process with one of these set interprets or simulates, and cannot compile.
STAND_INS = ("TRITON_INTERPRET", "NUMBA_ENABLE_CUDASIM")


@dataclass(frozen=True)
class CompiledRecord:
    """What one kernel's binary says. The counts are None where `error` says why there is none.

    configuration:          what its implementation calls the tiles; "dispatch" for kernels that have one way only
    registers:              per thread
    spills:                 bytes of stack a thread needs: spilled registers, or arrays that did not fit in registers
    shared_bytes:           shared memory of a block, static and asked for at launch
    tensor_instructions:    tensor-core instructions in the machine code
    warpgroup_instructions: those of them that are Hopper's warpgroup ones (HGMMA)
    descriptor_loads:       loads of a block through a tensor descriptor (TMA); None where nobody looked
    """

    name: str
    configuration: str
    dtype: str
    architecture: str
    registers: int | None = None
    spills: int | None = None
    shared_bytes: int | None = None
    tensor_instructions: int | None = None
    warpgroup_instructions: int | None = None
    descriptor_loads: int | None = None
    error: str | None = None


def remembered(parts: Iterable[str | bytes], make: Callable[[], list[CompiledRecord]]) -> list[CompiledRecord]:
    """The records kept for `parts` (everything that decides what the compiler makes), or those `make` gives now.

    Records with an error are not kept: a missing library or a full disk may be gone the next time. A cache that cannot
    be read or written costs time only.
    """
    parts = list(parts)
    kept = recall(parts)
    if kept is not None:
        return kept
    records = make()
    remember(parts, records)
    return records


def recall(parts: Iterable[str | bytes]) -> list[CompiledRecord] | None:
    """The records kept for `parts`, or None; a file that is no list of records counts as none."""
    try:
        text = (cache_folder() / _file_name(parts)).read_text(encoding="utf-8")
        return [CompiledRecord(**record) for record in json.loads(text)]
    except (OSError, ValueError, TypeError):
        return None


def remember(parts: Iterable[str | bytes], records: Sequence[CompiledRecord]) -> None:
    """Keep records for `parts`, unless one has an error or the cache cannot be written."""
    if any(record.error for record in records):
        return
    try:
        store(_file_name(parts), json.dumps([asdict(record) for record in records]).encode())
    except ValueError:
        return


def _file_name(parts: Iterable[str | bytes]) -> str:
    return f"compiled-{content_key(['compiled record 1', *parts])}.json"


def sources_of(*folders: Path) -> list[str | bytes]:
    """Name and content of every source file of some folders, as parts of a key: any change there compiles afresh."""
    files = [path for folder in folders for path in sorted(folder.iterdir()) if path.suffix in (".py", ".cu", ".cuh")]
    return [part for path in files for part in (path.name, path.read_bytes())]


def versions_of(*packages: str) -> list[str]:
    """Python's and some installed packages' versions, as parts of a key; "none" for one that is not installed."""
    found = [f"python {sys.version_info[0]}.{sys.version_info[1]}"]
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} none")
    return found


def run_tool(name: str, *arguments: str) -> str:
    """What one of the CUDA tools that Triton ships prints, on either stream.

    Raises RuntimeError where Triton is not installed, subprocess.CalledProcessError where the tool fails.
    """
    triton = importlib.util.find_spec("triton")
    if triton is None or triton.origin is None:
        raise RuntimeError(f"{name}: expected Triton to be installed, which ships it")
    path = Path(triton.origin).parent / "backends" / "nvidia" / "bin" / name
    done = subprocess.run([str(path), *arguments], check=True, capture_output=True, text=True)
    return done.stdout + done.stderr


def tensor_opcodes(cubin: Path) -> list[str]:
    """The tensor-core instructions in a binary's machine code, "HMMA", "HGMMA" and so on, in order."""
    return [opcode for opcode in hopper_opcodes(cubin) if opcode != "UTMALDG"]


def hopper_opcodes(cubin: Path) -> list[str]:
    """The same with "UTMALDG", a load through a tensor descriptor, among them."""
    return _OPCODE.findall(run_tool("nvdisasm", "-c", str(cubin)))


def error_line(error: Exception) -> str:
    """What a compiler or tool raised, in one line: its kind, and the first line that says something."""
    detail = str(getattr(error, "stderr", None) or error)
    said = next((line.strip() for line in detail.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}"


def write_records(records: Sequence[CompiledRecord], where: str) -> int:
    """Write records as a JSON list to the file `where`, or to standard output for "-": the end of every `aot` command.

    Returns the exit code: 0, or 1 when a kernel did not compile.
    """
    text = json.dumps([asdict(record) for record in records], indent=1) + "\n"
    if where == "-":
        sys.stdout.write(text)
    else:
        Path(where).write_text(text, encoding="utf-8")
    return int(any(record.error for record in records))


def add_configuration_options(parser: argparse.ArgumentParser) -> None:
    """The options of an `aot` command that ask for one configuration of both GEMMs; read by `asked_configuration`."""
    parser.add_argument("--values", metavar="JSON", help="one configuration, such as '{\"fc1_block_m\": 128, ...}'")
    parser.add_argument("--spec", metavar="JSON", help="the layer for --values; the preset mohge-3b by default")


def asked_configuration(options: argparse.Namespace) -> tuple[dict[str, Any], LayerSpec] | None:
    """The values and the layer that --values and --spec name, or None without --values.

    Raises ValueError for text that is no JSON table and for a layer that is none.
    """
    if options.values is None:
        if options.spec is not None:
            raise ValueError("--spec: expected --values beside it")
        return None
    tables = []
    for name, text in (("--values", options.values), ("--spec", options.spec or "null")):
        try:
            tables.append(json.loads(text))
        except ValueError as error:
            raise ValueError(f"{name}: expected a JSON table: {error}") from error
    values, spec = tables
    if not isinstance(values, dict) or not isinstance(spec, dict | None):
        raise ValueError(f"--values, --spec: expected JSON tables, got {options.values} and {options.spec}")
    return values, LayerSpec.preset("mohge-3b") if spec is None else LayerSpec.from_dict(spec)


def compile_apart(
    module: str,
    failed: Sequence[CompiledRecord],
    values: Mapping[str, Any],
    spec: LayerSpec,
    *,
    flags: Sequence[str] = (),
    timeout: float = 600.0,
) -> list[CompiledRecord]:
    """The records of one configuration from a process of its own that neither interprets nor simulates.

    module: an `aot` module, whose command takes --values, --spec and --dtype, and `flags`
    failed: what to return, with the error, when the process brings nothing: one record a kernel
    """
    command = [sys.executable, "-m", module, "--values", json.dumps(dict(values))]
    command += ["--spec", json.dumps(spec.to_dict()), "--dtype", failed[0].dtype, "--json", "-", *flags]
    environment = {name: value for name, value in os.environ.items() if name not in STAND_INS}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return [replace(record, error=f"not compiled within {timeout:g} s") for record in failed]
    try:
        return [CompiledRecord(**record) for record in json.loads(done.stdout)]
    except (ValueError, TypeError):
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        error = f"the compiling process ended with {done.returncode}: {said[-1] if said else 'no message'}"
    return [replace(record, error=error) for record in failed]
