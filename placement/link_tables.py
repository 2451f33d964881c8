"""Link tables from CSV files: our own two columns, NCCL collectives, and DeepEP's normal and low-latency kernels."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from .checks import read_text
from .links import Link, table_link

# A DeepEP dispatch sends FP8: a byte a value, and a 4-byte scale for every 128 (+ 16 bytes a row in low-latency
# kernels); a combine sends two bytes a value. The low-latency file's own bandwidth column is this very count; the
# normal file has none, and with two bytes its dispatch would be faster than NVLink.
FP8_BYTES = 1 + 4 / 128
BF16_BYTES = 2
LOW_LATENCY_HEADER = 16


def read_link(path: str | Path, name: str | None = None) -> Link:
    """A user's own table: columns `bytes` (most that one rank sends to others) and `us`. Raises ValueError."""
    lines = _read(path, ("bytes", "us"))
    return _table(
        name or Path(path).stem,
        [(_number(line, "bytes", path), _number(line, "us", path) * 1e-6) for line in lines],
        str(Path(path).name),
    )


def read_nccl_link(path: str | Path, gpus: int, op: str = "alltoall") -> Link:
    """NCCL collectives: columns op, dtype (half, int8), gpus, elements, latency_ms.

    `elements` fill the buffer of one rank, of which all but its own part, (gpus - 1)/gpus, leaves it. Raises ValueError
    for a file that cannot be read and when it has no such collective.
    """
    widths = {"half": 2, "int8": 1}
    points = []
    for line in _read(path, ("op", "dtype", "gpus", "elements", "latency_ms")):
        if line["op"] == op and _number(line, "gpus", path) == gpus and line["dtype"] in widths:
            held = _number(line, "elements", path) * widths[line["dtype"]]
            points.append((held * (gpus - 1) / gpus, _number(line, "latency_ms", path) * 1e-3))
    if not points:
        raise ValueError(f"{path}: expected {op} on {gpus} GPUs, got none")
    return _table(f"nccl-{op}-{gpus}", points, f"{Path(path).name}: NCCL {op} on {gpus} GPUs")


def read_deepep_link(
    path: str | Path,
    phase: str,
    *,
    hidden: int,
    top_k: int,
    experts: int,
    nodes: int = 1,
    ranks_per_node: int = 8,
) -> Link:
    """DeepEP's kernels, `phase` "dispatch" or "combine"; whether they are normal or low-latency, the header says.

    Taken from the measured configuration nearest to hidden, top_k and experts (the link's source names it), on `nodes`
    nodes. The files' routing is uniformly random, so a normal kernel sends each token to D - D/P other ranks, with
    D = P (1 - C(E - E/P, K) / C(E, K)), and a low-latency one K (P - 1) / P rows. Of several numbers of SMs the
    quickest counts. Raises ValueError.
    """
    if phase not in ("dispatch", "combine"):
        raise ValueError(f"phase: expected dispatch or combine, got {phase!r}")
    lines = _read(path, ("node_num", "hidden_size", "num_token", "num_topk", "num_experts"))
    low_latency = "dispatch_avg_t_us" in lines[0]
    column = f"{phase}_avg_t_us" if low_latency else f"{phase}_transmit_us"
    lines = [line for line in lines if _number(line, "node_num", path) == nodes]
    if not lines:
        raise ValueError(f"{path}: expected exchanges on {nodes} nodes, got none")

    def shape(line: dict[str, str]) -> tuple[int, int, int]:
        hidden_size, topk, count = (_number(line, name, path) for name in ("hidden_size", "num_topk", "num_experts"))
        return int(hidden_size), int(topk), int(count)

    asked = (hidden, top_k, experts)
    nearest = min(
        {shape(line) for line in lines},
        key=lambda had: (sum(abs(math.log(a / b)) for a, b in zip(had, asked, strict=True)), had),
    )
    a_token = _bytes_a_token(*nearest, nodes * ranks_per_node, phase, low_latency)
    quickest: dict[float, float] = {}
    for line in lines:
        if shape(line) == nearest:
            tokens, took = _number(line, "num_token", path), _number(line, column, path) * 1e-6
            quickest[tokens * a_token] = min(took, quickest.get(tokens * a_token, math.inf))
    kind = "low-latency" if low_latency else "normal"
    had = f"hidden {nearest[0]}, top {nearest[1]} of {nearest[2]}"
    return _table(
        f"deepep-{kind}-{phase}",
        list(quickest.items()),
        f"{Path(path).name}: DeepEP {kind} {phase} on {nodes} x {ranks_per_node} GPUs at {had}",
    )


def _bytes_a_token(hidden: int, top_k: int, experts: int, ranks: int, phase: str, low_latency: bool) -> float:
    """Bytes that leave a rank for each of its tokens."""
    value = FP8_BYTES if phase == "dispatch" else BF16_BYTES
    if low_latency:
        header = LOW_LATENCY_HEADER if phase == "dispatch" else 0
        return top_k * (hidden * value + header) * (ranks - 1) / ranks
    missed = math.comb(experts - experts // ranks, top_k) / math.comb(experts, top_k)
    return (ranks - 1) * (1 - missed) * hidden * value


def _table(name: str, points: list[tuple[float, float]], source: str) -> Link:
    sizes, seconds = zip(*points, strict=True)
    return table_link(name, sizes, seconds, source)


def _read(path: str | Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    text = read_text(Path(path), "CSV")
    lines = list(csv.DictReader(text.splitlines()))
    if not lines:
        raise ValueError(f"{path}: expected a header and at least one line, got {len(text.splitlines())} lines")
    missing = [column for column in columns if column not in lines[0]]
    if missing:
        raise ValueError(f"{path}: expected the columns {', '.join(columns)}, got none called {missing[0]!r}")
    return lines


def _number(line: dict[str, str], column: str, path: str | Path) -> float:
    try:
        return float(line[column])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: {column}: expected a number, got {line.get(column)!r}") from None
