"""What experts take, from the measured records of a run."""

from __future__ import annotations

from pathlib import Path

from ...placement import CostModel
from ..records import load_run
from ..runner.rank_costs import measured_costs


def costs_of(run: Path, hidden: int, implementation: str | None = None) -> CostModel:
    """The table of an implementation's measured times at H = hidden in a run.

    implementation: None for the only one that has such times. Raises ValueError where none has, or several.
    """
    records = load_run(run).records
    asked = dict.fromkeys(
        (record.implementation, record.case.dtype or "", record.case.device)
        for record in records
        if implementation in (None, record.implementation)
    )
    found: dict[str, CostModel] = {}
    for name, dtype, device in asked:
        try:
            source = f"{name}, {dtype} on {device}, {run}"
            costs = measured_costs(records, name, hidden, dtype, device, source)
        except ValueError:
            continue
        error = f"; held-out {costs.error}" if costs.error is not None else ""
        found[source + error] = costs.table
    if len(found) == 1:
        return next(iter(found.values()))
    whose = f" of {implementation}" if implementation else ""
    if not found:
        raise ValueError(
            f"--costs {run}: expected times{whose} of like experts at H {hidden}, as mohge place --measure leaves "
            "them, got none"
        )
    raise ValueError(
        f"--costs {run}: expected times of one implementation, dtype and device at H {hidden}, got "
        f"{len(found)} ({'; '.join(found)}); --implementation chooses"
    )
