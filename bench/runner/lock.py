"""One measurement at a time on a device: two at once would disturb each other's times."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..records.files import write_atomically

FOLDER_VARIABLE = "MOHGE_LOCKS"
# Names of the locks that this process and its children hold, each with the process that took it.
_HELD_VARIABLE = "MOHGE_LOCKS_HELD"
_LOOK_S = 0.2


def lock_folder() -> Path:
    """Where lock files lie: $MOHGE_LOCKS, else a folder of this user's among the temporary files."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given) if given else Path(tempfile.gettempdir()) / f"mohge-{os.getuid()}"


def device_name(device: str) -> str:
    """What a device is locked as: cpu, or the GPU's UUID, whichever number it has here."""
    if not device.startswith("cuda"):
        return "cpu"
    import torch

    index = torch.device(device).index or 0
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return f"GPU-{uuid}" if uuid is not None else f"cuda-{index}"


@contextlib.contextmanager
def device_lock(device: str, *, wait: bool = True, say: Callable[[str], None] = lambda _: None) -> Iterator[str]:
    """Hold the lock of a device (cpu, cuda, cuda:1) for the block; the system frees it however the process ends.

    While another process holds it, `say` is told who, and the call waits; with `wait=False` the block begins all the
    same. Gives the words for the run's notes: empty when the lock is held, else that it is not, and who had it. Within
    a process that holds it, and in processes started by it, nothing happens. Raises ValueError when the lock cannot be
    made.
    """
    name = device_name(device)
    if _held_already(name):
        yield ""
        return
    lock = _lock_file(name)
    if not _taken(lock):
        holder = _holder(lock)
        if not wait:
            yield f"{device} was not locked: {holder} was measuring on it"
            return
        say(f"waiting for {device}: {holder} is measuring on it; --no-lock goes on all the same")
        lock.acquire(poll_interval=_LOOK_S)
    if not wait:
        lock.release()
        yield f"{device} was not locked; nobody was measuring on it at the start"
        return
    try:
        with _known_as_held(lock, name):
            yield ""
    finally:
        lock.release()


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder for the block: one process writes a run. Raises ValueError when another does."""
    name = "run-" + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    lock = _lock_file(name)
    if not _taken(lock):
        raise ValueError(f"{folder}: expected a run that nobody is writing, but {_holder(lock)} is")
    try:
        with _known_as_held(lock, name):
            yield
    finally:
        lock.release()


def _lock_file(name: str) -> FileLock:
    folder = lock_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if FOLDER_VARIABLE not in os.environ and folder.stat().st_uid != os.getuid():
            raise PermissionError(1, "it belongs to somebody else")
    except OSError as error:
        raise _unusable(folder, error) from error
    # thread_local=False: the block may be left in another thread than the one that entered it.
    return FileLock(folder / f"{re.sub(r'[^A-Za-z0-9-]+', '_', name)}.lock", thread_local=False)


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except OSError as error:
        raise _unusable(Path(lock.lock_file).parent, error) from error
    return True


def _unusable(folder: Path, error: OSError) -> ValueError:
    reason = error.strerror or error
    return ValueError(f"{folder}: locks cannot be made here: {reason}; {FOLDER_VARIABLE} names another folder")


@contextlib.contextmanager
def _known_as_held(lock: FileLock, name: str) -> Iterator[None]:
    """Tell others who holds it, and this process's children that they need not wait for it."""
    card = _card(lock)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    with contextlib.suppress(OSError):  # a full disk takes away the name, not the lock
        write_atomically(card, [json.dumps({"pid": os.getpid(), "command": _command(), "since": since})])
    before = os.environ.get(_HELD_VARIABLE)
    os.environ[_HELD_VARIABLE] = ",".join(filter(None, [before, f"{name}={os.getpid()}"]))
    try:
        yield
    finally:
        if before is None:
            del os.environ[_HELD_VARIABLE]
        else:
            os.environ[_HELD_VARIABLE] = before
        card.unlink(missing_ok=True)


def _held_already(name: str) -> bool:
    for entry in os.environ.get(_HELD_VARIABLE, "").split(","):
        held, _, holder = entry.rpartition("=")
        if held == name and holder.isdigit() and _alive(int(holder)):
            return True
    return False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _holder(lock: FileLock) -> str:
    """Who holds a lock, in words."""
    try:
        card: dict[str, Any] = json.loads(_card(lock).read_text(encoding="utf-8"))
        return f"process {card['pid']} ({card['command']}, since {card['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _card(lock: FileLock) -> Path:
    return Path(lock.lock_file).with_suffix(".json")


def _command() -> str:
    name = Path(sys.argv[0]).name
    return " ".join(["mohge" if name == "__main__.py" else name, *sys.argv[1:]])
