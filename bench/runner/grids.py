"""Which jobs a run does on this machine when nobody says otherwise."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from ...kernels import IMPLEMENTATIONS
from ...reference import LayerSpec, expert_parameters
from ..peers import SETS, contestant
from ..workloads import DTYPES, open_trace
from .jobs import Job, Source, TimingLimits, scaled_down

REAL = ("padded_bmm", "torch_loop", "torch_grouped_mm")
PADDED = ("padded_bmm", "torch_grouped_mm_padded")  # their weights take the widest expert's place each
CPU_TOKENS = (16, 128)
GPU_TOKENS = (64, 1024, 16384, 65536)
# Interpreted and simulated kernels: one Python step per program or thread, so a very small layer.
SCALED_TOKENS = 24
TRACE_PATTERNS = ("*.topk.npz", "*.counts.csv")
# What is left goes to weights, checks and compilation.
TIMED_SHARE = 0.5


def find_traces() -> tuple[Path, ...]:
    """Routing traces lying where they usually do: $MOHGE_TRACES, else ./traces, else ../shared/data.

    Raises ValueError when MOHGE_TRACES names a folder without traces.
    """
    given = os.environ.get("MOHGE_TRACES")
    for place in [Path(given)] if given else [Path("traces"), Path("../shared/data")]:
        found = sorted(path for pattern in TRACE_PATTERNS for path in place.glob(pattern))
        if found:
            return tuple(found)
    if given:
        raise ValueError(f"MOHGE_TRACES: expected a folder with {' or '.join(TRACE_PATTERNS)}, got {given}")
    return ()


@dataclass(frozen=True)
class TraceChoice:
    """Which traces a run may use, and what to take of each; left_out says which found ones it may not, and why."""

    paths: tuple[Path, ...]
    domain: str | None = None
    layer: int | None = None
    left_out: tuple[str, ...] = ()

    def fitting(self, spec: LayerSpec) -> tuple[Source, ...]:
        """The traces made for a layer like `spec`: same experts, and same K where they have one."""
        sources = []
        for path in self.paths:
            try:
                open_trace(path, self.domain, self.layer).check_fits(spec)
            except ValueError:
                continue
            sources.append(Source("trace", str(path), self.domain, self.layer))
        return tuple(sources)


def choose_traces(given: tuple[Path, ...], domain: str | None, layer: int | None) -> TraceChoice:
    """The traces given, every one of which must have this domain and layer, or those found that have them.

    Raises ValueError for a given trace that cannot be used, and for a domain or layer that no trace has.
    """
    for path in given:
        open_trace(path, domain, layer)
    if given:
        return TraceChoice(given, domain, layer)
    usable, left_out = [], []
    for path in find_traces():
        try:
            open_trace(path, domain, layer)
            usable.append(path)
        except ValueError as error:
            left_out.append(str(error))
    if not usable and (domain is not None or layer is not None):
        raise ValueError(left_out[0] if left_out else "--domain and --layer choose what to take of a trace; found none")
    return TraceChoice(tuple(usable), domain, layer, tuple(left_out))


def fitting_jobs(jobs: list[Job]) -> list[Job]:
    """The jobs whose weights fit this machine's memory; the first must. Raises ValueError."""
    check_memory(jobs[0])
    fitting = []
    for job in jobs:
        with contextlib.suppress(ValueError):
            check_memory(job)
            fitting.append(job)
    return fitting


def default_jobs(
    device: str,
    traces: TraceChoice,
    *,
    minutes: float,
    timer: str = "auto",
    implementations: tuple[str, ...] | None = None,
) -> list[Job]:
    """The jobs of `mohge run`: mohge-3b and its uniform twin on router-made and real routing, decode to prefill; and
    gpt-oss-20b in groups for a per-token trace, scaled down on a CPU. implementations: others than all of ours that can
    be measured there.
    """
    on_cpu = device == "cpu"
    gpt_oss = LayerSpec.preset("gpt-oss-20b-hetero")
    specs = [
        LayerSpec.preset("mohge-3b"),
        LayerSpec.preset("mohge-3b-uniform"),
        scaled_down(gpt_oss, 4) if on_cpu else gpt_oss,
    ]
    plans = []
    for spec in specs:
        real = traces.fitting(spec)
        # Without a trace a Zipf routing stands in, under its own name; the last layer is there for its trace alone. On
        # a CPU, where minutes are short, the uniform twin is compared on the router's routing only.
        made = (Source("router"),) if spec.name.startswith("mohge") else ()
        skewed = real or ((Source("zipf:1.0"),) if made else ())
        routings = made if on_cpu and spec.name == "mohge-3b-uniform" else made + skewed
        cases = tuple((tokens, source) for source in routings for tokens in (CPU_TOKENS if on_cpu else GPU_TOKENS))
        if cases:
            plans.append((spec, cases))
    total = sum(len(cases) for _, cases in plans)
    seconds = max(
        0.3, minutes * 60 * TIMED_SHARE / (2.5 * total)
    )  # cold, hot, a quarter end to end, one for the phases
    few, many = (5, 100) if on_cpu else (20, 500)
    limits = TimingLimits(seconds, few, many, timer=timer)
    names, dtype = (REAL, "float32") if on_cpu else (tuple(IMPLEMENTATIONS), "bfloat16")
    return [Job(spec, device, dtype, "measured", cases, implementations or names, limits) for spec, cases in plans]


def scaled_jobs(traces: TraceChoice) -> list[Job]:
    """What can only be interpreted or simulated here, on visibly scaled-down layers: correctness without times."""
    mohge = LayerSpec.preset("mohge-3b")
    small, routed = scaled_down(mohge, 32, experts_per_group=2), scaled_down(mohge, 32)
    cases = ((SCALED_TOKENS, Source("router")),)
    jobs = [
        Job(small, "cpu", "float32", "interpreted", cases, ("triton",)),
        Job(small, "cpu", "float16", "interpreted", cases, ("triton",)),
        Job(small, "cpu", "float32", "simulated", cases, ("numba",)),
    ]
    real = tuple((SCALED_TOKENS, source) for source in traces.fitting(routed))
    return jobs + ([Job(routed, "cpu", "float32", "interpreted", real, ("triton",))] if real else [])


def check_used(traces: TraceChoice, jobs: list[Job]) -> None:
    """Raise ValueError for a trace that fits none of the jobs' layers, naming the presets it would fit."""
    used = {source.trace for job in jobs for _, source in job.cases}
    for path in traces.paths:
        if str(path) not in used:
            open_trace(path, traces.domain, traces.layer).check_fits(jobs[0].spec)


def check_memory(job: Job) -> None:
    """Raise ValueError when the layer's weights cannot fit the host's free memory, before anything is written.

    Counted: the float32 originals, and on a CPU one packed copy per implementation, at its padded size where it pads.
    """
    free = available_memory()
    spec = job.spec
    parameters, item = int(expert_parameters(spec).sum()), 4 if job.dtype == "float32" else 2
    padded = 3 * spec.hidden * max(spec.widths) * spec.experts
    copies = sum(padded if name in PADDED else parameters for name in job.implementations)
    needed = 4 * parameters + (item * copies if job.device == "cpu" else 0)
    if free is not None and needed > free:
        raise ValueError(
            f"{spec.name}: expected {needed / 2**30:.1f} GiB of free memory for its weights, got {free / 2**30:.1f}; "
            "choose fewer implementations or a smaller layer"
        )


def available_memory(path: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes of memory that can be taken without swapping, or None where the system does not say."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    values = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return values[0] if values else None


def check_device(device: str) -> str:
    """The device's name when it is there: cpu, cuda or cuda:N. Raises ValueError."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    if device != "cuda" and not (device.startswith("cuda:") and device[5:].isdigit()):
        raise ValueError(f"device: expected auto, cpu, cuda or cuda:N, got {device!r}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(device[5:]) if ":" in device else 0
    if not count:
        raise ValueError(f"device: expected a GPU that torch can use, found none (see mohge doctor), got {device!r}")
    if index >= count:
        raise ValueError(f"device: expected one of the {count} GPUs torch can use here, got {device!r}")
    return device


def check_implementations(names: str | None) -> tuple[str, ...] | None:
    """Names from a comma-separated text, each once and checked; "all" stands for ours, "peers" for all peers, "ladder"
    for the versions of ours. Raises ValueError for an unknown one.
    """
    if names is None:
        return None
    given = (name.strip() for name in names.split(",") if name.strip())
    chosen = tuple(dict.fromkeys(each for name in given for each in SETS.get(name, (name,))))
    for name in chosen:
        contestant(name)
    return chosen


def check_dtype(dtype: str, device: str) -> str:
    """The dtype's name; "auto" is bfloat16 on a GPU and float32 on a CPU. Raises ValueError."""
    if dtype == "auto":
        return "float32" if device == "cpu" else "bfloat16"
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected auto, {', '.join(DTYPES)}, got {dtype!r}")
    return dtype
