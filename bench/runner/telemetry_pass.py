"""Pass B: after a case is timed, each implementation is replayed for seconds under a sampler. No times come from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...kernels import Layer
from ...reference import expert_flops
from ..records import Telemetry
from ..telemetry import (
    LIVE,
    PHASE_S,
    RISE_S,
    SHORTEST_S,
    TRACE_NAME,
    CpuDevice,
    CudaDevice,
    NvmlSource,
    Sampler,
    UnavailableError,
    Window,
    boot_id,
    read_trace,
    replay_phases,
    summarize,
    sustained_replay,
    torch_uuid,
)
from ..workloads import Case
from .blame import Blame
from .jobs import Job, TelemetryPlan

if TYPE_CHECKING:
    import torch

    from ...dispatch import DispatchPlan

PHASES_MOST = 5  # of an implementation, for the estimate of how long the pass takes
_ALIVE_EVERY_S = 0.25  # a user's --timeout may be as short as a second
Call = Callable[[], Any]


def plan_telemetry(option: str, jobs: Sequence[Job]) -> tuple[list[Job], str]:
    """The jobs with their second pass, and a line that says what it will be; empty where there is none that anybody
    would expect: "auto" on a CPU, of which `mohge doctor` says why.

    option: auto (with NVML and a GPU: 3 s on the largest case of each job, else nothing), off, seconds (on every case;
    needs NVML), or a trace file, played in NVML's place. Raises ValueError.
    """
    measured = [job for job in jobs if job.mode == "measured"]
    if option == "off" or not measured:
        return list(jobs), "no telemetry: switched off" if option == "off" else "no telemetry: nothing is measured"
    seconds = _seconds(option)
    source = LIVE if option == "auto" or seconds is not None else option
    if source == LIVE:
        reason = no_telemetry(measured[0].device)
        if reason is not None and seconds is not None:
            raise ValueError(f"--telemetry {option}: {reason}")
        if reason is not None:
            return list(jobs), "" if measured[0].device == "cpu" else f"no telemetry: {reason}"
    else:
        if not Path(source).is_file():
            raise ValueError(f"--telemetry: expected auto, off, seconds or a trace file, got {source!r}")
        read_trace(source)
        source = str(Path(source).absolute())  # a run may be resumed from another folder
    planned = [
        replace(job, telemetry=TelemetryPlan(source, _cases(job, seconds is not None), seconds or SHORTEST_S))
        if job.mode == "measured"
        else job
        for job in jobs
    ]
    name = "NVML" if source == LIVE else f"the trace {source} (not of this run)"
    return planned, f"telemetry: {name}, {pass_seconds(planned):.0f} s of replay at most, after the times"


def no_telemetry(device: str) -> str | None:
    """Why NVML cannot watch what runs on `device`, or None when it can."""
    if not device.startswith("cuda"):
        return f"NVML watches GPUs, and this runs on the {device}"
    source = NvmlSource(torch_uuid(device))
    try:
        source.open()
    except UnavailableError as error:
        return str(error)
    source.close()
    return None


def pass_seconds(jobs: Sequence[Job]) -> float:
    """How long the second passes of these jobs take at most, in seconds: rise, window and phases of each."""
    return sum(
        len(job.telemetry.cases) * len(job.implementations) * (RISE_S + job.telemetry.seconds + PHASES_MOST * PHASE_S)
        for job in jobs
        if job.telemetry
    )


def with_trace(job: Job, folder: Path) -> Job:
    """The job with its trace file in the run's folder; a new file where the machine was booted since the last one."""
    if job.telemetry is None:
        return job
    path, number = folder / TRACE_NAME, 2
    while path.exists() and not _of_this_boot(path):
        path = folder / f"{Path(TRACE_NAME).stem}-{number}{Path(TRACE_NAME).suffix}"
        number += 1
    return replace(job, telemetry=replace(job.telemetry, trace=str(path.absolute())))


def _of_this_boot(path: Path) -> bool:
    try:
        return read_trace(path).header.boot == boot_id()
    except ValueError:  # whatever it is, nothing is added to it
        return False


def observe_case(
    job: Job,
    case: Case,
    layers: Mapping[str, Layer],
    x: torch.Tensor,
    plan: DispatchPlan,
    blame: Blame,
    alive: Call,
) -> dict[str, Telemetry | str]:
    """Replay every layer on x [T, H] and `plan` under a sampler: what was seen, or why nothing was, by implementation.

    blame: knows who is running, for the supervisor;  alive(): called a few times a second while one is
    """
    assert job.telemetry is not None
    on_gpu = job.device.startswith("cuda")
    gpu = torch_uuid(job.device) if on_gpu and job.telemetry.source == LIVE else None
    sampler = Sampler(job.telemetry.trace, job.telemetry.source, gpu)
    try:
        sampler.before()
    except ValueError as error:
        return dict.fromkeys(layers, f"no telemetry: {error}")
    device = CudaDevice(job.device) if on_gpu else CpuDevice()
    counts = np.diff(np.asarray(plan.expert_offsets.tolist(), dtype=np.int64))
    flops = int(expert_flops(counts, case.spec).sum())
    found: dict[str, Window | str] = {}
    rarely = _rarely(alive)
    try:
        for name, layer in layers.items():
            try:
                wrap = blame.wrapping(name)
                window = _replayed(layer, x, plan, job.telemetry.seconds, sampler, device, name, wrap, rarely)
                found[name] = replace(window, tokens=case.tokens, flops=flops)
            except Exception as error:  # the times stand; what replay adds is missing, with the reason
                found[name] = f"no telemetry: {type(error).__name__}: {error}"
                blame.guard()
    finally:
        blame.nobody()
        sampler.after()
    trace = sampler.results()
    name_in_run = Path(job.telemetry.trace).name
    result: dict[str, Telemetry | str] = {}
    for name, window in found.items():
        try:
            result[name] = window if isinstance(window, str) else summarize(trace, window, name_in_run)
        except ValueError as error:
            result[name] = f"no telemetry: {trace.end or error}"
    return result


def _replayed(
    layer: Layer,
    x: torch.Tensor,
    plan: DispatchPlan,
    seconds: float,
    sampler: Sampler,
    device: CpuDevice | CudaDevice,
    name: str,
    wrap: Callable[[Call], Call],
    alive: Call,
) -> Window:
    call = wrap(lambda: layer(x, plan))
    whole = sustained_replay(call, seconds, sampler, device, lane=name, rise_s=RISE_S, alive=alive)
    parts = {part: wrap(call) for part, call in layer.phases(x, plan).items()}
    spans = {} if whole.ended else replay_phases(parts, sampler, device, lane=name, seconds=PHASE_S, alive=alive)
    return Window(whole.begin_s, whole.end_s, whole.calls, discarded_s=whole.discarded_s, phases=spans)


def _cases(job: Job, every: bool) -> tuple[str, ...]:
    """The ids of all cases with tokens, or of the largest; of several that large, the last, where real traces are."""
    sized = [(tokens, index) for index, (tokens, _) in enumerate(job.cases) if tokens]
    chosen = [index for _, index in sized] if every else [max(sized)[1]] if sized else []
    return tuple(job.case_record(index).id for index in chosen)


def _seconds(option: str) -> float | None:
    try:
        seconds = float(option)
    except ValueError:
        return None
    if not SHORTEST_S <= seconds <= 600:
        raise ValueError(f"--telemetry: expected {SHORTEST_S:g} to 600 seconds, got {option}")
    return seconds


def _rarely(alive: Call) -> Call:
    last = [time.monotonic()]

    def call() -> None:
        if time.monotonic() - last[0] >= _ALIVE_EVERY_S:
            last[0] = time.monotonic()
            alive()

    return call
