"""What the device's clocks did while samples were taken, as the table under them."""

from __future__ import annotations

from ..records import Record
from .cases import Group
from .formats import NONE, interval_text, is_number, percent_text, whole

# Header, rows and remarks of a variant.
Table = tuple[tuple[str, ...], tuple[tuple[str, ...], ...], tuple[str, ...]]
NO_TABLE: Table = ((), (), ())
CLOCKS = (
    *("implementation", "suspect samples", "with cold, phases", "device busy", "read by", "readings"),
    *("SM clock", "lowest to highest", "memory clock", "held back by (readings)"),
)


def clock_table(group: Group) -> Table:
    """A row for each timed implementation of a case whose clocks were read; nothing where none was."""
    watched = [record for record in group.timed if _watched(record)]
    if not watched:
        return NO_TABLE
    rules = dict.fromkeys(record.clocks.rule for record in watched if record.clocks and record.clocks.rule)
    remarks = tuple(f"{rule[:1].upper()}{rule[1:]}." for rule in rules)
    return CLOCKS, tuple(_row(record) for record in watched), remarks


def _watched(record: Record) -> bool:
    hot = record.hot
    return record.clocks is not None or (hot is not None and (bool(hot.suspects) or is_number(hot.busy_share)))


def _row(record: Record) -> tuple[str, ...]:
    clocks, hot = record.clocks, record.hot
    assert hot is not None
    start = (record.implementation, f"{whole(len(hot.suspects))} of {whole(len(hot.samples_us))}")
    busy = percent_text(hot.busy_share)
    if clocks is None:
        return (*start, NONE, busy, *[NONE] * 6)
    span = interval_text(clocks.low_mhz, clocks.high_mhz, whole)
    held = ", ".join(f"{name} ({whole(count)})" for name, count in clocks.throttle.items())
    return (
        *start,
        whole(clocks.suspects),
        busy,
        clocks.source,
        whole(clocks.samples),
        _mhz(clocks.sm_mhz),
        f"{span} MHz" if span else NONE,
        _mhz(clocks.memory_mhz),
        held or "nothing",
    )


def _mhz(clock: float | None) -> str:
    return f"{whole(clock)} MHz" if is_number(clock) else NONE
