"""What this machine can do: the ladder from "measured on a GPU" down to "no", with the reason and the remedy."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from ...kernels import IMPLEMENTATIONS, load
from ...reference import LayerSpec
from ..peers import LADDERS, PEERS, TRITON_PEERS, VERSIONS
from ..telemetry import probe_nvml
from ..timing import check_way
from .grids import find_traces

NO_GPU = "no NVIDIA GPU that torch can use"
GPU_REMEDY = "run on a machine with an NVIDIA GPU and a CUDA build of torch"


@dataclass(frozen=True)
class Ability:
    """One part of the suite on this machine.

    part:   an implementation's name, or another part of the suite
    mode:   measured, interpreted, simulated, compiled, predicted, complete (for parts that need no GPU) or no
    detail: what that means here, in one line
    remedy: what would make it better; empty when nothing is missing
    """

    part: str
    mode: str
    detail: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """The fields as plain JSON types."""
        return asdict(self)


def installed(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cuda_device() -> str | None:
    """The name of the GPU torch would use, or None."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def abilities() -> list[Ability]:
    """Every part of the suite on this machine, implementations first."""
    return (
        [implementation_ability(name) for name in IMPLEMENTATIONS]
        + [peer_ability(name) for name in PEERS]
        + [ladder_ability(family) for family in LADDERS]
        + [
            Ability("reference", "complete", "NumPy float64"),
            Ability("placement", "complete", "policies and bounds in NumPy"),
            _telemetry(),
            _ahead_of_time("triton", "triton", "compiles for sm_90 with the ptxas it ships"),
            _ahead_of_time("cupy", "cuda-bindings", "compiles for sm_90a with NVRTC"),
            _ahead_of_time("numba", "numba-cuda", "compiles to PTX for compute capability 9.0"),
            _report(),
            _tuning(),
            _cupti(),
            _traces(),
            _host_twin(),
            _sanitizer(),
        ]
    )


def implementation_ability(name: str) -> Ability:
    """How far the implementation called `name` gets on this machine."""
    import torch

    spec = LayerSpec.preset("mohge-3b")
    gpu = cuda_device()
    if gpu:
        case = (spec, torch.bfloat16, torch.device("cuda"))
        reason = IMPLEMENTATIONS[name].supports(*case)
        if reason is None:
            chosen = getattr(load(name), "chosen", None)  # of several versions, the one that this GPU gets, and why
            return Ability(name, "measured", f"on {gpu}" + (f": {chosen(*case)}" if chosen is not None else ""))
        return Ability(name, "no", reason, "see the reason; `mohge bench --implementations` runs the others")
    if IMPLEMENTATIONS[name].supports(spec, torch.float32, torch.device("cpu")) is None and name not in _WITHOUT_GPU:
        return Ability(name, "measured", f"on the CPU, torch {torch.__version__}", GPU_REMEDY + " for GPU times")
    return _WITHOUT_GPU[name]() if name in _WITHOUT_GPU else Ability(name, "no", NO_GPU, GPU_REMEDY)


def peer_ability(name: str) -> Ability:
    """How far the peer called `name` gets on this machine, with the version of what is installed."""
    import torch

    peer, spec, gpu = PEERS[name], LayerSpec.preset("mohge-3b"), cuda_device()
    if peer.missing:
        return Ability(name, "no", peer.missing.partition(" (")[0], f"pip install {peer.package}")
    dtype, device = (torch.bfloat16, "cuda") if gpu else (torch.float32, "cpu")
    reason = peer.supports(spec, dtype, torch.device(device))
    version = f"{peer.version}; " if peer.version else ""
    if reason is not None:
        return Ability(name, "no", f"{version}{reason}", "" if gpu else GPU_REMEDY)
    if gpu:
        return Ability(name, "measured", f"{version}on {gpu}")
    if name in TRITON_PEERS:
        return Ability(name, "interpreted", f"{version}correct results on a scaled-down spec, no times", GPU_REMEDY)
    return Ability(name, "measured", f"{version}on the CPU", GPU_REMEDY + " for GPU times")


def ladder_ability(family: str) -> Ability:
    """Which versions of an implementation can be measured on this machine, and why the others cannot."""
    import torch

    part, gpu = f"ladder of {family}", cuda_device()
    if not gpu:
        return Ability(part, "no", f"{NO_GPU}: no version of it is timed", GPU_REMEDY)
    case = (LayerSpec.preset("mohge-3b"), torch.bfloat16, torch.device("cuda"))
    reasons = {name: one.supports(*case) for name, one in VERSIONS.items() if one.family == family}
    able = [name for name, reason in reasons.items() if reason is None]
    unable = [f"not {name}: {reason}" for name, reason in reasons.items() if reason is not None]
    return Ability(part, "measured" if able else "no", "; ".join([*filter(None, [", ".join(able)]), *unable]))


def _triton() -> Ability:
    version = installed("triton")
    if not version:
        return Ability("triton", "no", "triton is not installed (it exists for Linux)", "pip install triton")
    return Ability(
        "triton", "interpreted", f"triton {version}: correct results on a scaled-down spec, no times", GPU_REMEDY
    )


def _cupy() -> Ability:
    if importlib.util.find_spec("cuda") is None or not installed("cuda-bindings"):
        return Ability(
            "cupy", "no", "cuda-bindings is not installed (it exists for Linux)", "pip install cuda-bindings"
        )
    return Ability("cupy", "compiled", f"{NO_GPU}: compiled for sm_90a, executed only in the test suite", GPU_REMEDY)


def _numba() -> Ability:
    version = installed("numba")
    if not version:
        return Ability("numba", "no", "numba is not installed", "pip install numba")
    return Ability(
        "numba", "simulated", f"numba {version}: correct results on a scaled-down spec, no times", GPU_REMEDY
    )


def _numba_mma() -> Ability:
    version = installed("numba-cuda")
    if not version:
        return Ability("numba_mma", "no", "numba-cuda is not installed (it exists for Linux)", "pip install numba-cuda")
    detail = f"numba-cuda {version}: compiled for compute capability 9.0, simulated only in the test suite"
    return Ability("numba_mma", "compiled", detail, GPU_REMEDY)


_WITHOUT_GPU: dict[str, Callable[[], Ability]] = {
    "triton": _triton,
    "cupy": _cupy,
    "numba": _numba,
    "numba_mma": _numba_mma,
}


def _telemetry() -> Ability:
    found = probe_nvml()
    return Ability("NVML", "measured" if found.works else "no", found.detail, found.remedy)


def _ahead_of_time(name: str, package: str, what: str) -> Ability:
    version = installed(package)
    part = f"{name} ahead of time"
    if not version:
        return Ability(part, "no", f"{package} is not installed (it exists for Linux)", f"pip install {package}")
    if os.environ.get("TRITON_INTERPRET") == "1" and name == "triton":
        return Ability(part, "no", "TRITON_INTERPRET=1 is set", "unset TRITON_INTERPRET")
    return Ability(part, "compiled", f"{package} {version} {what}")


def _report() -> Ability:
    missing = [package for package in ("plotly", "jinja2") if not installed(package)]
    if missing:
        return Ability("report", "no", f"{' and '.join(missing)} not installed", f"pip install {' '.join(missing)}")
    return Ability("report", "complete", f"plotly {installed('plotly')}, one self-contained HTML file")


def _cupti() -> Ability:
    part = "timer cupti"
    if not cuda_device():
        return Ability(part, "no", NO_GPU, GPU_REMEDY)
    try:
        check_way("cuda", "cupti")
    except ValueError as error:
        return Ability(part, "no", str(error), "pip install mohge[cupti]; the timers events and graph need no package")
    return Ability(part, "measured", f"cupti-python {installed('cupti-python')}")


def _tuning() -> Ability:
    version = installed("optuna")
    how = f"optuna {version}" if version else "optuna is not installed: --sampler sweep alone, which is random"
    remedy = "" if version else "pip install optuna"
    if cuda_device():
        return Ability("tuning", "measured", how, remedy)
    return Ability(
        "tuning", "predicted", f"{how}; {NO_GPU}: times predicted from compiled binaries", remedy or GPU_REMEDY
    )


def _sanitizer() -> Ability:
    part, program = "make gpu PART=sanitize", "compute-sanitizer"
    if not cuda_device():
        return Ability(part, "no", NO_GPU, GPU_REMEDY)
    if shutil.which(program) is None:
        return Ability(part, "no", f"{program} is not on the PATH", "install the CUDA toolkit; its bin on the PATH")
    return Ability(part, "complete", f"{program}: memory, races and barriers of a small layer")


def _host_twin() -> Ability:
    part, program = "CUDA C++ on the host", "g++"
    if shutil.which(program) is None:
        return Ability(part, "no", f"no {program}: the kernels' twin is left out of the tests", f"install {program}")
    return Ability(part, "complete", f"{program}: the tests run the kernels' sources without a GPU")


def _traces() -> Ability:
    try:
        names = [path.name for path in find_traces()]
    except ValueError as error:
        return Ability("recorded routings", "no", str(error), "name another folder")
    if not names:
        return Ability("recorded routings", "no", "none found: made ones stand in", "MOHGE_TRACES names their folder")
    return Ability("recorded routings", "complete", ", ".join(names))


def machine() -> dict[str, Any]:
    """Facts the reader of a run wants first: cores, memory in GiB, GPU, free disk in GiB."""
    pages, page_size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(pages * page_size / 2**30, 1),
        "gpu": cuda_device(),
        "free_disk_gib": round(shutil.disk_usage(".").free / 2**30, 1),
    }
