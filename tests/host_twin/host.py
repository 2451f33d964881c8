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
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mohge.dispatch.cuda.engine import Argument, Defines, TensorMap, pack_argument, padded_shape

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
GUARD_BYTES = 1 << 18  # more than a tile of rows: what a kernel writes past a tensor must not reach another one
TENSOR_MAP_BYTES = 128
LIMITS = (2**31 - 1, 65535, 65535)
MOST_THREADS = 1024

Order = Literal["forward", "reverse", "random"]
ORDERS: tuple[Order, ...] = ("forward", "reverse", "random")


class HostFaultError(RuntimeError):
    """A kernel did what it must not. `kind`: race, unwritten, in_flight, out_of_bounds, misaligned, read_only, barrier,
    collective, proxy, dependency, overflow, stack or launch."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("begin", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
        ("writable", ctypes.c_int),
        ("settled", ctypes.c_int),
        ("argument", ctypes.c_int),
    )


@dataclass
class _Stream:
    """What an engine knows of its last launch: the bytes it may have written, as (begin, end), and whether it let the
    next grid start before it had waited for the one before. What torch does between two launches nobody sees here.
    """

    written: list[tuple[int, int]] = field(default_factory=list)
    hasty: bool = False


class HostModule:
    """One .cu file under one set of defines, compiled for the host."""

    def __init__(self, library: Path, order: Order, seed: int, stream: _Stream) -> None:
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
        if any(not 0 <= blocks <= most for blocks, most in zip(grid, LIMITS, strict=True)):
            raise HostFaultError("launch", f"grid {grid} is beyond what a GPU takes, {LIMITS}")
        if not 1 <= np.prod(block) <= MOST_THREADS or block[2] > 64:
            raise HostFaultError("launch", f"block {block} is beyond what a GPU takes, {MOST_THREADS} threads, 64 in z")
        if 0 in grid:
            return
        signature = self._function(f"chip_signature_{name}", ctypes.c_char_p)().decode().split()
        if len(signature) != len(args):
            raise HostFaultError("launch", f"{name} takes {len(signature)} arguments, not {len(args)}")
        for number, (code, argument) in enumerate(zip(signature, args, strict=True)):
            _check_argument(name, number, code, argument)
        memory = _Memory(signature, args, settled)
        if early and settled:
            _check_settled(name, [args[number] for number in settled], self._stream)
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
        self._stream = _Stream()
        self._modules: dict[tuple[Path, tuple[tuple[str, int | str], ...]], HostModule] = {}

    def load(self, source_file: Path, defines: Defines) -> HostModule:
        """See `mohge.dispatch.cuda.engine.Engine.load`."""
        key = (Path(source_file).resolve(), tuple(sorted(defines.items())))
        if key not in self._modules:
            self._modules[key] = HostModule(_build(*key), self._order, self._seed, self._stream)
        return self._modules[key]


def compiler_version() -> str | None:
    """The first line of `g++ --version`, or None without a g++."""
    try:
        return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError):
        return None


class _Memory:
    """Every tensor argument in a copy of its own with room on both sides, so that no wrong index meets a neighbour."""

    def __init__(self, signature: Sequence[str], args: Sequence[Argument], settled: Sequence[int]) -> None:
        self._copies: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor, bool]] = {}
        self._values: list[np.ndarray[Any, Any]] = []
        buffers: list[_Buffer] = []
        for number, (code, argument) in enumerate(zip(signature, args, strict=True)):
            if not isinstance(argument, torch.Tensor | TensorMap):
                self._values.append(np.array([pack_argument(argument)]))
                continue
            matrix = argument.matrix if isinstance(argument, TensorMap) else argument
            writable = code.startswith("*") and "*c" not in code
            copy = self._copy_of(matrix, writable)
            begin = copy.data_ptr() + GUARD_BYTES
            is_map = isinstance(argument, TensorMap)
            self._values.append(_tensor_map(argument, begin) if is_map else np.array([begin], np.uint64))
            buffers.append(_Buffer(begin, len(copy) - 2 * GUARD_BYTES, writable, number in settled, number))
        # A tensor given twice is one buffer; it may be written when any of its parameters may, read early when all may.
        writable = {buffer.begin for buffer in buffers if buffer.writable}
        unsettled = {buffer.begin for buffer in buffers if not buffer.settled}
        unique = {buffer.begin: buffer for buffer in buffers}
        for begin, buffer in unique.items():
            buffer.writable = begin in writable
            buffer.settled = begin not in unsettled
        self.buffers = (_Buffer * len(unique))(*unique.values())
        self.pointers = (ctypes.c_void_p * len(args))(*(value.ctypes.data for value in self._values))

    def _copy_of(self, tensor: torch.Tensor, writable: bool) -> torch.Tensor:
        view = _bytes_of(tensor)
        key = (tensor.data_ptr(), len(view))
        if key not in self._copies:
            copy = torch.full((len(view) + 2 * GUARD_BYTES,), 0xCD, dtype=torch.uint8)
            offset = (copy.data_ptr() - tensor.data_ptr()) % 16  # keep the alignment a vector load would meet on a GPU
            copy = copy if offset == 0 else torch.full((len(copy) + 16,), 0xCD, dtype=torch.uint8)[16 - offset :]
            copy = copy[: len(view) + 2 * GUARD_BYTES]
            copy[GUARD_BYTES : GUARD_BYTES + len(view)] = view
            self._copies[key] = (copy, view, writable)
        copy, view, before = self._copies[key]
        self._copies[key] = (copy, view, before or writable)
        return copy

    def written(self) -> list[tuple[int, int]]:
        """The bytes, as (begin, end) in the caller's memory, of every tensor that may be written."""
        views = [view for _, view, writable in self._copies.values() if writable]
        return [(view.data_ptr(), view.data_ptr() + len(view)) for view in views]

    def copy_back(self) -> None:
        for copy, view, writable in self._copies.values():
            if writable:
                view.copy_(copy[GUARD_BYTES : GUARD_BYTES + len(view)])


def _check_settled(name: str, arguments: Sequence[Argument], stream: _Stream) -> None:
    """What may be read before the grid before this one has ended must have been written before that one started."""
    if stream.hasty:
        raise HostFaultError("dependency", f"{name} may start before older grids end: the one before did not wait")
    for argument in arguments:
        view = _bytes_of(argument.matrix if isinstance(argument, TensorMap) else argument)
        begin, end = view.data_ptr(), view.data_ptr() + len(view)
        if any(first < end and begin < last for first, last in stream.written):
            raise HostFaultError("dependency", f"{name} is said to find settled what the grid before it writes")


def _tensor_map(argument: TensorMap, begin: int) -> np.ndarray[Any, Any]:
    """`chip::host::TensorMap` of include/host.h for a matrix at `begin`, on 64 bytes."""
    rows, columns = argument.matrix.shape
    box = (argument.box_rows, argument.box_columns, argument.matrix.itemsize)
    content = struct.pack("QQQQIII", begin, rows, columns, argument.row_bytes, *box)
    room = np.zeros(TENSOR_MAP_BYTES + 64, np.uint8)
    room = room[-room.ctypes.data % 64 :][:TENSOR_MAP_BYTES]
    room[: len(content)] = np.frombuffer(content, np.uint8)
    return room


def _bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes from a tensor's first element to its last, as a view."""
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    elements = extent if tensor.numel() else 0
    return torch.as_strided(tensor, (elements,), (1,)).view(torch.uint8)


def _check_argument(name: str, number: int, code: str, argument: Argument) -> None:
    """A kernel's parameter and what is passed must agree: on a GPU nobody would say that they do not."""
    pointer, kind, size = re.fullmatch(r"(\*c?)?([iufhbv])(\d+)", code).groups()  # type: ignore[union-attr]
    if isinstance(argument, TensorMap) != (kind == "v" and not pointer):
        raise HostFaultError("launch", f"{name}'s parameter {number} is {code}, not {type(argument).__name__}")
    if isinstance(argument, TensorMap):
        return
    if isinstance(argument, torch.Tensor) != bool(pointer):
        raise HostFaultError("launch", f"{name}'s parameter {number} is {code}, not {type(argument).__name__}")
    if isinstance(argument, torch.Tensor):
        if argument.device.type != "cpu":
            raise HostFaultError("launch", f"{name}'s argument {number} lives on {argument.device}, not on the CPU")
        given = _code_of(argument.dtype)
        same = given[1:] == size and (given[0] == kind or {given[0], kind} == {"i", "u"})
        if kind != "v" and not same:
            raise HostFaultError("launch", f"{name}'s parameter {number} is {code}, not a pointer to {argument.dtype}")
        return
    given = _code_of(torch.from_numpy(np.array([pack_argument(argument)])).dtype)
    if given != kind + size:
        raise HostFaultError("launch", f"{name}'s parameter {number} is {code}, not {given} ({argument})")


def _code_of(dtype: torch.dtype) -> str:
    if dtype in (torch.float16, torch.bfloat16):
        return "h2" if dtype == torch.float16 else "b2"
    kind = "u" if dtype in (torch.uint8, torch.bool) else "f" if dtype.is_floating_point else "i"
    return f"{kind}{dtype.itemsize}"


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
