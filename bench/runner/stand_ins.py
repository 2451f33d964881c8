"""Kernels interpreted or simulated on a CPU because the user's environment asks for it: checked, and never timed."""

from __future__ import annotations

import os
from dataclasses import replace

from ..peers import TRITON_PEERS
from .jobs import Job

# Set, these make kernels run on the CPU for their results, in a time that is none of theirs; and what a job is then.
MODES = {"TRITON_INTERPRET": "interpreted", "NUMBA_ENABLE_CUDASIM": "simulated"}
_VARIABLES = {
    **dict.fromkeys(("triton", *TRITON_PEERS), "TRITON_INTERPRET"),
    **dict.fromkeys(("numba", "numba_mma"), "NUMBA_ENABLE_CUDASIM"),
}


def stand_in(name: str) -> str | None:
    """The variable that is set and makes an implementation run on the CPU in place of a GPU, or None."""
    variable = _VARIABLES.get(name)
    return variable if variable and os.environ.get(variable, "0") not in ("", "0") else None


def stood_in(name: str) -> str | None:
    """The reason why what `name` does on a CPU is no time of its own: it is interpreted or simulated."""
    variable = stand_in(name)
    return variable and f"{variable}={os.environ[variable]} stands in for a GPU, and how long that takes says nothing"


def without_times(job: Job) -> list[Job]:
    """The job split by what may be timed: as it is on a GPU, where nothing stands in; on a CPU the stand-ins apart, in
    jobs of their own mode, which a worker checks and does not time.
    """
    if job.device != "cpu":
        return [job]
    jobs, timed = [], [name for name in job.implementations if stand_in(name) is None]
    if timed:
        jobs.append(replace(job, implementations=tuple(timed)))
    for variable, mode in MODES.items():
        names = tuple(name for name in job.implementations if stand_in(name) == variable)
        if names:
            jobs.append(replace(job, implementations=names, mode=mode, roofs=False, telemetry=None))
    return jobs
