"""What-if studies by themselves, on the host: scenarios a second, in one process and in two.

Every scenario of the grid is possible. `scenarios_per_s` in the extra columns of the JSON counts from the first batch
handed out to the last record back, starting the processes included; writing the run file is not. A study is timed when
one of its records is what solving that scenario alone gives.
"""

from __future__ import annotations

from typing import Any

import pytest

from mohge.bench.records import WhatIfRecord
from mohge.bench.whatif import Materials, Study, Wanted, make_study, parse_grid, solve
from mohge.bench.whatif.batches import batches_of, solve_batch
from mohge.bench.whatif.pools import results

POLICIES = "policy=aga,contiguous,lpt,eplb,stratified"
GRIDS = {
    200: f"ranks=4,8,16,32,64 skew=0.4:1.6:0.4 group_loss=0,1 {POLICIES}",
    10_000: "spec=mohge-3b,olmoe-1b-7b-hetero ranks=4,8,16,32,64 skew=0.1:2:0.1 group_loss=0:1:0.25 "
    f"style=by_rank,nccl {POLICIES}",
}


@pytest.mark.parametrize(("scenarios", "workers"), [(200, 1), (10_000, 2)], ids=["one_process", "two_processes"])
def test_what_if(benchmark: Any, scenarios: int, workers: int) -> None:
    """Layers, skews, group losses, ranks and policies, as `mohge what-if --grid` lays them out; 4096 tokens."""
    study = make_study(Wanted(parse_grid([GRIDS[scenarios]]).to_dict()))
    records = benchmark.pedantic(solved, (study, workers), rounds=1 if scenarios > 1000 else 3)
    assert sorted(record.number for record in records) == list(range(scenarios))
    assert all(record.possible for record in records)
    one = study.scenarios[scenarios // 2]
    alone = solve(
        one,
        Materials(
            study.specs[one.spec],
            study.workloads[one.routing],
            study.clusters[one.cluster],
            study.costs[study.specs[one.spec].hidden],
        ),
        scenarios // 2,
    )
    assert next(record for record in records if record.number == alone.number) == alone
    benchmark.group = "what-if"
    if benchmark.stats is not None:  # None with --benchmark-disable
        benchmark.extra_info["scenarios_per_s"] = scenarios / benchmark.stats.stats.median


def solved(study: Study, workers: int) -> list[WhatIfRecord]:
    """All records of a study, in the order in which they were done."""
    return [record for batch in results(solve_batch, batches_of(study), workers) for record in batch]
