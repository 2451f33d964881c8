"""CSV: a row for every scenario, in the order of their numbers. An empty cell is a value that is not known."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import fields

from ..records import WhatIfRecord
from .answers import fronts

COLUMNS = tuple(item.name for item in fields(WhatIfRecord))


def scenarios_csv(records: Sequence[WhatIfRecord]) -> Iterator[str]:
    """The fields of `WhatIfRecord`, shares of groups with spaces between, and `front`: whether no other choice under
    the same question beats it in seconds, memory and traffic.
    """
    on_front = {record.id for front in fronts(records).values() for record in front}
    yield _line([*COLUMNS, "front"])
    for record in sorted(records, key=lambda record: record.number):
        values = [getattr(record, name) for name in COLUMNS]
        yield _line([*map(_cell, values), _cell(record.id in on_front if record.possible else None)])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(map(repr, value)) if isinstance(value, list) else str(value)


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
