"""The records of a run as rows: what each is, what it found, and the command that makes it again."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Record, Run, Samples
from .cases import has_interval, has_times, is_timed
from .commands import command

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
