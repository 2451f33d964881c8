"""`HostEngine`: the same .cu files, compiled by g++ against the host twin of wrappers.cuh and run on CPU tensors.

It has the interface of `mohge.dispatch.cuda.engine.Engine`, so that launchers run unchanged, and is stricter than a
GPU: arguments must match the kernel's parameters in kind and size; every access is checked (see memory.cpp); threads
and blocks run in a shuffled order. A fault raises `HostFaultError`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mohge.dispatch.cuda.engine import Argument, Defines, padded_shape
from tests.host_twin.arguments import HostFaultError, Memory, Stream, check_argument, check_settled

FOLDER = Path(__file__).resolve().parent
INCLUDE = FOLDER / "include"
DEVICE_INCLUDE = FOLDER.parents[1] / "dispatch" / "cuda"
RUNTIME = ("block.cpp", "warp.cpp", "memory.cpp", "hopper.cpp", "wgmma.cpp", "hooks.cpp")
COMMON = ("g++", "-std=c++17", "-gdwarf-4", "-fPIC", "-fvisibility=hidden", "-U_FORTIFY_SOURCE", "-fno-strict-aliasing",
          "-fno-exceptions")  # fmt: skip
UNDEFINED = "bounds,shift,integer-divide-by-zero,signed-integer-overflow"
CHECKED = (*COMMON, "-O1", "-w", "-fno-threadsafe-statics", "-fno-tree-loop-distribute-patterns", "-ffp-contract=off",
           f"-fsanitize=thread,{UNDEFINED}", "-fno-sanitize-recover=all")  # fmt: skip
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(')
LIMITS = (2**31 - 1, 65535, 65535)
MOST_THREADS = 1024

Order = Literal["forward", "reverse", "random"]
ORDERS: tuple[Order, ...] = ("forward", "reverse", "random")


class HostModule:
    """One .cu file under one set of defines, compiled for the host."""

    def __init__(self, library: Path, order: Order, seed: int, stream: Stream) -> None:
        self._stream = stream
        self._path = library
        self._library = ctypes.CDLL(str(library))
        self._order = ORDERS.index(order)
        self._seed = seed

    def launch(
        self,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Argument],
        shared_bytes: int = 0,
        early: bool = False,
        settled: Sequence[int] = (),
    ) -> None:
        """See `mohge.dispatch.cuda.engine.Module.launch`."""
        grid, block = padded_shape(grid), padded_shape(block)
        _check_shape(grid, block)
        if 0 in grid:
            return
        signature = self._function(f"chip_signature_{name}", ctypes.c_char_p)().decode().split()
        if len(signature) != len(args):
            raise HostFaultError("launch", f"{name} takes {len(signature)} arguments, not {len(args)}")
        for number, (code, argument) in enumerate(zip(signature, args, strict=True)):
            check_argument(name, number, code, argument)
        memory = Memory(signature, args, settled)
        if early and settled:
            check_settled(name, [args[number] for number in settled], self._stream)
        message = ctypes.create_string_buffer(4096)
        failed = self._function("chip_launch", ctypes.c_int)(
            self._function(f"chip_call_{name}", None),
            memory.pointers,
            memory.buffers,
            len(memory.buffers),
            (ctypes.c_uint * 3)(*grid),
            (ctypes.c_uint * 3)(*block),
            ctypes.c_size_t(shared_bytes),
            int(early),
            self._order,
            ctypes.c_uint(self._seed),
            message,
            ctypes.c_size_t(len(message)),
        )
        if failed:
            kind, site, text = message.value.decode().split("\n", 2)
            raise HostFaultError(kind, f"{name}, {text}{self._source_line(site)}")
        memory.copy_back()
        self._stream.written = memory.written()
        self._stream.hasty = bool(self._function("chip_was_hasty", ctypes.c_int)())

    def _function(self, name: str, result: Any) -> Any:
        try:
            function = self._library[name]
        except AttributeError:
            raise HostFaultError("launch", f"{self._path.name} has no {name}") from None
        function.restype = result
        return function

    def _source_line(self, site: str) -> str:
        """The source lines, innermost first, of a return address in the library; empty for none."""
        if site in ("(nil)", "0"):
            return ""
        maps = Path("/proc/self/maps").read_text().splitlines()
        base = min(int(line.split("-")[0], 16) for line in maps if line.endswith(str(self._path)))
        address = hex(int(site, 16) - base - 1)
        command = ["addr2line", "-i", "-e", str(self._path), address]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        lines = [line.split(" ")[0] for line in found.splitlines()]
        return " at " + ", from ".join(lines) if lines else ""


class HostEngine:
    """Compiles .cu files with g++, once for each content and set of defines, into a folder kept between test runs.

    order, seed: how threads within a block, and blocks within a grid, take turns.
    """

    def __init__(self, order: Order = "random", seed: int = 0) -> None:
        self._order: Order = order
        self._seed = seed
        self._stream = Stream()
        self._modules: dict[tuple[Path, tuple[tuple[str, int | str], ...]], HostModule] = {}

    def load(self, source_file: Path, defines: Defines) -> HostModule:
        """See `mohge.dispatch.cuda.engine.Engine.load`."""
        key = (Path(source_file).resolve(), tuple(sorted(defines.items())))
        if key not in self._modules:
            self._modules[key] = HostModule(_build(*key), self._order, self._seed, self._stream)
        return self._modules[key]


def _check_shape(grid: Sequence[int], block: Sequence[int]) -> None:
    if any(not 0 <= blocks <= most for blocks, most in zip(grid, LIMITS, strict=True)):
        raise HostFaultError("launch", f"grid {grid} is beyond what a GPU takes, {LIMITS}")
    if not 1 <= np.prod(block) <= MOST_THREADS or block[2] > 64:
        raise HostFaultError("launch", f"block {block} is beyond what a GPU takes, {MOST_THREADS} threads, 64 in z")


def compiler_version() -> str | None:
    """The first line of `g++ --version`, or None without a g++."""
    try:
        return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError):
        return None


def _build(source_file: Path, defines: tuple[tuple[str, int | str], ...]) -> Path:
    """The shared library of a .cu file, from the cache folder or compiled now."""
    kernels = KERNEL.findall(source_file.read_text())
    if not kernels:
        raise HostFaultError("launch", f'{source_file} has no `extern "C" __global__ void` kernel')
    unit = f'#include <entry.h>\n#include "{source_file}"\n' + "".join(f"CHIP_KERNEL({name})\n" for name in kernels)
    flags = [f"-D{name}={value}" for name, value in defines]
    flags += [f"-I{folder}" for folder in (INCLUDE, DEVICE_INCLUDE, source_file.parent)]
    beside = {*source_file.parent.glob("*.cu*"), *DEVICE_INCLUDE.glob("*.cuh"), *INCLUDE.iterdir()}
    digest = hashlib.sha256()
    for text in (unit, *CHECKED, *flags, compiler_version() or ""):
        digest.update(text.encode() + b"\0")
    for file in sorted(beside):
        digest.update(file.read_bytes() + b"\0")
    runtime = _build_runtime()
    digest.update(runtime.name.encode())
    library = _cache_folder() / f"{source_file.stem}-{digest.hexdigest()[:24]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=_cache_folder()) as scratch:
            main, made = Path(scratch) / "unit.cpp", Path(scratch) / "unit.o"
            main.write_text(unit)
            _run([*CHECKED, *flags, "-c", str(main), "-o", str(made)])
            shared = Path(scratch) / "unit.so"
            _run(["g++", "-shared", "-Wl,-z,defs", "-o", str(shared), str(made), str(runtime)])
            shared.replace(library)
    return library


def _build_runtime() -> Path:
    """The runtime's object file, which every kernel library contains."""
    digest = hashlib.sha256((compiler_version() or "").encode())
    for file in sorted({*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h"), *INCLUDE.glob("*.h")}):
        digest.update(file.read_bytes() + b"\0")
    joined = _cache_folder() / f"runtime-{digest.hexdigest()[:24]}.o"
    if not joined.exists():
        with tempfile.TemporaryDirectory(dir=_cache_folder()) as scratch:
            objects = [str(Path(scratch) / f"{source}.o") for source in RUNTIME]
            for source, made in zip(RUNTIME, objects, strict=True):
                _run([*COMMON, "-O2", "-Wall", "-Wextra", "-Werror", "-c", str(FOLDER / source), "-o", made])
            whole = Path(scratch) / "runtime.o"
            _run(["g++", "-r", "-nostdlib", "-o", str(whole), *objects])
            whole.replace(joined)
    return joined


def _run(command: list[str]) -> None:
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise HostFaultError("compile", f"{' '.join(command)}\n{finished.stderr}")


def _cache_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"mohge-host-twin-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
