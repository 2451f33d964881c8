"""Recorded loads: rows routed to every expert, one line per domain and layer, from a CSV file of counts."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .checks import read_text


@dataclass(frozen=True)
class Loads:
    """Rows routed to every expert of one layer while it read one domain's text: counts int64[E]."""

    domain: str
    layer: int
    counts: NDArray[np.int64]


def read_loads(path: str | Path, experts: int | None = None) -> list[Loads]:
    """Read a CSV whose header is domain, layer, expert_0, expert_1, ... and whose cells are whole numbers.

    The column domain may be left out; all lines are then of the domain "all".
    Returns the lines in file order. Raises ValueError, naming file and line, for a file that cannot be read or has no
    lines, another header, a line of the wrong length, a negative, broken or all-zero count, a (domain, layer) told
    twice, and a number of experts other than `experts` where that is given.
    """
    path = Path(path)
    text = read_text(path, "CSV")
    try:
        return _parse(_lines(text), experts)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _lines(text: str) -> list[tuple[int, list[str]]]:
    """Line numbers from 1 and cells."""
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _parse(lines: list[tuple[int, list[str]]], experts: int | None) -> list[Loads]:
    if not lines:
        raise ValueError("line 1: expected the header domain, layer, expert_0, ..., got an empty file")
    width, domains = _check_header(lines[0][1], experts)
    loads: dict[tuple[str, int], Loads] = {}
    for number, cells in lines[1:]:
        if not cells:
            continue
        if len(cells) != domains + 1 + width:
            raise ValueError(f"line {number}: expected {domains + 1 + width} cells, got {len(cells)}")
        domain, layer = cells[0].strip() if domains else "all", _whole(cells[domains], "layer", number)
        if (domain, layer) in loads:
            raise ValueError(f"line {number}: {domain} layer {layer} was told before")
        counts = [_whole(cell, f"expert_{expert}", number) for expert, cell in enumerate(cells[domains + 1 :])]
        if not any(counts):
            raise ValueError(f"line {number}: expected at least one row for some expert, got only zeros")
        loads[domain, layer] = Loads(domain, layer, np.array(counts, dtype=np.int64))
    if not loads:
        raise ValueError(f"line {lines[0][0] + 1}: expected a line of counts, got the end of the file")
    return list(loads.values())


def _check_header(header: Sequence[str], experts: int | None) -> tuple[int, int]:
    """The number of experts the header promises, and of columns for the domain: 1, or 0 where it is left out."""
    names = [name.strip() for name in header]
    domains = 0 if names[:1] == ["layer"] else 1
    width = len(names) - domains - 1
    expected = [*["domain"] * domains, "layer", *(f"expert_{expert}" for expert in range(max(width, 1)))]
    if names != expected:
        place = next((at for at, name in enumerate(expected) if at >= len(names) or names[at] != name), 0)
        got = repr(names[place]) if place < len(names) else "nothing"
        raise ValueError(f"line 1: expected {expected[place]!r} in column {place + 1}, got {got}")
    if experts is not None and width != experts:
        raise ValueError(f"line 1: expected loads of {experts} experts, got {width}")
    return width, domains


def _whole(cell: str, name: str, line: int) -> int:
    text = cell.strip()
    # ASCII digits only: int() would also take "1_000" and a sign. 18 of them always fit int64.
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f"line {line}: {name}: expected a whole number of at least 0, got {cell!r}")
    return int(text)
