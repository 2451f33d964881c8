"""Who does the work: this process, processes of this machine, or a Dask cluster."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from ... import __version__

T = TypeVar("T")
CONNECT_S = 20.0  # how long a Dask scheduler may take to answer
# Starting processes takes seconds, in which one process solves some hundred scenarios.
WORTH_PROCESSES = 500
LOOK_S = 0.5  # between looks at whether the process that asked is still there


def default_workers(scenarios: int) -> int:
    """Processes for that many scenarios: the cores this process may use, or one where there is little to do."""
    return len(os.sched_getaffinity(0)) if scenarios >= WORTH_PROCESSES else 1


def results(work: Callable[[Any], T], tasks: Sequence[Any], workers: int = 1, dask: str | None = None) -> Iterator[T]:
    """What `work` gives for every task, in the order in which they end.

    work must be importable where it runs; dask: address of a scheduler, whose workers then do everything. Closing the
    iterator ends what is still running. Raises ValueError for a cluster that cannot be reached or has another mohge.
    """
    if dask is not None:
        return _on_dask(work, tasks, dask)
    if workers == 1 or len(tasks) < 2:
        return (work(task) for task in tasks)
    return _in_processes(work, tasks, workers)


def _in_processes(work: Callable[[Any], T], tasks: Sequence[Any], workers: int) -> Iterator[T]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    pool = Parallel(n_jobs=min(workers, len(tasks)), return_as="generator_unordered")
    watched = _Watched(work, os.getpid())
    done: Any = pool(delayed(watched)(task) for task in tasks)
    ended = False
    try:
        for result in done:  # noqa: UP028  (`yield from` would close it too early, with the warnings)
            yield result
        ended = True
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tasks were cancelled
            done.close()
        get_reusable_executor().shutdown(wait=ended, kill_workers=not ended)


@dataclass(frozen=True)
class _Watched:
    """Does `work` in a process that ends soon after the one that started it, however that was ended."""

    work: Callable[[Any], Any]
    parent: int

    def __call__(self, task: Any) -> Any:
        _watch(self.parent)
        return self.work(task)


@lru_cache(maxsize=1)
def _watch(parent: int) -> None:
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)


def _on_dask(work: Callable[[Any], T], tasks: Sequence[Any], address: str) -> Iterator[T]:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise ValueError("--dask: expected the package distributed; pip install 'mohge[cluster]'") from None
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ValueError(f"--dask {address}: expected the address of a Dask scheduler: {error}") from error
    with client:
        _check_workers(client, address)
        futures = client.map(work, list(tasks), pure=False)
        try:
            for future in as_completed(futures, loop=client.loop):
                yield future.result()
        finally:
            client.cancel(futures)


def _check_workers(client: Any, address: str) -> None:
    """Raise ValueError unless there are workers, each with this version of mohge."""
    try:
        versions = client.run(version)
    except ImportError as error:
        raise ValueError(f"--dask {address}: expected workers that have mohge {__version__}, got {error}") from error
    if not versions:
        raise ValueError(f"--dask {address}: expected at least one worker, got none")
    for worker, found in versions.items():
        if found != __version__:
            raise ValueError(f"--dask {address}: expected workers with mohge {__version__}, got {found} on {worker}")


def version() -> str:
    """The version of mohge where this runs."""
    return __version__
