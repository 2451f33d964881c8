"""Data inside the page: compact JSON in script elements, compressed where it is long."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from markupsafe import Markup, escape

# The page unpacks what is longer, section by section: its text would slow the opening down and fill the disk.
PACKED_FROM = 200_000
BLOCK_OF = 1_000_000  # characters of a section that are unpacked together
_DIGITS = 7  # of a number: more than any figure shows, and half the bytes
_LEVEL = 5  # of compression: 6 takes half as long again for 2 % of the bytes
_FEW = 12  # numbers that are rounded one by one faster than together


@dataclass(frozen=True)
class Blocks:
    """Script elements that hold a section's variants. firsts: the place of the first variant in each of them."""

    elements: list[Markup]
    firsts: list[int]


def data_element(identifier: str, value: Any, *, packed: bool = True) -> Markup:
    """`value` as a script element that holds JSON, with data-packed where it is base64 of a zlib stream of it.

    packed: False for what the page needs before it can wait for anything
    """
    text = msgspec.json.encode(compact(value))
    return _element(identifier, text, packed=packed and len(text) >= PACKED_FROM)


def blocks_of(identifier: str, items: Sequence[tuple[Any, Any]]) -> Blocks:
    """Figures with what else the page must be told of each, or None, as {"figures": [...], "words": {place: ...}}.

    In one element or, where it is long, in several: `identifier`, `identifier`-1, ... The page then unpacks what it
    shows and no more, and the whole text is never in one place.
    """
    texts = [msgspec.json.encode(compact(figure)) for figure, _ in items]
    told = [None if words is None else msgspec.json.encode(compact(words)) for _, words in items]
    firsts, length = [0], 0
    for place, (text, words) in enumerate(zip(texts, told, strict=True)):
        if length >= BLOCK_OF:
            firsts.append(place)
            length = 0
        length += len(text) + len(words or b"")
    packed = len(firsts) > 1 or length >= PACKED_FROM
    elements = []
    for number, (first, end) in enumerate(pairwise([*firsts, len(items)])):
        words = b",".join(
            b'"%d":%b' % (place, said) for place in range(first, end) if (said := told[place]) is not None
        )
        text = b'{"figures":[%b],"words":{%b}}' % (b",".join(texts[first:end]), words)
        elements.append(_element(f"{identifier}-{number}" if number else identifier, text, packed=packed))
    return Blocks(elements, firsts)


def _element(identifier: str, text: bytes, *, packed: bool) -> Markup:
    kind = Markup('<script type="application/json" id="{}"{}>{}</script>')
    if not packed:
        return kind.format(escape(identifier), "", Markup(text.decode().replace("<", "\\u003c")))
    stream = base64.b64encode(zlib.compress(text, _LEVEL)).decode()
    return kind.format(escape(identifier), Markup(" data-packed"), Markup(stream))


def compact(value: Any) -> Any:
    """`value` as JSON types, its numbers to seven digits; those that are not finite become None, as in a run file."""
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        return {str(key): compact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        kinds = set(map(type, value))
        if kinds <= {str, int}:
            return value
        if kinds <= {float, int, type(None)} and len(value) > _FEW:
            return _rounded(value)
        return [compact(item) for item in value]
    to_list = getattr(value, "tolist", None)  # NumPy scalars and arrays
    if callable(to_list):
        return compact(to_list())
    raise ValueError(f"cannot be drawn: {type(value).__name__} {value!r}")


def _rounded(value: Sequence[float | None]) -> list[float | None]:
    """What `compact` makes of numbers, of many at once."""
    numbers = np.array(value, np.float64)
    known = np.isfinite(numbers)
    sizes = np.abs(numbers, where=known & (numbers != 0), out=np.ones_like(numbers))
    places = _DIGITS - 1 - np.floor(np.log10(sizes)).astype(np.int64)
    if np.abs(places).max() > 22:  # powers of ten up to there are exact: the text of what they round has seven digits
        return [compact(item) for item in value]
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    result = (np.rint(numbers * up / down) / up * down).tolist()
    if known.all():
        return result
    return [one if fits else None for one, fits in zip(result, known.tolist(), strict=True)]
