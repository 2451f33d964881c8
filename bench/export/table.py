"""CSV: a row for every record, or one for every sample. An empty cell is a value that is not known."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..records import CaseRecord, LabelledRun, Record, Run, Samples, Status
from ..report.formats import is_number

# The order of a served layer; phases with other names follow as they come.
_PHASES = ("route", "plan", "permute", "gemm1", "gemm2", "combine", "shared", "end_to_end")
_TELEMETRY = (
    *("source", "window_s", "samples", "calls", "utilization", "sm", "occupancy", "tensor", "dram", "power_w"),
    *("energy_j", "joule_per_token", "tflop_per_joule", "sm_mhz", "temperature_c", "memory_bytes", "trace"),
)
_NO_RECORDS = "this run holds no records"
Cells = dict[str, Any]


def records_csv(runs: Sequence[LabelledRun]) -> Iterator[str]:
    """A row for every record of every run; a run without records has one row, not_run, that says so."""
    phases = _phases(runs)
    rows = (row for item in runs for row in _run_rows(item, phases))
    return _lines(list(_record_cells(None, phases)) + list(_RUN_COLUMNS), rows)


def samples_csv(runs: Sequence[LabelledRun]) -> Iterator[str]:
    """A row for every sample in the order taken. `record` numbers a run's records from 0, as the run file has them."""
    rows = (row for item in runs for row in _sample_rows(item))
    return _lines(("run", "record", *_sample_cells(None)), rows)


def _run_rows(item: LabelledRun, phases: Sequence[str]) -> Iterator[Cells]:
    about = _run_cells(item.run)
    for record in item.run.records:
        yield {**_record_cells(record, phases), **about, "run": item.label}
    if not item.run.records:
        yield {"run": item.label, "status": str(Status.NOT_RUN), "reason": _NO_RECORDS, **about}


def _phases(runs: Sequence[LabelledRun]) -> list[str]:
    met = dict.fromkeys(name for item in runs for record in item.run.records for name in record.phases)
    return [*_PHASES, *(name for name in met if name not in _PHASES)]


def _record_cells(record: Record | None, phases: Sequence[str]) -> Cells:
    """A record's cells; of None, the columns."""
    error = record and record.error
    speedup = record and record.speedup
    hot = record and record.hot
    executed = record and record.executed_flops
    moved = record and record.bytes
    cells: Cells = {"run": None}
    cells |= {name: record and str(getattr(record, name)) for name in ("implementation", "provenance", "status")}
    cells |= {"reason": record and record.reason, **_case_cells(record and record.case)}
    cells |= _samples_cells("hot", hot) | _samples_cells("cold", record and record.cold)
    cells |= {
        "useful_tflops": record and record.tflops,
        "executed_tflops": _rate(executed, hot, 1e-6),
        "gb_per_s": _rate(moved, hot, 1e-3),
        "share_of_roof": record and record.share_of_roof,
        "speedup_over": speedup and speedup.baseline,
        "speedup": speedup and speedup.ratio,
        "speedup_low": speedup and speedup.low,
        "speedup_high": speedup and speedup.high,
        "useful_flops": record and record.useful_flops,
        "executed_flops": executed,
        "bytes": moved,
        "error_relative": error and error.relative,
        "error_worst": error and error.worst,
        "error_checked": error and error.checked,
    }
    for name in phases:
        part = record and record.phases.get(name)
        ends = {"median": part and part.median_us, "low": part and part.low_us, "high": part and part.high_us}
        cells |= {f"{name}_{end}_us": value for end, value in ends.items()}
    seen = record and record.telemetry
    cells |= {f"telemetry_{name}": seen and getattr(seen, name) for name in _TELEMETRY}
    return cells


def _case_cells(case: CaseRecord | None) -> Cells:
    names = ("spec", "tokens", "routing", "dtype", "device", "seed", "step")
    layer: Mapping[str, Any] = case.layer if case else {}
    widths = layer.get("widths")
    return {
        "case": case and case.id,
        **{name: case and getattr(case, name) for name in names},
        "hidden": layer.get("hidden"),
        "widths": " ".join(map(str, widths)) if isinstance(widths, list | tuple) else widths,
        **{name: layer.get(name) for name in ("experts_per_group", "top_k", "top_groups", "shared_width")},
    }


def _samples_cells(name: str, samples: Samples | None) -> Cells:
    return {
        f"{name}_median_us": samples and samples.median_us,
        f"{name}_low_us": samples and samples.low_us,
        f"{name}_high_us": samples and samples.high_us,
        f"{name}_samples": samples and len(samples.samples_us),
        f"{name}_suspects": samples and len(samples.suspects),
        f"{name}_timer": samples and samples.timer,
        f"{name}_method": samples and samples.method,
        f"{name}_stop": samples and samples.stop,
    }


def _rate(amount: int | None, hot: Samples | None, scale: float) -> float | None:
    known = hot is not None and is_number(hot.median_us) and hot.median_us > 0 and is_number(amount)
    return amount / hot.median_us * scale if known and hot is not None and amount is not None else None


_RUN_COLUMNS = (
    *("name", "command", "started", "finished", "git_revision", "git_dirty", "source_hash", "schema"),
    *("gpu", "gpu_uuid", "driver", "cuda", "cpu", "cpu_cores", "cpu_threads", "python", "platform"),
    *("torch", "triton", "cupy", "numba_cuda", "roof_matmul_tflops", "roof_copy_tbps"),
)


def _run_cells(run: Run) -> Cells:
    environment, git = run.environment, run.git
    gpu, cpu, libraries, roof = environment.gpu or {}, environment.cpu, environment.libraries, environment.roof
    cupy = (version for name, version in libraries.items() if name.startswith("cupy"))
    values = (
        *(run.name, shlex.join(run.command), run.started, run.finished),
        *(git and git.revision, git and git.dirty, run.source_hash, run.schema),
        *(gpu.get(name) for name in ("name", "uuid", "driver", "cuda")),
        *(cpu.get(name) for name in ("model", "cores", "threads")),
        *(environment.python, environment.platform),
        *(libraries.get("torch"), libraries.get("triton"), next(cupy, None), libraries.get("numba-cuda")),
        " ".join(f"{dtype}={rate!r}" for dtype, rate in roof.matmul_tflops.items()) if roof else None,
        roof and roof.copy_tbps,
    )
    return dict(zip(_RUN_COLUMNS, values, strict=True))


def _sample_rows(item: LabelledRun) -> Iterator[Cells]:
    for number, record in enumerate(item.run.records):
        series = {"hot": record.hot, "cold": record.cold}
        series |= {f"phases:{name}": part for name, part in record.phases.items()}
        about = {"run": item.label, "record": number, **_sample_cells(record)}
        for which, samples in series.items():
            if samples is None:
                continue
            suspects = set(samples.suspects)
            for place, time in enumerate(samples.samples_us):
                sample = {"sample": place, "time_us": time, "suspect": place in suspects}
                yield {**about, "which": which, "timer": samples.timer, **sample}


def _sample_cells(record: Record | None) -> Cells:
    case = record and record.case
    return {
        "implementation": record and record.implementation,
        "provenance": record and str(record.provenance),
        "case": case and case.id,
        **{name: case and getattr(case, name) for name in ("spec", "tokens", "routing", "dtype", "device")},
        **dict.fromkeys(("which", "timer", "sample", "time_us", "suspect")),
    }


def _lines(columns: Sequence[str], rows: Iterable[Cells]) -> Iterator[str]:
    """The header and the rows as text, one line each (more where a text has line breaks: it is then in quotes)."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        yield _taken(buffer)
        writer.writerow([_cell(row.get(name)) for name in columns])
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if is_number(value) else ""
    return "" if value is None else str(value)
