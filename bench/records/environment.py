"""The machine and the sources a run was made with: collected once, never changed by looking."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from .schema import Environment, GitRecord, Roof

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (
    "torch",
    "triton",
    "cupy-cuda13x",
    "numba",
    "numba-cuda",
    "numpy",
    "scipy",
    "nvidia-ml-py",
    "cuda-bindings",
    "cuda-toolkit",
    "liger-kernel",
    "moe-ops",
)
_KERNEL_ROOMS = ("kernels", "dispatch")
_KERNEL_SUFFIXES = (".py", ".cu", ".cuh")


def collect_environment(device: str = "cpu", roof: Roof | None = None, *, timed: bool = True) -> Environment:
    """GPU (for device "cuda"), CPU, library versions, Python and platform; `roof` is passed on.

    timed: False for runs that time nothing, which need not know torch's threads nor wait for torch
    """
    return Environment(
        gpu=gpu_facts(device) if device.startswith("cuda") else None,
        roof=roof,
        libraries=library_versions(),
        cpu=cpu_facts(timed),
        python=platform.python_version(),
        platform=platform.platform(),
    )


def library_versions() -> dict[str, str]:
    """The versions of the libraries that decide a time, of those installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_facts(timed: bool = True) -> dict[str, Any]:
    """model, cores usable by this process, memory_bytes, last_level_cache_bytes and, where `timed`, torch's threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "model": _cpu_model(),
        "cores": cores,
        "memory_bytes": memory,
        **({"threads": _torch_threads()} if timed else {}),
        "last_level_cache_bytes": last_level_cache_bytes(),
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def last_level_cache_bytes(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int | None:
    """The largest cache of the first core, in bytes, or None where the system does not say."""
    sizes = []
    for path in folder.glob("index*/size"):
        text = path.read_text(encoding="utf-8").strip()
        scale = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
        digits = text.rstrip("KMG")
        if digits.isdecimal():
            sizes.append(int(digits) * scale)
    return max(sizes, default=None)


def gpu_facts(device: str = "cuda") -> dict[str, Any] | None:
    """The GPU of that name (cuda, cuda:1): name, uuid, driver, cuda, capability, sms, memory_bytes, l2_bytes; None
    where torch has no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(torch.device(device))
    uuid = getattr(properties, "uuid", None)
    return {
        "name": properties.name,
        "uuid": f"GPU-{uuid}" if uuid is not None else None,
        "driver": driver_version()[0],
        "cuda": torch.version.cuda,
        "capability": f"{properties.major}.{properties.minor}",
        "sms": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "l2_bytes": getattr(properties, "L2_cache_size", None),
        "visible": torch.cuda.device_count(),
    }


def driver_version() -> tuple[str | None, str]:
    """The driver's version from NVML, or None and the reason why there is none."""
    try:
        import pynvml
    except ImportError:
        return None, "nvidia-ml-py is not installed (it exists for Linux)"
    try:
        pynvml.nvmlInit()
        try:
            return str(pynvml.nvmlSystemGetDriverVersion()), ""
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return None, str(error)


def git_state(root: Path = PACKAGE_ROOT) -> GitRecord | None:
    """The revision of the repository whose root is `root`, or None: not a repository, or no git.

    A wheel installed somewhere inside another repository has no revision of its own.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    revision = _git(root, "rev-parse", "HEAD")
    if top is None or revision is None or Path(top).resolve() != root.resolve():
        return None
    return GitRecord(revision=revision, dirty=bool(_git(root, "status", "--porcelain")))


def _git(root: Path, *arguments: str) -> str | None:
    # Looking must not change anything: git would otherwise refresh the index under a lock.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def source_hash(root: Path = PACKAGE_ROOT) -> str:
    """SHA-256 over the kernel sources (names and contents of .py, .cu and .cuh under kernels/ and dispatch/).

    A figure measured with other sources is stale; one that differs only in tests, reports or prose is not.
    """
    digest = hashlib.sha256()
    for room in _KERNEL_ROOMS:
        for path in sorted((root / room).rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
            if path.suffix in _KERNEL_SUFFIXES and path.is_file():
                content = path.read_bytes()
                digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
                digest.update(content)
    return digest.hexdigest()
