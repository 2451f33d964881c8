"""What NVML gives on this machine, for `mohge doctor`."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .gpm import GPM_METRICS, INTERVAL_S
from .nvml import NvmlSource
from .source import METRICS, Source, SourceLostError, UnavailableError

# What stands in for another metric is not missed.
_SPARE = ("power_average_w",)
_REMEDIES = (
    ("not installed", "pip install nvidia-ml-py"),
    ("driver", "install the NVIDIA driver, or run where there is one"),
    ("hides every GPU", "unset CUDA_VISIBLE_DEVICES"),
    ("permission", "ask the administrator to allow performance counters for all users"),
)


@dataclass(frozen=True)
class Probe:
    """works: whether there are readings;  detail: what there is, or the reason why not;  remedy: what would help."""

    works: bool
    detail: str
    remedy: str = ""


def probe_nvml(source: Source | None = None) -> Probe:
    """Open NVML (or `source`), take the two readings GPM needs, and say what came."""
    source = source or NvmlSource()
    try:
        source.open()
    except UnavailableError as error:
        return Probe(False, str(error), _remedy(str(error)))
    try:
        begin = time.monotonic()
        source.read(begin)
        time.sleep(INTERVAL_S)
        source.read(max(time.monotonic(), begin + INTERVAL_S))
    except SourceLostError as error:
        return Probe(False, str(error), "see the system's log; the GPU may need a restart of the machine")
    finally:
        source.close()
    device = source.describe()
    wanted = [name for name in METRICS if name not in _SPARE]
    missing = {name: reason for name, reason in source.unavailable.items() if name in wanted}
    gpm = next((missing[name] for name in GPM_METRICS if name in missing), None)
    shares = "SM, tensor pipe and DRAM shares"
    parts = [
        f"driver {device.get('driver', 'unknown')}, {device['name']}, {len(wanted) - len(missing)} metrics",
        f"{shares} through GPM" if gpm is None else f"no {shares}: {gpm}",
    ]
    others = {name: reason for name, reason in missing.items() if name not in GPM_METRICS}
    parts += [f"no {name}: {reason}" for name, reason in others.items()]
    remedy = next((found for reason in missing.values() if (found := _remedy(reason, ""))), "")
    if not remedy and gpm is not None:
        remedy = "GPM needs a Hopper GPU or later"
    return Probe(True, "; ".join(parts), remedy)


def _remedy(reason: str, otherwise: str = "see the reason") -> str:
    return next((remedy for word, remedy in _REMEDIES if word in reason), otherwise)
