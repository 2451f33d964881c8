"""Several runs at once: each with a short name that tells it from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .reading import FILE_NAME, load_run, run_path
from .schema import Run


@dataclass(frozen=True)
class LabelledRun:
    """A run, the name it goes by among the others, and the folder it lies in, where its traces are."""

    label: str
    run: Run
    folder: Path


def load_runs(paths: Sequence[str | Path]) -> list[LabelledRun]:
    """The runs in these folders or files, in this order. Raises ValueError: for one given twice, and as `load_run`."""
    files = [run_path(path).resolve() for path in paths]
    twice = next((file for index, file in enumerate(files) if file in files[:index]), None)
    if twice is not None:
        raise ValueError(f"runs: expected different runs, got {twice} twice")
    return [
        LabelledRun(label, load_run(file), file.parent) for label, file in zip(run_labels(files), files, strict=True)
    ]


def run_labels(files: Sequence[Path]) -> list[str]:
    """A name for each of these different run files: its folder's, with as many of those above as tell all apart."""
    parts = [(file.parent if file.name == FILE_NAME else file.with_suffix("")).parts for file in files]
    deepest = max((len(names) for names in parts), default=1)
    for count in range(1, deepest + 1):
        labels = [Path(*names[-count:]).as_posix() for names in parts]
        if len(set(labels)) == len(labels):
            return labels
    return [str(file) for file in files]
