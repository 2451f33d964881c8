"""What compilers made, on disk: one file for each content, shared by processes that never wait for each other."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path


def cache_folder() -> Path:
    """$MOHGE_CACHE, else $XDG_CACHE_HOME/mohge, else ~/.cache/mohge; made when absent.

    Raises ValueError when it cannot be made. A relative XDG_CACHE_HOME counts as none, as the XDG base directory
    specification has it.
    """
    shared = Path(os.environ.get("XDG_CACHE_HOME") or "")
    usual = (shared if shared.is_absolute() else Path.home() / ".cache") / "mohge"
    folder = Path(os.environ.get("MOHGE_CACHE") or usual).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the kernel cache {folder}: {error.strerror}; set MOHGE_CACHE") from error
    return folder


def content_key(parts: Iterable[str | bytes]) -> str:
    """A short name for everything a compiled kernel depends on; the order and the boundaries of `parts` count."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def cached(name: str, make: Callable[[], bytes]) -> Path:
    """The cache's file `name`; its content comes from `make` the first time.

    Two processes may both call `make`; each writes a file of its own and renames it, so that readers see either
    nothing or the whole. Raises ValueError when the folder cannot be written.
    """
    path = cache_folder() / name
    return path if path.exists() else store(name, make())


def store(name: str, content: bytes) -> Path:
    """Write the cache's file `name`, whole or not at all. Raises ValueError when the folder cannot be written."""
    path = cache_folder() / name
    try:
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(scratch).replace(path)
    except OSError as error:
        raise ValueError(
            f"cannot write to the kernel cache {path.parent}: {error.strerror}; set MOHGE_CACHE"
        ) from error
    return path
