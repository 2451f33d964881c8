"""Which scenarios of a study are kept in full, so that a report can draw their ranks, traffic and time-lines."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import numpy as np

from ...placement import rescore
from ..records import Provenance, StepRecord, WhatIfRecord
from .scenario import Materials
from .settings import GIVEN, Setting, main_setting, settings
from .solve import Solver
from .study import Study

MOST_SETTINGS = 8  # of each the best choice and the baseline
MOST_RANKS = 64  # above it the matrix of bytes is more than anybody looks at


def chosen(records: Iterable[WhatIfRecord], baseline: str) -> list[tuple[WhatIfRecord, bool]]:
    """The baseline and the best choice of the main setting and of those that differ from it in one thing, as
    (record, whether it is the baseline), in the order of the grid.
    """
    found = [setting for setting in settings(records) if setting.given["ranks"] <= MOST_RANKS]
    if not found:
        return []
    main = main_setting(found)
    near = sorted(found, key=lambda setting: _differs(setting, main))
    kept = [setting for setting in near if _differs(setting, main) <= 1][:MOST_SETTINGS]
    picked = {pair[0].number: pair for setting in kept for pair in _pair(setting, baseline)}
    return [picked[number] for number in sorted(picked)]


def _differs(setting: Setting, main: Setting) -> int:
    """In how many things a setting is another one; the cluster goes with the ranks."""
    return sum(setting.given[axis] != main.given[axis] for axis in GIVEN if axis != "cluster")


def _pair(setting: Setting, baseline: str) -> list[tuple[WhatIfRecord, bool]]:
    def plain(row: WhatIfRecord) -> bool:
        return (row.policy, row.replicas, row.capacity) == (baseline, 0, None)

    now = [(row, True) for row in setting.choices if plain(row)]
    return now[:1] + [(setting.best, False)] * (not plain(setting.best))


def steps_of(study: Study, records: Sequence[WhatIfRecord], done: Container[str] = ()) -> list[StepRecord]:
    """The steps of the chosen scenarios whose ids are not among those done. records: the study's, solved."""
    solver = Solver()
    return [
        _step(solver, study, record, now)
        for record, now in chosen(records, study.wanted.baseline)
        if record.id not in done
    ]


def materials_of(study: Study, number: int) -> Materials:
    """What the names of a study's scenario stand for."""
    scenario = study.scenarios[number]
    return Materials(
        spec=study.specs[scenario.spec],
        workload=study.workloads[scenario.routing],
        cluster=study.clusters[scenario.cluster],
        costs=study.costs[study.specs[scenario.spec].hidden],
        baseline=study.wanted.baseline,
        horizon=study.wanted.horizon,
    )


def _step(solver: Solver, study: Study, record: WhatIfRecord, baseline: bool) -> StepRecord:
    scenario = study.scenarios[record.number]
    materials = materials_of(study, record.number)
    cluster = materials.cluster.of(scenario.ranks)
    placement, step, simulation = solver.simulated(scenario, materials, cluster)
    even = len(set(cluster.speeds)) <= 1
    return StepRecord(
        number=record.number,
        id=record.id,
        provenance=Provenance.SIMULATED,
        baseline=baseline,
        rows=simulation.rows.tolist(),
        work=simulation.work.tolist(),
        compute_s=simulation.phases["compute"].tolist(),
        memory=simulation.memory.tolist(),
        straggler=simulation.straggler,
        nodes=cluster.nodes,
        bytes_matrix=np.rint(simulation.bytes_matrix).astype(int).tolist(),
        intervals=[[own.rank, own.phase, own.chunk, own.start_s, own.end_s] for own in simulation.timeline],
        bound=rescore(placement, step.counts).bound if even else None,
    )
