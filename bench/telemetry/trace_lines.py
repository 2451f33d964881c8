"""The lines of a trace file: those of readings in bulk, all others one by one.

A trace is readings of a few kinds over and over: lines that differ in their numbers alone. With its digits, dots and
signs taken out such a line is its kind, and of all lines of a kind the numbers are read as one JSON list. A trace of a
million readings of 13 metrics (244 MB, with 120 960 marks) takes 4.8 s and 0.4 GB so; line by line it took 15.1 s and
2.8 GB (one core of an AMD EPYC, no other load). Whatever does not fit (a header, a mark, a torn line, a number with an
exponent) is left to be read as JSON by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .readings import Floats

_PIECE = 8 * 2**20  # bytes read at once
_NUMBERS = b"0123456789.-"
_PLAIN = re.compile(rb'\{"[a-z0-9_]+":-?[0-9.]+(?:,"[a-z0-9_]+":-?[0-9.]+)*\}')
_NAME = re.compile(rb'"[a-z0-9_]+":')
_FEWEST = 8  # lines of a kind below which the detour does not pay
# Everything but numbers and what parts them becomes a blank: a number inside a name would make two of one, and no JSON.
_BLANKED = bytes(byte if byte in b"0123456789.-,\n" else 0x20 for byte in range(256))


@dataclass(frozen=True)
class Block:
    """Lines of one kind. numbers: int64[n], where in the file;  names: k;  values: float64[n, k], all finite."""

    numbers: NDArray[np.int64]
    names: tuple[str, ...]
    values: Floats


def sorted_lines(path: Path, start: int = 0) -> tuple[list[Block], list[tuple[int, bytes]]]:
    """The lines of plain readings as blocks, and every other line that is not blank with its number, counted from 1.

    start: the byte to begin at
    Raises OSError.
    """
    blocks: list[Block] = []
    others: list[tuple[int, bytes]] = []
    for first, lines in _pieces(path, start):
        kinds: dict[bytes, list[int]] = {}
        for place, kind in enumerate(b"\n".join(lines).translate(None, _NUMBERS).split(b"\n")):
            kinds.setdefault(kind, []).append(place)
        for places in kinds.values():
            chosen = lines if len(places) == len(lines) else [lines[place] for place in places]
            found = _numbers(chosen) if len(places) >= _FEWEST else None
            if found is None:
                others += [(first + place, lines[place]) for place in places if lines[place].strip()]
            else:
                blocks.append(Block(first + np.array(places, np.int64), *found))
    return blocks, sorted(others)


def _pieces(path: Path, start: int) -> Iterator[tuple[int, list[bytes]]]:
    """The file's lines, many at once, with the number of the first."""
    number, rest = 1, b""
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(_PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            if lines:
                yield number, lines
            number += len(lines)
    if rest:
        yield number, [rest]


def _numbers(lines: list[bytes]) -> tuple[tuple[str, ...], Floats] | None:
    """Names and float64[n, k] of lines of one kind; None where they are no plain readings."""
    if _PLAIN.fullmatch(lines[0]) is None:
        return None
    names = [name[1:-2] for name in _NAME.findall(lines[0])]
    if len(set(names)) < len(names) or b"t" not in names:
        return None
    text = b",".join(lines)
    for name in names:
        if name.translate(None, _NUMBERS) != name:
            text = text.replace(b'"%b":' % name, b" ")
    try:
        values = np.array(json.loads(b"[%b]" % text.translate(_BLANKED)), np.float64).reshape(len(lines), len(names))
    except (ValueError, OverflowError):  # a number that is none in JSON, or above what a float can hold
        return None
    return (tuple(name.decode() for name in names), values) if np.isfinite(values).all() else None
