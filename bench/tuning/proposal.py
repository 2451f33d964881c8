"""From the winners of a run to rows of the table of tuned configurations: proposed, shown, and written when asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...kernels import tuned
from ...kernels.tuned import TunedRow
from ..records import Provenance, Run, TuningRecord

FILE_NAME = "proposal.json"


def proposed_rows(run: Run, source: str) -> list[TunedRow]:
    """A row for each study of a run that has a winner; `source` names the run file in it."""
    return [_row(record, source) for record in run.tuning if record.winner is not None and _usable(record)]


def write_proposal(rows: Sequence[TunedRow], folder: Path) -> Path:
    """Write the rows as a table of their own, which MOHGE_TUNED may name to try it. Raises ValueError."""
    path = folder / FILE_NAME
    tuned.write_table(rows, path)
    return path


def table_diff(rows: Sequence[TunedRow], table: Sequence[TunedRow]) -> list[str]:
    """What the rows would change in a table, line by line: + for new and changed, - for what is replaced."""
    known = {row.key: row for row in table}
    lines = []
    for row in rows:
        old = known.get(row.key)
        if old == row:
            continue
        lines.append(
            f"{row.implementation}, {row.gpu}, {row.dtype}, {row.spec_class}, up to {row.tokens} tokens, "
            f"{row.routing_class} ({row.provenance})"
        )
        before = dict(old.values) if old is not None else {}
        for name in dict.fromkeys([*before, *row.values]):
            was, now = before.get(name), row.values.get(name)
            lines += [f"  - {name} = {was}"] if was is not None and was != now else []
            lines += [f"  + {name} = {now}"] if now is not None and was != now else []
        lines += [] if before != dict(row.values) else ["  the same values, from another run"]
    return lines


def apply_rows(rows: Sequence[TunedRow], path: Path, *, allow_predicted: bool = False) -> list[str]:
    """Put rows into the table at `path`, in place of those for the same launches; what changed, as lines.

    A table that does not exist is made. Raises ValueError for rows of no measurement in the package's own table unless
    `allow_predicted`, and for a table that is none.
    """
    predicted = [row for row in rows if row.provenance != Provenance.MEASURED]
    if predicted and not allow_predicted and path.resolve() == tuned.TABLE.resolve():
        raise ValueError(
            f"{path}: expected measured winners, got {predicted[0].provenance} ones; --allow-predicted takes them, "
            "--table names another table"
        )
    if not path.exists() and path.resolve() != tuned.TABLE.resolve():
        if not path.absolute().parent.is_dir():
            raise ValueError(f"{path}: expected a table, or a place for one in a folder that exists")
        table: tuple[TunedRow, ...] = ()
    else:
        table = tuned.read_table(path)
    lines = table_diff(rows, table)
    tuned.write_table({**{row.key: row for row in table}, **{row.key: row for row in rows}}.values(), path)
    tuned.forget()
    return lines


def _usable(record: TuningRecord) -> bool:
    """A replayed study found out nothing new."""
    return "replayed" not in record.notes


def _row(record: TuningRecord, source: str) -> TunedRow:
    winner = record.winner
    assert winner is not None
    machine = record.notes.get("machine") or {}
    return TunedRow(
        implementation=record.implementation,
        gpu=record.gpu or str(machine.get("name", "cpu")),
        spec_class=record.spec_class,
        tokens=record.tokens,
        routing_class=record.routing_class,
        dtype=str(record.notes["dtype"]),
        values=winner["values"],
        provenance=str(record.provenance),
        source=source,
        time_us=winner.get("time_us"),
    )
