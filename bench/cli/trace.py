"""`mohge trace`: watch a GPU while any program runs, with what watching costs."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..telemetry import (
    LIVE,
    METRICS,
    TRACE_NAME,
    Sampler,
    Trace,
    make_source,
    metric_mean,
    phase_means,
    read_trace,
    throttle_shares,
    window_energy,
)
from .output import JsonOption, check_json, console, table, write_json

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_SCALES = {"share": (100.0, "%", ".1f"), "bytes": (2**-30, "GiB", ".2f")}


def trace(
    command: Annotated[
        list[str] | None, typer.Argument(help="The program and its arguments, after --.", show_default=False)
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            metavar="nvml|FILE",
            help="nvml, or a trace file to play in its place; without COMMAND, the trace file to show.",
        ),
    ] = LIVE,
    gpu: Annotated[
        str | None, typer.Option(help="Index as in nvidia-smi, or UUID; otherwise CUDA_VISIBLE_DEVICES decides.")
    ] = None,
    period: Annotated[float, typer.Option(help="Seconds between readings.")] = 0.1,
    out: Annotated[Path, typer.Option(help="The trace file, which must not exist yet.")] = Path(TRACE_NAME),
    cost: Annotated[
        bool, typer.Option("--cost", help="Measure what sampling costs, on a matmul, instead of tracing a program.")
    ] = False,
    json: JsonOption = None,
) -> int:
    """Trace a program: utilization, tensor pipe, memory, power, clocks, and the cost of sampling. Changes no setting.

    The exit code is the program's own (128 + N when signal N ended it), 2 when it could not be traced. Ctrl-C goes to
    the program; the trace is kept.

    Example: mohge trace --out serve.jsonl -- python serve.py --batch 64
    """
    check_json(json)
    if cost:
        if command:
            raise ValueError("--cost measures on a matmul of its own: expected no COMMAND with it")
        return _cost(source, gpu, period, json)
    if not command:
        if source == LIVE:
            raise ValueError("expected a program to trace after --, or a trace file with --source to show")
        _show(read_trace(source), None, json)
        return 0
    if shutil.which(command[0]) is None:
        raise ValueError(f"expected a program that can be run, got {command[0]!r}")
    _check_out(out)
    make_source(source, gpu)
    sampler = Sampler(out, source, gpu, period)
    sampler.before()
    with contextlib.ExitStack() as stack:
        stack.callback(sampler.after)
        with sampler.mark("program", Path(command[0]).name):
            code = _run(command)
    seen = sampler.results()
    _show(seen, code, json)
    console.print(f"trace: {out}", highlight=False, soft_wrap=True)
    return code


def _check_out(out: Path) -> None:
    if out.exists():
        raise ValueError(f"--out {out}: exists; name another file, traces are never overwritten")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: its folder does not exist")


def _run(command: list[str]) -> int:
    """Run the program in the foreground and return its exit code, as a shell would give it."""
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        raise ValueError(f"{command[0]}: cannot be run: {error.strerror}") from error
    with _passing_on(process):
        code = process.wait()
    return 128 - code if code < 0 else code


@contextlib.contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave Ctrl-C to the program, which the terminal sends it too, and hand it the signals that only we get."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[signal.Signals, Any] = {signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None)}
    for number in _SIGNALS:
        previous[number] = signal.signal(number, lambda got, _: process.send_signal(got))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _show(seen: Trace, code: int | None, json: str | None) -> None:
    result = _result(seen, code)
    if write_json(json, result):
        return
    device = seen.header.device
    label = "" if seen.header.source == LIVE else f", {seen.header.source} readings"
    rows = [_row(name, row) for name, row in result["metrics"].items()]
    heading = f"{device.get('name', 'device')}, {result['seconds']:.1f} s{label}"
    console.print(heading, highlight=False, soft_wrap=True, markup=False)
    table(
        "",
        ["metric", "mean", "95 % interval", "max", "unit", "readings"],
        rows,
        right=("mean", "95 % interval", "max", "readings"),
    )
    for line in _lines(result):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _result(seen: Trace, code: int | None) -> dict[str, Any]:
    """The table as JSON types: metrics in their own units."""
    times = seen.table.times
    windows = seen.windows("program")
    begin = windows[0][0].t if windows else float(times[0]) if len(times) else 0.0
    end = windows[-1][1] if windows else float(times[-1]) if len(times) else 0.0
    metrics = {}
    for name, metric in METRICS.items():
        mean = metric_mean(seen, name, begin, end) if metric.kind != "counter" and name != "throttle" else None
        if mean is not None:
            highest = max(seen.series(name, begin, end)[1])
            row = {"mean": mean.value, "low": mean.low, "high": mean.high, "max": highest}
            metrics[name] = {**row, "unit": metric.unit, "readings": mean.count, "effective": mean.effective}
    energy = window_energy(seen, begin, end)
    phases = [
        {"lane": mark.lane, "name": mark.name, **phase_means(seen, mark.t, until)} for mark, until in seen.windows()
    ]
    return {
        "exit_code": code,
        "source": seen.header.source,
        "device": seen.header.device,
        "seconds": end - begin,
        "metrics": metrics,
        "energy": None if energy is None else asdict(energy),
        "throttle": throttle_shares(seen, begin, end),
        "unavailable": seen.header.unavailable,
        "cost": [{"core_share": c.core_share, "read_us": c.read_us, "late_s": c.late_s} for c in seen.costs],
        "end": seen.end,
        "phases": phases,
    }


def _row(name: str, row: dict[str, Any]) -> list[str]:
    scale, unit, digits = _SCALES.get(row["unit"], (1.0, row["unit"], ".0f"))

    def text(value: float) -> str:
        return format(value * scale, digits)

    interval = "" if row["low"] is None else f"{text(row['low'])} to {text(row['high'])}"
    return [name, text(row["mean"]), interval, text(row["max"]), unit, str(row["readings"])]


def _lines(result: dict[str, Any]) -> list[str]:
    lines = []
    energy = result["energy"]
    if energy is not None:
        bounds = "" if energy["low"] is None else f" ({energy['low']:.0f} to {energy['high']:.0f})"
        lines.append(f"energy: {energy['joules']:.0f} J{bounds}, from {energy['source']}")
    if result["throttle"]:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in result["throttle"].items())
        lines.append(f"clocks held back: {shares} of the readings")
    for reason in dict.fromkeys(result["unavailable"].values()):
        names = [name for name, why in result["unavailable"].items() if why == reason]
        lines.append(f"not available: {', '.join(names)}: {reason}")
    lines += [
        f"cost of sampling: {cost['core_share']:.2%} of a core, {cost['read_us']:.0f} µs a reading"
        for cost in result["cost"]
    ]
    if result["end"] not in ("", "stopped"):
        lines.append(f"sampling ended early: {result['end']}")
    return lines


def _cost(source: str, gpu: str | None, period: float, json: str | None) -> int:
    from ..telemetry.cost import measure_cost

    make_source(source, gpu)
    console.print("measuring the cost of sampling; this takes about half a minute", highlight=False, style="dim")
    found = measure_cost(source, gpu, period_s=period)
    if write_json(json, found.to_dict()):
        return 0
    told = "" if found.source == LIVE else f" ({found.source} source: no NVML call is in it)"
    watching = f"{found.core_share:.2%} of a core, {found.read_us:.0f} µs a reading"
    interval = f"{found.slowdown_low:+.2%} to {found.slowdown_high:+.2%}, 95 %"
    work = f"{found.device}, {found.pairs} pairs of {found.seconds:g} s"
    for line in (
        f"sampling every {found.period_s:g} s{told}: {watching}",
        f"calls take {found.slowdown:+.2%} longer ({interval}) on {work}",
    ):
        console.print(line, highlight=False, soft_wrap=True)
    return 0
