"""Which process works on a trial, and whether it still does."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BEAT_S = 20.0
# A process on another machine is taken for dead after this long without a beat; clocks may be a minute apart.
DEAD_AFTER_S = 180.0


def me() -> dict[str, Any]:
    """This process: host (with its space of process numbers, where containers have their own), number, and start."""
    return {"host": _host(), "pid": os.getpid(), "born": _born(os.getpid())}


def alive(worker: dict[str, Any], beat: float, now: float | None = None) -> bool:
    """Whether a process that `me` described still runs: seen on its own host, judged by its last beat elsewhere."""
    if worker["host"] == _host():
        born = _born(int(worker["pid"]))
        return born is not None and born == worker["born"]
    return (time.time() if now is None else now) - beat < DEAD_AFTER_S


def _host() -> str:
    try:
        space = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        space = 0
    return f"{platform.node()}/{space}"


def _born(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; its number may be given away again. None when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _signalled(pid)
    except OSError:
        return None


def _signalled(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"


class Beating:
    """Calls `beat` every BEAT_S seconds while the block runs, so that other machines know of it."""

    def __init__(self, beat: Callable[[], Any], every_s: float = BEAT_S) -> None:
        self._beat, self._every_s, self._over = beat, every_s, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self._beat()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
