"""The machine of a run in a few words."""

from __future__ import annotations

from ..records import Run


def machine_text(run: Run) -> str:
    """The GPU's name, or the CPU's with its cores and the word that there was no GPU."""
    gpu, cpu = run.environment.gpu, run.environment.cpu
    if gpu is not None:
        return str(gpu.get("name") or "a GPU without a name")
    cores = f", {cpu['cores']} cores" if cpu.get("cores") else ""
    return f"{cpu.get('model') or 'a CPU without a name'}{cores}, no GPU"
