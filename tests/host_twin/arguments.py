"""What a launch on the host twin is given: copies of its tensors with room around them, and whether arguments fit."""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mohge.dispatch.cuda.engine import Argument, TensorMap, pack_argument

GUARD_BYTES = 1 << 18  # more than a tile of rows: what a kernel writes past a tensor must not reach another one
TENSOR_MAP_BYTES = 128


class HostFaultError(RuntimeError):
    """A kernel did what it must not. `kind`: race, unwritten, in_flight, out_of_bounds, misaligned, read_only, barrier,
    collective, proxy, dependency, overflow, stack or launch."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Buffer(ctypes.Structure):
    _fields_ = (
        ("begin", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
        ("writable", ctypes.c_int),
        ("settled", ctypes.c_int),
        ("argument", ctypes.c_int),
    )


@dataclass
class Stream:
    """What an engine knows of its last launch: the bytes it may have written, as (begin, end), and whether it let the
    next grid start before it had waited for the one before. What torch does between two launches nobody sees here.
    """

    written: list[tuple[int, int]] = field(default_factory=list)
    hasty: bool = False


class Memory:
    """Every tensor argument in a copy of its own with room on both sides, so that no wrong index meets a neighbour."""

    def __init__(self, signature: Sequence[str], args: Sequence[Argument], settled: Sequence[int]) -> None:
        self._copies: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor, bool]] = {}
        self._values: list[np.ndarray[Any, Any]] = []
        buffers: list[Buffer] = []
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
            buffers.append(Buffer(begin, len(copy) - 2 * GUARD_BYTES, writable, number in settled, number))
        # A tensor given twice is one buffer; it may be written when any of its parameters may, read early when all may.
        writable = {buffer.begin for buffer in buffers if buffer.writable}
        unsettled = {buffer.begin for buffer in buffers if not buffer.settled}
        unique = {buffer.begin: buffer for buffer in buffers}
        for begin, buffer in unique.items():
            buffer.writable = begin in writable
            buffer.settled = begin not in unsettled
        self.buffers = (Buffer * len(unique))(*unique.values())
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


def check_settled(name: str, arguments: Sequence[Argument], stream: Stream) -> None:
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


def check_argument(name: str, number: int, code: str, argument: Argument) -> None:
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
