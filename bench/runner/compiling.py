"""Kernels of a job compiled before they are launched, all at once on the machine's cores, for the compilers' caches.

A launch whose kernel is in the cache only loads it, where it would compile, one kernel after the other, while a GPU
waits. Whatever goes wrong here costs time only: what a cache lacks, the launch compiles.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...dispatch.compilation import Compilation, Target
from ...kernels.ahead import Ahead, dispatched, missing
from ...kernels.table import Entry
from ...kernels.triton.config import KERNELS as GEMMS
from ..peers import CONTESTANTS
from .process import die_with_parent
from .proof import PROOF_TOKENS

if TYPE_CHECKING:
    from .jobs import Job

NICE = 10  # nothing that the user waits for is to wait for a compiler
# After which a compiler is ended. The slowest takes seconds; one that hangs would hang at its launch as well, where the
# supervisor knows whom to blame.
LIMIT_S = 120.0
_LOOK_S = 0.01
_ALIVE_S = 5.0


def begun(job: Job) -> Compilers:
    """What the job's cases will launch on its GPU, begun to be compiled; on a CPU nothing is launched, and nothing is
    done.
    """
    import torch

    device, dtype = torch.device(job.device), getattr(torch, job.dtype)
    if device.type != "cuda":
        return Compilers([], 1)
    names = [name for name in job.implementations if CONTESTANTS[name].supports(job.spec, dtype, device) is None]
    return Compilers(needed(job, names, Target.of(device)), cores())


def needed(job: Job, names: Sequence[str], target: Target) -> list[Compilation]:
    """What the calls of a job's cases will launch and no cache has, each once, the slowest first.

    names: the implementations that support the job's layer; one whose compiler cannot work here is left out
    """
    tokens = sorted({count for count, _ in job.cases})
    asked: list[Callable[[], Sequence[Compilation]]] = [
        lambda: dispatched(job.spec, job.dtype, [*tokens, PROOF_TOKENS], target)
    ]
    asked += [lambda name=name: _of(CONTESTANTS[name], job, tokens, target) for name in names]
    found: dict[str, Compilation] = {}
    for ask in asked:
        try:
            found |= {each.key: each for each in missing(ask())}
        except Exception as error:  # compilers raise anything, and the launch will say it where it counts
            print(f"not compiled ahead: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return sorted(found.values(), key=_place)


def _of(entry: Any, job: Job, tokens: Sequence[int], target: Target) -> Sequence[Compilation]:
    implementation = entry.load() if isinstance(entry, Entry) else entry
    return implementation.compilations(job.spec, job.dtype, tokens, target) if isinstance(implementation, Ahead) else ()


def _place(compilation: Compilation) -> int:
    """CUDA C++ takes NVRTC up to 1.4 s a file, the GEMMs Triton 0.3 to 0.7 s, what dispatch launches 0.2 to 0.5 s
    (mohge-3b for sm_90a, on one core of a server's CPU). The last to begin should be a short one.
    """
    return 0 if compilation.name.endswith(".cu") else 1 if compilation.name in GEMMS else 2


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Compilers:
    """Compilations under way in `processes` processes at a time, one process for each of them, so that a compiler that
    crashes takes nothing else down. They begin at once, nice to others, and end with the process that made this.

    None is started for nothing to do. Forked, not started afresh: to import what compiles takes as long as compiling.
    They use no GPU; this process may use one, as long as it has not begun a thread that holds a lock while forking.
    """

    def __init__(self, todo: Sequence[Compilation], processes: int) -> None:
        self._todo, self._processes = todo, min(processes, len(todo))
        self._manager: int | None = None
        with contextlib.suppress(OSError):  # as many processes as the system allows, or no memory for one
            self._manager = _forked(lambda: _compile_all(todo, self._processes)) if todo else None

    @property
    def what(self) -> str:
        """What is being done, "compiling 37 kernels on 16 cores"; empty for nothing."""
        if not self._todo:
            return ""
        return f"compiling {_counted(len(self._todo), 'kernel')} on {_counted(self._processes, 'core')}"

    def wait(self, alive: Callable[[], None] = lambda: None) -> None:
        """Return when all have ended; `alive` is called every few seconds."""
        said = time.monotonic()
        while self._manager is not None:
            with contextlib.suppress(ChildProcessError):
                pid, _ = os.waitpid(self._manager, os.WNOHANG)
                if not pid:
                    time.sleep(_LOOK_S)
                    if time.monotonic() - said > _ALIVE_S:
                        said = time.monotonic()
                        alive()
                    continue
            self._manager = None


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _compile_all(todo: Sequence[Compilation], processes: int) -> None:
    """In a process of its own: a process for each, at most so many at a time."""
    os.nice(NICE)
    waiting, deadlines = list(todo)[::-1], {}
    while waiting or deadlines:
        while waiting and len(deadlines) < processes:
            deadlines[_forked(waiting.pop().make)] = time.monotonic() + LIMIT_S
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if pid:
            deadlines.pop(pid, None)
            continue
        for late in [pid for pid, deadline in deadlines.items() if time.monotonic() > deadline]:
            os.kill(late, signal.SIGKILL)
        time.sleep(_LOOK_S)


def _forked(work: Callable[[], None]) -> int:
    """The id of a new process that does `work`, prints nothing, and never comes back from here."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with_parent()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        work()
        code = 0
    finally:
        os._exit(code)
