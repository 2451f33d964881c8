"""Solve what is left of a study and write it to its run, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from ..records import Run, RunWriter, TransferRecord, WhatIfRecord, load_run
from .batches import Batch, batches_of, solve_batch
from .chosen import steps_of
from .pools import results
from .study import Study, Wanted
from .transfers import Key, Plan, key_of, plans_of, scored

NOTE = "what_if"  # the run's note that says what was asked


@dataclass(frozen=True)
class Done:
    """What a run has already: ids of scenarios, and keys of plans scored elsewhere."""

    scenarios: frozenset[str] = frozenset()
    transfers: frozenset[Key] = frozenset()

    @classmethod
    def of(cls, run: Run) -> Done:
        """What `run` has."""
        return cls(frozenset(record.id for record in run.what_if), frozenset(map(key_of, run.transfers)))


NOTHING = Done()


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
    done: Done = NOTHING,
    *,
    workers: int = 1,
    dask: str | None = None,
    on_batch: Callable[[int], None] = lambda _: None,
) -> None:
    """Solve what is not done; `on_batch` is told how many more scenarios, or plans scored elsewhere, are on the disk.

    Every batch is on the disk before the next is told. Raises ValueError as `results` and `RunWriter` do.
    """
    tasks = [*batches_of(study, done.scenarios), *plans_of(study, done.transfers)]
    with closing(results(_work, tasks, workers, dask)) as worked:  # type: ignore[type-var]
        for records, transfers in worked:
            writer.add_what_if(records, transfers)
            on_batch(len(records) + len(transfers))
    keep_steps(study, writer)


def keep_steps(study: Study, writer: RunWriter) -> None:
    """Keep the steps of a few scenarios in full, as far as the run does not have them."""
    run = load_run(writer.path)
    steps = steps_of(study, run.what_if, {step.id for step in run.steps})
    if steps:
        writer.add_steps(steps)


def size_of(study: Study, done: Done = NOTHING) -> int:
    """How many scenarios and plans scored elsewhere are left."""
    return len(study.scenarios) - len(done.scenarios) + len(plans_of(study, done.transfers))


def _work(task: Batch | Plan) -> tuple[list[WhatIfRecord], list[TransferRecord]]:
    return (solve_batch(task), []) if isinstance(task, Batch) else ([], [scored(task)])
