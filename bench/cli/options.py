"""Options that several subcommands share, and how their text becomes values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...reference import PRESETS, LayerSpec
from ..timing import WAYS

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


def resolve_spec(text: str) -> LayerSpec:
    """A preset by name, or a spec from the TOML file at that path. Raises ValueError."""
    if text.endswith(".toml") or "/" in text or Path(text).is_file():
        return LayerSpec.from_toml(text)
    return LayerSpec.preset(text)
