"""Where studies are kept: opening an Optuna storage by its name, and keeping Optuna quiet."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

JOURNAL = "journal:"
# Several processes may write to one SQLite file; each waits this long for its turn.
_SQLITE_WAIT_S = 60
_ATTEMPTS, _AGAIN_S = 4, 0.2


def optuna() -> Any:
    """Optuna, silent about what it does. Raises ValueError with the remedy where it is not installed."""
    try:
        import optuna as package
    except ImportError as error:
        raise ValueError(
            "mohge tune: expected Optuna, which is not installed: pip install optuna, or --sampler sweep does without"
        ) from error
    package.logging.set_verbosity(package.logging.ERROR)
    return package


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within the block Optuna's warnings of experimental features and of few trials are not shown."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        warnings.filterwarnings("ignore", category=optuna().exceptions.ExperimentalWarning)
        yield


def storage_url(text: str) -> str:
    """What a storage is named with in a run: URLs as they are, files with their whole path. Raises ValueError.

    Known are FILE.db and sqlite:///FILE (several processes on one machine), postgresql://... (many machines), and
    journal:FILE (many machines that share a folder).
    """
    if text.startswith(("postgresql://", "postgresql+")):
        return text
    if text.startswith(JOURNAL):
        return JOURNAL + str(_in_a_folder(text, text.removeprefix(JOURNAL)))
    if text.startswith("sqlite:///"):
        return f"sqlite:///{_in_a_folder(text, text.removeprefix('sqlite:///'))}"
    if text.endswith(".db") and "://" not in text:
        return f"sqlite:///{_in_a_folder(text, text)}"
    raise ValueError(
        f"--storage: expected FILE.db, sqlite:///FILE, postgresql://USER@HOST/NAME or journal:FILE, got {text!r}"
    )


def _in_a_folder(text: str, file: str) -> Path:
    path = Path(file).absolute()
    if not file or path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"--storage {text}: expected a file in a folder that exists")
    return path


def open_storage(url: str) -> Any:
    """The Optuna storage that `storage_url` names. Raises ValueError when it cannot be opened.

    Tried again a few times: of two processes that make the tables of a new database at once, one fails.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with quiet():
                return _opened(url)
        except ImportError as error:
            raise ValueError(f"--storage {url}: expected a database driver: pip install psycopg2-binary") from error
        except Exception as error:  # whatever the database's driver raises
            if attempt == _ATTEMPTS:
                line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise ValueError(f"--storage {url}: cannot be opened: {line}") from error
            time.sleep(_AGAIN_S * attempt)
    raise AssertionError("every attempt returns or raises")


def _opened(url: str) -> Any:
    storages = optuna().storages
    if url.startswith(JOURNAL):
        return storages.JournalStorage(storages.journal.JournalFileBackend(url.removeprefix(JOURNAL)))
    wait = {"timeout": _SQLITE_WAIT_S} if url.startswith("sqlite") else {}
    return storages.RDBStorage(url, engine_kwargs={"connect_args": wait})
