"""`mohge report`: draw the report of a run, finished or interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..records import load_run, run_path
from .output import JsonOption, console, write_json


def report(
    run: Annotated[Path, typer.Argument(help="A run's folder or its run.json.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: report.html beside run.json.")] = None,
    json: JsonOption = None,
) -> None:
    """Write the HTML report of a run; an interrupted run is drawn as far as it got.

    Example: mohge report runs/20260101-120000-run -o report.html
    """
    loaded = load_run(run)
    from ..report.page import write_report

    folder = run_path(run).parent
    path = output or folder / "report.html"
    write_report(loaded, path, folder)
    if not write_json(json, {"report": str(path), "records": len(loaded.records)}):
        console.print(f"report: {path}", highlight=False, soft_wrap=True)
