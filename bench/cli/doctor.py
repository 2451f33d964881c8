"""`mohge doctor`: what this machine can do, why not more, and what would help."""

from __future__ import annotations

from ..runner.abilities import abilities, machine
from .output import JsonOption, console, table, write_json


def doctor(json: JsonOption = None) -> None:
    """Say what this machine can do, with the reason and the remedy for every "no".

    Example: mohge doctor --json -
    """
    facts, parts = machine(), abilities()
    result = {"machine": facts, "parts": [part.to_dict() for part in parts]}
    if write_json(json, result):
        return
    console.print(
        f"{facts['cores']} cores, {facts['memory_gib']} GiB memory, GPU: {facts['gpu'] or 'none'}", highlight=False
    )
    rows = [[part.part, part.mode, part.detail, part.remedy] for part in parts]
    table("", ["part", "here", "what that means", "remedy"], rows)
