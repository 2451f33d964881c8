"""Options that several subcommands share, and how their text becomes values."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from ...reference import PRESETS
from ..timing import WAYS
from ..workloads import resolve_spec

SpecOption = Annotated[
    str, typer.Option("--spec", help=f"A preset ({', '.join(PRESETS)}) or a TOML file with the fields of a spec.")
]
TimerOption = Annotated[
    str, typer.Option("--timer", help=f"How calls are timed: {', '.join(WAYS)}; auto is cpu on a CPU, events on a GPU.")
]

TelemetryOption = Annotated[
    str,
    typer.Option(
        "--telemetry",
        metavar="auto|off|SECONDS|FILE",
        help="Replay under NVML after timing: auto, 3 s on the largest case of each spec; SECONDS, that long on every "
        "case; FILE, a recorded trace in NVML's place.",
    ),
]

__all__ = [
    "SpecOption",
    "TelemetryOption",
    "TimerOption",
    "check_only_resuming",
    "check_trace_choice",
    "resolve_spec",
]


def check_trace_choice(trace: Path | None, domain: str | None, layer: int | None) -> None:
    """Raise ValueError for --domain or --layer without the trace they choose from."""
    if trace is None and (domain is not None or layer is not None):
        raise ValueError("--domain and --layer choose what to take of --trace, and none was given")


def check_only_resuming(context: typer.Context, beside: Collection[str]) -> None:
    """Raise ValueError when the command line says what to do beside --resume: the run has its own plan.

    beside: the parameters that may stand there: how to show and to go on
    """
    given = [
        name
        for name in context.params
        if name not in beside and getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        raise ValueError(f"--resume: expected no other choice of what to do, the run has its own, got {options}")
