"""Solve what is left of a study and write it to its run, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import Any

from ..records import Run, RunWriter
from .batches import batches_of, solve_batch
from .pools import results
from .study import Study, Wanted

NOTE = "what_if"  # the run's note that says what was asked


def notes_of(study: Study) -> dict[str, Any]:
    """What a run says of its study: what was asked, where seconds are from, and the digest of the files read."""
    about = {"scenarios": len(study.scenarios), "digest": study.digest, **study.notes}
    return {NOTE: {"wanted": asdict(study.wanted), **about}}


def wanted_of(run: Run) -> tuple[Wanted, str]:
    """What a run was asked, and its digest. Raises ValueError for a run of something else."""
    note = run.notes.get(NOTE)
    if not isinstance(note, dict) or "wanted" not in note:
        raise ValueError("expected a run of mohge what-if, got another")
    try:
        return Wanted(**note["wanted"]), str(note.get("digest", ""))
    except TypeError as error:
        raise ValueError(f"notes.{NOTE}: expected what mohge what-if writes: {error}") from error


def run_study(
    study: Study,
    writer: RunWriter,
    done: frozenset[str] = frozenset(),
    *,
    workers: int = 1,
    dask: str | None = None,
    on_batch: Callable[[int], None] = lambda _: None,
) -> None:
    """Solve the scenarios whose ids are not among those done; `on_batch` is told how many more are on the disk.

    Every batch is on the disk before the next is told. Raises ValueError as `results` and `RunWriter` do.
    """
    with closing(results(solve_batch, batches_of(study, done), workers, dask)) as solved:  # type: ignore[type-var]
        for records in solved:
            writer.add_what_if(records)
            on_batch(len(records))
