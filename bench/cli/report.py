"""`mohge report`: draw the report of a run, finished or interrupted, or of several runs together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..records import load_runs
from .output import JsonOption, check_json, console, write_json


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs, or their run.json.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "--out",
            "-o",
            help="Default: report.html beside run.json; for several runs report-of-N-runs.html here.",
        ),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Write the HTML report of a run, or one of several: of one machine over time, of different ones side by side.

    An interrupted run is drawn as far as it got.

    Example: mohge report runs/20260101-120000-run runs/20260102-120000-run -o both.html
    """
    check_json(json)
    loaded = load_runs(runs)
    if len(loaded) == 1:
        from ..report.page import write_report

        (item,) = loaded
        path = output or (runs[0] if runs[0].is_dir() else runs[0].parent) / "report.html"
        write_report(item.run, path, item.folder)
    else:
        from ..report.page_several import write_several

        path = output or Path(f"report-of-{len(loaded)}-runs.html")
        write_several(loaded, path)
    records = sum(len(item.run.records) for item in loaded)
    if not write_json(json, {"report": str(path), "runs": [item.label for item in loaded], "records": records}):
        console.print(f"report: {path}", highlight=False, soft_wrap=True)
