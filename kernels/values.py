"""A launch configuration as plain values by name, and back: "fc1_block_m" is `block_m` of the first GEMM's tile.

Tables and tuners know configurations in this form only; each implementation's `config.py` says which fields a tile has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Value = int | str | bool

GEMMS = ("fc1", "fc2")


def join_values(fc1: object, fc2: object, fields: Sequence[str]) -> dict[str, Value]:
    """The named fields of both tiles as flat values, fc1 first."""
    return {
        f"{gemm}_{field}": getattr(tile, field)
        for gemm, tile in zip(GEMMS, (fc1, fc2), strict=True)
        for field in fields
    }


def split_values(
    values: Mapping[str, Value], fields: Sequence[str], ignored: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of both tiles out of flat values, as keyword arguments for them.

    ignored: fields that values may carry and that mean nothing here

    Raises ValueError for a parameter that is missing, unknown or no whole number.
    """
    expected = [f"{gemm}_{field}" for gemm in GEMMS for field in fields]
    allowed = {*expected, *(f"{gemm}_{field}" for gemm in GEMMS for field in ignored)}
    for name in expected:
        if name not in values:
            raise ValueError(f"{name}: expected a value, got none")
    for name, value in values.items():
        if name not in allowed:
            raise ValueError(f"{name}: no such parameter; expected {', '.join(expected)}")
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name}: expected a whole number, got {value!r}")
    fc1, fc2 = ({field: values[f"{gemm}_{field}"] for field in fields} for gemm in GEMMS)
    return fc1, fc2


def both_tiles(choices: Mapping[str, Mapping[str, tuple[Value, ...]]]) -> dict[str, tuple[Value, ...]]:
    """A space of flat parameters from the choices of each GEMM's tile: {"fc1": {"block_m": (16, 32)}, ...}."""
    return {f"{gemm}_{field}": options for gemm in GEMMS for field, options in choices[gemm].items()}


def named(gemm: str, build: Callable[[], Any]) -> Any:
    """What `build` makes; the ValueError of a tile that breaks a rule says which GEMM's it was."""
    try:
        return build()
    except ValueError as error:
        raise ValueError(f"{gemm}: {error}") from error


def broken_rule(build: Callable[[], object]) -> str | None:
    """None, or in one line what `build` raised ValueError for."""
    try:
        build()
    except ValueError as error:
        return str(error)
    return None
