"""Numbers as people read them: three significant digits, a fitting unit, and a dash where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

from ..records import Speedup

NONE = "–"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether `value` is a finite number."""
    kind = type(value)
    if kind is float or kind is int:  # nearly always, and a report asks millions of times
        return math.isfinite(value)
    return isinstance(value, (int, float)) and kind is not bool and math.isfinite(value)


def digits(value: float | None, places: int = 3) -> str:
    """`places` significant digits, without an exponent between 1e-4 and 1e6."""
    if not is_number(value):
        return NONE
    if value == 0:
        return "0"
    rounded = float(f"{value:.{places - 1}e}")
    exponent = math.floor(math.log10(abs(rounded)))
    if not -4 <= exponent < 6:
        return f"{rounded:.{places - 1}e}"
    return f"{rounded:,.{max(0, places - 1 - exponent)}f}".replace(",", "\u202f")


def whole(value: float | None) -> str:
    """A count, in full."""
    return f"{int(value):,}".replace(",", "\u202f") if is_number(value) else NONE


def _scaled(value: float | None, units: Sequence[tuple[float, str]]) -> str:
    if not is_number(value):
        return NONE
    size, unit = next((pair for pair in units if abs(value) >= pair[0] * 0.9995), units[-1])
    return f"{digits(value / size)} {unit}"


def time_text(microseconds: float | None) -> str:
    """A time given in microseconds."""
    return _scaled(microseconds, ((1e6, "s"), (1e3, "ms"), (1.0, "µs")))


def seconds_text(seconds: float | None) -> str:
    """A time given in seconds."""
    return time_text(seconds * 1e6 if is_number(seconds) else None)


def flops_text(flops: float | None) -> str:
    """A number of floating point operations."""
    return _scaled(flops, ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1.0, "FLOP")))


def bytes_text(count: float | None) -> str:
    """A number of bytes, in binary units."""
    return _scaled(count, ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")))


def rate_text(tflops: float | None) -> str:
    """A rate given in 1e12 FLOP / s."""
    if is_number(tflops) and abs(tflops) < 0.1:
        return f"{digits(tflops * 1e3)} GFLOP/s"
    return f"{digits(tflops)} TFLOP/s"


def interval_text(low: float | None, high: float | None, write: Callable[[float], str] = digits) -> str:
    """An interval of plain ratios, or of what `write` writes; empty where it has no ends."""
    return f"{write(low)} to {write(high)}" if is_number(low) and is_number(high) else ""


def speedup_interval(speedup: Speedup) -> str:
    """The interval of a ratio over the baseline, and the doubt it leaves: "0.98 to 1.03, undecided"."""
    return ", ".join(part for part in (interval_text(speedup.low, speedup.high), speedup.doubt) if part)


def time_interval_text(low: float | None, high: float | None) -> str:
    """An interval of times in microseconds; empty where it has no ends."""
    return f"{time_text(low)} to {time_text(high)}" if is_number(low) and is_number(high) else ""


def percent_text(share: float | None) -> str:
    """A share as a percentage."""
    if not is_number(share):
        return NONE
    return f"{digits(share * 100, 2)} %"


def scientific(value: float | None) -> str:
    """An error: two digits and the exponent."""
    return f"{value:.1e}" if is_number(value) else NONE


def listed(names: Sequence[str]) -> str:
    """Names as a phrase: "a", "a and b", "a, b and c"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count and its noun: "1 record", "2 records"."""
    return f"{count} {noun}" if count == 1 else f"{count} {plural or f'{noun}s'}"


def tokens_text(*counts: int) -> str:
    """Numbers of tokens as a phrase: "1 token", "16 and 2 048 tokens"."""
    return f"{listed([whole(count) for count in counts])} {'token' if counts == (1,) else 'tokens'}"
