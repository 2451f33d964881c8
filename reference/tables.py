"""Tables that users write: read from TOML, and held to the keys there are."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file. Raises ValueError, naming the file, for one that cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error


def check_keys(table: Iterable[str], known: Iterable[str], where: str = "") -> None:
    """Raise ValueError for a key that is not known, with the nearest that is; `where` begins the message."""
    known = list(known)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"{where}unknown key {key!r}{hint} Known: {', '.join(known)}")
