"""The records of a run as rows: what each is, what it found, and the command that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ..records import Record, Run, Samples
from .cases import has_interval, has_times, is_measured, is_timed, scale_text

Cell = str | int | float | None
HEADER = (
    *("record", "implementation", "provenance", "status", "spec", "tokens", "routing", "dtype", "device"),
    *("seed", "step"),
    *("hot, µs", "low", "high", "samples", "cold, µs", "useful TFLOP/s", "of roof", "times padded_bmm"),
    *("useful FLOPs", "executed FLOPs", "relative error", "worst error", "reason", "command"),
)


def record_header(labels: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns; with the run's label first where there are several runs."""
    return ("run", *HEADER) if labels else HEADER


def record_rows(run: Run, label: str = "") -> list[tuple[Cell, ...]]:
    """A row for each record, in the order they were made; `label` first where there are several runs."""
    first = (label,) if label else ()
    return [(*first, place, *_facts(record), command(record, run)) for place, record in enumerate(run.records)]


def _facts(record: Record) -> tuple[Cell, ...]:
    case, error = record.case, record.error
    timed = is_timed(record)
    hot = record.hot if timed else None
    cold = record.cold if timed and has_times(record.cold) else None
    return (
        *(record.implementation, str(record.provenance), str(record.status).replace("_", " ")),
        *(case.spec, case.tokens, case.routing, case.dtype, case.device, case.seed, case.step),
        *(hot.median_us if hot else None, *_ends(hot), len(hot.samples_us) if hot else None),
        *(cold.median_us if cold else None, record.tflops if timed else None, record.share_of_roof if timed else None),
        *(record.speedup.ratio if record.speedup and timed else None, record.useful_flops, record.executed_flops),
        *(error.relative if error else None, error.worst if error else None, record.reason),
    )


def _ends(samples: Samples | None) -> tuple[float | None, float | None]:
    sure = samples is not None and has_interval(samples)
    return (samples.low_us, samples.high_us) if samples is not None and sure else (None, None)


def command(record: Record, run: Run) -> str:
    """The command that makes this record alone again or, where no options name its case, that of the whole run.

    A scaled-down layer is none that `mohge bench` knows by name, and a recorded routing is not named with its file.
    """
    case = record.case
    named = is_measured(record) and case.tokens and case.routing and not case.routing.startswith("trace")
    if not named or scale_text(case):
        return shlex.join(run.command)
    words = ["mohge", "bench", "--spec", case.spec, "--tokens", str(case.tokens), "--routing", str(case.routing)]
    words += ["--dtype", case.dtype] if case.dtype else []
    words += ["--device", case.device] if case.device else []
    words += ["--seed", str(case.seed)] if case.seed else []
    words += ["--step", str(case.step)] if case.step else []
    return shlex.join([*words, "--implementations", record.implementation])
