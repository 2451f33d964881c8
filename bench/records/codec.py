"""Dataclasses to plain JSON values and back, with an exact word on what does not fit.

Reading back happens on the measuring machine too (to resume a run), so this needs nothing but the standard library.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable
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
    try:
        return _decoder(kind)(value)
    except _MisfitError as error:
        raise ValueError(f"{where}{error.path}: {error.reason}") from error


class _MisfitError(Exception):
    """A value that does not fit. path: from where decoding began, put together only when something is wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason, self.path = reason, ""

    def under(self, step: str) -> _MisfitError:
        """The same, seen from one step further out."""
        self.path = f"{step}{self.path}"
        return self


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    """What turns parsed JSON into a `kind`: a run of 10 000 records is a million values, so it is found out once."""
    origin = get_origin(kind)
    if kind is Any:
        return lambda value: value
    if origin in (Union, types.UnionType):
        (inner,) = (_decoder(argument) for argument in get_args(kind) if argument is not type(None))
        return lambda value: None if value is None else inner(value)
    if is_dataclass(kind):
        return _object_decoder(kind)
    if origin is list:
        return _list_decoder(get_args(kind)[0])
    if origin is dict:
        return _table_decoder(get_args(kind)[1])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum_decoder(kind)
    return {float: _number, int: _whole, str: _text, bool: _truth}[kind]


def _list_decoder(kind: Any) -> Callable[[Any], Any]:
    item = _decoder(kind)

    def decoded(value: Any) -> list[Any]:
        _expect(isinstance(value, list), "a list", value)
        if kind in _SCALARS and set(map(type, value)) == {kind}:
            return value  # samples, mostly: one by one they take half the time that a long run takes to read
        result = [None] * len(value)
        place = 0
        try:
            for place, one in enumerate(value):
                result[place] = item(one)
        except _MisfitError as error:
            raise error.under(f"[{place}]") from error.__cause__
        return result

    return decoded


def _table_decoder(kind: Any) -> Callable[[Any], Any]:
    item = _decoder(kind)

    def decoded(value: Any) -> dict[str, Any]:
        _expect(isinstance(value, dict), "an object", value)
        result, key = {}, ""
        try:
            for key, one in value.items():
                result[key] = item(one)
        except _MisfitError as error:
            raise error.under(f".{key}") from error.__cause__
        return result

    return decoded


def _object_decoder(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    known = [
        (item.name, _decoder(hints[item.name]), item.default is MISSING and item.default_factory is MISSING)
        for item in fields(kind)
    ]

    def decoded(value: Any) -> Any:
        _expect(isinstance(value, dict), "an object", value)
        arguments, name = {}, ""
        try:
            for name, item, needed in known:
                if name in value:
                    arguments[name] = item(value[name])
                elif needed:
                    raise _MisfitError("expected a value, got none")
        except _MisfitError as error:
            raise error.under(f".{name}") from error.__cause__
        try:
            return kind(**arguments)
        except ValueError as error:
            raise _MisfitError(str(error)) from error

    return decoded


def _enum_decoder(kind: type[Enum]) -> Callable[[Any], Any]:
    known = {member.value: member for member in kind}

    def decoded(value: Any) -> Any:
        _expect(value in list(known), f"one of {', '.join(known)}", value)
        return known[value]

    return decoded


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    if value is None:
        return math.nan  # how `plain` wrote it
    _expect(isinstance(value, int | float) and not isinstance(value, bool), "a number", value)
    return float(value)


def _whole(value: Any) -> int:
    _expect(isinstance(value, int) and not isinstance(value, bool), "a whole number", value)
    return value


def _text(value: Any) -> str:
    _expect(isinstance(value, str), "a text", value)
    return value


def _truth(value: Any) -> bool:
    _expect(isinstance(value, bool), "true or false", value)
    return value


def _expect(holds: bool, what: str, value: Any) -> None:
    if not holds:
        shown = json.dumps(value, default=str)
        raise _MisfitError(f"expected {what}, got {shown if len(shown) <= 60 else shown[:57] + '...'}")
