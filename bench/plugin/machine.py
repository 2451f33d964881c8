"""The machine in pytest-benchmark's files, and whether two of them can be compared."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..records import Environment

# What tells a file with times of ours from others.
OURS = ("gpu", "cpu_model", "libraries")
# The frequency at the moment of looking: it would make every comparison warn of another machine.
_UNSTABLE = ("hz_actual", "hz_actual_friendly")


def has_ours(machine_info: dict[str, Any]) -> bool:
    """Whether `complete` has been here."""
    return all(name in machine_info for name in OURS)


def complete(machine_info: dict[str, Any], device: str = "auto") -> None:
    """Add what decides a time and stays the same from run to run: GPU (None without one), CPU, library versions.

    device: which GPU where there are several, cuda:N; otherwise the current one. Imports torch.
    """
    import torch

    from ... import __version__
    from ..records import collect_environment

    numbered = device.startswith("cuda:") and torch.cuda.is_available()
    with torch.cuda.device(device) if numbered else nullcontext():
        environment = collect_environment("cuda")
    machine_info.update(facts(environment))
    machine_info["mohge"] = __version__
    cpu = machine_info.get("cpu")
    if isinstance(cpu, dict):
        machine_info["cpu"] = {name: value for name, value in cpu.items() if name not in _UNSTABLE}


def facts(environment: Environment) -> dict[str, Any]:
    """Of an environment, what decides a time and stays the same from run to run."""
    gpu = environment.gpu
    return {
        "gpu": gpu and {name: value for name, value in gpu.items() if name != "visible"},
        "cpu_model": environment.cpu.get("model"),
        "torch_threads": environment.cpu.get("threads"),
        "libraries": environment.libraries,
    }


def essentials(machine_info: dict[str, Any], device: str) -> dict[str, Any]:
    """The few facts that go with every single time; those of the GPU where it was timed on one."""
    gpu = (machine_info["gpu"] or {}) if device.startswith("cuda") else {}
    libraries = machine_info["libraries"]
    return {
        "gpu": gpu.get("name"),
        "driver": gpu.get("driver"),
        "cuda": gpu.get("cuda"),
        "cpu": machine_info["cpu_model"],
        "torch": libraries.get("torch"),
        "triton": libraries.get("triton"),
    }


def difference(current: dict[str, Any], saved: dict[str, Any]) -> str | None:
    """Why times of these two machines say nothing about a change of the code, or None when they are alike.

    The GPU decides by its name where either has one, and the CPU where neither has.
    """
    names = [info["gpu"]["name"] if info["gpu"] else None for info in (current, saved)]
    if any(names):
        here, there = (name or "no GPU" for name in names)
    else:
        here, there = (str(info["cpu_model"]) for info in (current, saved))
    return None if here == there else f"expected times saved on {here}, got times saved on {there}"
