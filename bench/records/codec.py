"""Dataclasses to plain JSON values and back, with an exact word on what does not fit.

Reading back happens on the measuring machine too (to resume a run), so this needs nothing but the standard library.
"""

from __future__ import annotations

import json
import math
import types
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_SCALARS = (float, int, str)


def plain(value: Any) -> Any:
    """`value` as JSON types: dataclasses to objects, NumPy and torch numbers and arrays to numbers and lists.

    Numbers that are not finite become None: JSON has no word for them. Raises ValueError for anything else.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    to_list = getattr(value, "tolist", None)  # NumPy scalars and arrays, torch tensors
    if callable(to_list):
        return plain(to_list())
    raise ValueError(f"cannot be written to a run file: {type(value).__name__} {value!r}")


def dumps(value: Any) -> str:
    """One line of JSON for a value `plain` knows. Raises ValueError."""
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def decode(kind: type[T], value: Any, where: str) -> T:
    """A `kind` from parsed JSON. `where` is the path in the file, for the message.

    Fields that `kind` does not know are skipped: a newer minor version may have written them. Raises ValueError.
    """
    return _decode(kind, value, where)


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else _decode(_without_none(kind), value, where)
    if is_dataclass(kind):
        return _object(kind, value, where)
    if origin is list:
        _expect(isinstance(value, list), "a list", value, where)
        if get_args(kind)[0] in _SCALARS and set(map(type, value)) == {get_args(kind)[0]}:
            return value  # samples, mostly: one by one they take half the time that a long run takes to read
        return [_decode(get_args(kind)[0], item, f"{where}[{index}]") for index, item in enumerate(value)]
    if origin is dict:
        _expect(isinstance(value, dict), "an object", value, where)
        return {key: _decode(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        known = [member.value for member in kind]
        _expect(value in known, f"one of {', '.join(known)}", value, where)
        return kind(value)
    return _scalar(kind, value, where)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float:
        if value is None:
            return math.nan  # how `plain` wrote it
        _expect(isinstance(value, int | float) and not isinstance(value, bool), "a number", value, where)
        return float(value)
    if kind is int:
        _expect(isinstance(value, int) and not isinstance(value, bool), "a whole number", value, where)
        return value
    _expect(isinstance(value, kind), {str: "a text", bool: "true or false"}[kind], value, where)
    return value


def _object(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), "an object", value, where)
    hints, arguments = _hints(kind), {}
    for item in fields(kind):
        if item.name in value:
            arguments[item.name] = _decode(hints[item.name], value[item.name], f"{where}.{item.name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"{where}.{item.name}: expected a value, got none")
    try:
        return kind(**arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _without_none(kind: Any) -> Any:
    (inner,) = (argument for argument in get_args(kind) if argument is not type(None))
    return inner


def _expect(holds: bool, what: str, value: Any, where: str) -> None:
    if not holds:
        shown = json.dumps(value, default=str)
        raise ValueError(f"{where}: expected {what}, got {shown if len(shown) <= 60 else shown[:57] + '...'}")
