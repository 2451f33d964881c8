"""The options of `mohge place` for ranks and policies, and how their text becomes values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

ReplicasOption = Annotated[
    int, typer.Option(help="Spare copies beyond one of each expert, never two of an expert on a rank.")
]
SlotsOption = Annotated[
    str, typer.Option(metavar="even|any|N,N,...", help="Copies on a rank: even, any number, or one number per rank.")
]
SpeedsOption = Annotated[
    str | None,
    typer.Option(metavar="S,S,...", help="How fast each rank is, for example 1,1,1,0.5; alike if not given."),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(metavar="BYTES", help="Most bytes of experts on a rank, as 512MiB or 1.5GB; one, or one per rank."),
]
NodesOption = Annotated[int, typer.Option(help="Nodes the ranks lie on; eplb keeps groups on one where it can.")]
ByOption = Annotated[
    str | None, typer.Option(metavar="work|rows", help="What to balance; eplb counts rows if not told, others work.")
]
SwapsOption = Annotated[
    bool, typer.Option("--swaps", help="lpt: swap and move experts afterwards, as long as it helps.")
]
ModeOption = Annotated[str | None, typer.Option(help="eplb: auto, hierarchical or global.")]
SolverOption = Annotated[str | None, typer.Option(help="exact: highs, or cp-sat (pip install 'mohge[solvers]').")]
LimitOption = Annotated[float | None, typer.Option(metavar="SECONDS", help="exact: how long it may search; 10.")]

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "B": 1}


def problem_options(
    replicas: int, slots: str, speeds: str | None, memory_cap: str | None, nodes: int
) -> dict[str, Any]:
    """Options of `mohge.placement.make_problem` from the words of the command line. Raises ValueError."""
    options: dict[str, Any] = {"replicas": replicas, "nodes": nodes}
    options["slots"] = slots if slots in ("even", "any") else _numbers("--slots", slots, _whole)
    if speeds is not None:
        options["speeds"] = _numbers("--speeds", speeds, float)
    if memory_cap is not None:
        caps = _numbers("--memory-cap", memory_cap, _bytes)
        options["memory_cap"] = caps if len(caps) > 1 else caps[0]
    return options


def _numbers(option: str, text: str, number: Callable[[str], Any]) -> list[Any]:
    try:
        return [number(part.strip()) for part in text.split(",")]
    except ValueError as error:
        detail = f" ({error})" if number is not float else ""
        raise ValueError(f"{option}: expected numbers with commas between, got {text!r}{detail}") from None


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _bytes(text: str) -> float:
    found = re.fullmatch(r"([0-9.]+)\s*([a-z]*)", text, re.IGNORECASE)
    if not found or found[2].upper() not in _UNITS:
        raise ValueError(f"{text!r} is not a number of bytes, KB, MB, GB, KiB, MiB or GiB")
    return float(found[1]) * _UNITS[found[2].upper()]
