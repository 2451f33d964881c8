"""What has to be done to a run file of an older schema, one step for each schema there has been."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .schema import SCHEMA


def upgraded(table: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a run file of any schema, as the present one has it. Raises ValueError saying exactly why not."""
    schema = table["schema"]
    if isinstance(schema, bool) or not isinstance(schema, int):
        raise ValueError(f"schema: expected a whole number, got {schema!r}")
    if schema > SCHEMA:
        raise ValueError(f"written with schema {schema}, newer than the {SCHEMA} this version reads: update mohge")
    while schema < SCHEMA:
        if schema not in UPGRADES:
            raise ValueError(
                f"written with schema {schema}, which this version no longer reads: "
                f"it reads {', '.join(map(str, [*UPGRADES, SCHEMA]))}"
            )
        table = {**UPGRADES[schema](table), "schema": schema + 1}
        schema += 1
    return table


def _from_1(table: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 let `clocks` and `telemetry` of a record be any object; 2 names their fields.

    What does not have the fields that are always there is kept among the record's notes.
    """
    records = table.get("records")
    if not isinstance(records, list):
        return table
    return {**table, "records": [_with_named_fields(record) for record in records]}


def _with_named_fields(record: Any) -> Any:
    if not isinstance(record, dict):
        return record
    always = {"clocks": {"source", "samples"}, "telemetry": {"source", "samples", "window_s"}}
    free = {
        name: record[name]
        for name, needed in always.items()
        if isinstance(record.get(name), dict) and not needed <= set(record[name])
    }
    notes = record.get("notes", {})
    if not free or not isinstance(notes, dict):
        return record
    return {**record, **dict.fromkeys(free), "notes": {**notes, **free}}


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
