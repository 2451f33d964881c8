"""Data inside the page: compact JSON in script elements, compressed where it is long."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

from markupsafe import Markup, escape

# The page unpacks what is longer, section by section: its text would slow the opening down and fill the disk.
PACKED_FROM = 200_000
_DIGITS = 7  # of a number: more than any figure shows, and half the bytes


def data_element(identifier: str, value: Any, *, packed: bool = True) -> Markup:
    """`value` as a script element that holds JSON, with data-packed where it is base64 of a zlib stream of it.

    packed: False for what the page needs before it can wait for anything
    """
    text = json.dumps(compact(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    kind = Markup('<script type="application/json" id="{}"{}>{}</script>')
    if not packed or len(text) < PACKED_FROM:
        return kind.format(escape(identifier), "", Markup(text.replace("<", "\\u003c")))
    stream = base64.b64encode(zlib.compress(text.encode(), 6)).decode()
    return kind.format(escape(identifier), Markup(" data-packed"), Markup(stream))


def compact(value: Any) -> Any:
    """`value` as JSON types, its numbers to seven digits; those that are not finite become None, as in a run file."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): compact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if set(map(type, value)) <= {str, int}:
            return value
        return [compact(item) for item in value]
    to_list = getattr(value, "tolist", None)  # NumPy scalars and arrays
    if callable(to_list):
        return compact(to_list())
    raise ValueError(f"cannot be drawn: {type(value).__name__} {value!r}")
