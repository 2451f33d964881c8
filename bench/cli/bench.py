"""`mohge bench`: check and time chosen implementations on chosen cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...kernels import IMPLEMENTATIONS
from ..peers import PEERS, VERSIONS
from ..records import check_writable
from ..runner.grids import REAL, check_device, check_dtype, check_implementations, check_memory
from ..runner.jobs import Job, Source, TimingLimits
from ..runner.stand_ins import stood_in, without_times
from ..runner.telemetry_pass import plan_telemetry
from ..timing import check_way
from .measuring import (
    ForceOption,
    JsonOption,
    LockOption,
    OutOption,
    ReportOption,
    ResumeOption,
    TimeoutOption,
    measure,
    resume,
)
from .options import SpecOption, TelemetryOption, TimerOption, check_trace_choice, resolve_spec
from .output import check_json, console


def bench(
    context: typer.Context,
    spec: SpecOption = "mohge-3b",
    tokens: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "64,256",
    routing: Annotated[
        list[str] | None, typer.Option(help="router, uniform, zipf:1.2, hot_set:0.1,0.8, ... ; repeatable.")
    ] = None,
    implementations: Annotated[
        str | None,
        typer.Option(
            help=f"Separated by commas, out of {', '.join(IMPLEMENTATIONS)}; as rivals {', '.join(PEERS)}; versions of "
            f"ours {', '.join(VERSIONS)}; all for ours, peers for the rivals, ladder for the versions."
        ),
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Recorded routing (see mohge place) as one more routing.")] = None,
    domain: Annotated[str | None, typer.Option(help="Domain of the trace.")] = None,
    layer: Annotated[int | None, typer.Option(help="Layer of the trace.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16; auto picks by device.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    timer: TimerOption = "auto",
    seconds: Annotated[float, typer.Option(help="Longest time per case, once cold and once hot.", min=0.01)] = 4.0,
    seed: Annotated[int, typer.Option(help="Seed of weights, inputs and routings.", min=0)] = 0,
    step: Annotated[int, typer.Option(help="Where in time rotating and burst routings are.", min=0)] = 0,
    timeout: TimeoutOption = 180.0,
    telemetry: TelemetryOption = "auto",
    out: OutOption = Path("runs"),
    resume_run: ResumeOption = None,
    force: ForceOption = False,
    lock: LockOption = True,
    report: ReportOption = True,
    json: JsonOption = None,
) -> int:
    """Check and time implementations on the cases you name; every finished case is kept.

    Example: mohge bench --spec mohge-3b --tokens 64,1024 --routing zipf:1.2 --implementations torch_loop,padded_bmm
    """
    if resume_run is not None:
        return resume(resume_run, context, force=force, lock=lock, report=report, json=json)
    layer_spec, device = resolve_spec(spec), check_device(device)
    names = check_implementations(implementations) or (REAL if device == "cpu" else tuple(IMPLEMENTATIONS))
    check_trace_choice(trace, domain, layer)
    sources = [Source(text) for text in routing or ([] if trace else ["router"])]
    sources += [Source("trace", str(trace), domain, layer)] if trace else []
    job = Job(
        spec=layer_spec,
        device=device,
        dtype=check_dtype(dtype, device),
        mode="measured",
        cases=tuple(dict.fromkeys((count, source) for source in sources for count in _token_counts(tokens))),
        implementations=names,
        limits=TimingLimits(seconds=seconds, timer=check_way(device, timer)),
        seed=seed,
        step=step,
        timeout=timeout,
    )
    for index in range(len(job.cases)):
        # A routing that this layer cannot have is bad input, and said at once.
        job.case(index).workload.routing(layer_spec, 1, seed, step)
    check_memory(job)
    (job,), watched = plan_telemetry(telemetry, [job])
    check_json(json)
    check_writable(out)
    if watched:
        console.print(watched, style="dim", highlight=False, soft_wrap=True, markup=False)
    jobs = without_times(job)
    for name in (name for one in jobs if one.mode != "measured" for name in one.implementations):
        said = f"{name}: checked, not timed: {stood_in(name)}"
        console.print(said, style="dim", highlight=False, soft_wrap=True, markup=False)
    return measure("bench", out, jobs, lock=lock, report=report, json=json)


def _token_counts(text: str) -> list[int]:
    counts = []
    for part in text.split(","):
        if not part.strip().isdigit():
            raise ValueError(f"--tokens: expected whole numbers separated by commas, got {text!r}")
        counts.append(int(part))
    return counts
