"""What records answer, on records made by hand whose answers can be seen at once."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

import pytest

from mohge.bench.records import IMPOSSIBLE, POSSIBLE, Provenance, WhatIfRecord
from mohge.bench.whatif.answers import best, fronts, in_one_sentence, question, reasons, worth
from mohge.bench.whatif.table import scenarios_csv

PLAIN = WhatIfRecord(
    number=0,
    id="0",
    spec="s",
    tokens=64,
    routing="uniform",
    group_loss=0.0,
    seed=0,
    ranks=4,
    policy="aga",
    replicas=0,
    capacity=None,
    cluster="c",
    style="by_rank",
    provenance=Provenance.SIMULATED,
    status=POSSIBLE,
    seconds=1.0,
    memory=100,
    traffic=10.0,
)


def record(number: int, **changes: Any) -> WhatIfRecord:
    return replace(PLAIN, number=number, id=str(number), **changes)


RECORDS = [
    record(0),
    record(1, policy="lpt", seconds=0.5, memory=200),
    record(2, policy="eplb", seconds=0.4, memory=200, traffic=20.0),
    record(3, policy="round_robin", seconds=1.0, memory=101),
    record(4, routing="zipf:1", seconds=4.0),
    record(5, routing="zipf:1", policy="lpt", seconds=1.0, memory=300),
    record(6, routing="zipf:1", policy="round_robin", seconds=9.0),
    record(7, routing="zipf:1", policy="eplb", status=IMPOSSIBLE, reason="policy 'eplb': no", seconds=None),
    record(8, routing="zipf:1", policy="exact", status=IMPOSSIBLE, reason="policy 'exact' no", seconds=None),
    record(9, routing="zipf:1", ranks=9, status=IMPOSSIBLE, reason="ranks: too many", seconds=None),
]


def test_best_is_possible_everywhere_and_compared_with_the_baseline() -> None:
    (found,) = best(RECORDS, "aga")
    assert found.choice.policy == "lpt"  # eplb is quicker once and impossible once
    assert found.seconds == pytest.approx(0.5**0.5)
    assert found.against == pytest.approx(2 / 0.5**0.5)
    assert (found.memory, found.traffic, found.won, found.questions) == (300, 10.0, 1, 2)
    (other,) = best(RECORDS, "contiguous")
    assert other.against is None
    assert best([RECORDS[9]], "aga") == []


def test_fronts_are_of_one_question() -> None:
    found = {asked.routing: [each.number for each in front] for asked, front in fronts(RECORDS).items()}
    assert found == {"uniform": [2, 1, 0], "zipf:1": [5, 4]}


def test_worth_is_the_change_that_gains_most() -> None:
    nothing = {"saved_s": 0.0, "migration_bytes": 0.0, "migration_s": 0.0, "pays_after": 0.0, "net_s": 0.0}
    loses = {"saved_s": -0.1, "migration_bytes": 5.0, "migration_s": 1.0, "pays_after": None, "net_s": -11.0}
    gains = {"saved_s": 0.5, "migration_bytes": 5.0, "migration_s": 1.0, "pays_after": 2.0, "net_s": 4.0}
    changes = [
        record(0, **nothing),
        record(1, policy="lpt", **loses),
        record(2, policy="eplb", **gains),
        record(3, ranks=8, **nothing),
        record(4, ranks=8, policy="lpt", **loses),
        record(5, ranks=16),
    ]
    found = worth(changes, 10)
    assert [each.record.number for each in found] == [2, 4]  # staying as it is is no change
    assert [each.paid.worth for each in found] == [True, False]
    assert "not quicker afterwards" in str(found[1].paid)
    assert in_one_sentence(found).startswith("balancing is worth it in 1 of 2 cases: there it pays after 2 steps")
    assert in_one_sentence(found[1:]) == "balancing is worth it in none of 1 cases: no change pays within 10 steps"
    assert "could not be placed" in in_one_sentence([])


def test_reasons_of_several_policies_are_one() -> None:
    assert dict(reasons(RECORDS)) == {"eplb, exact: no": 2, "ranks: too many": 1}


def test_csv_has_every_scenario_in_order_and_says_which_are_on_a_front() -> None:
    rows = list(csv.DictReader("".join(scenarios_csv(RECORDS[::-1])).splitlines()))
    assert [row["number"] for row in rows] == [str(number) for number in range(10)]
    assert [row["front"] for row in rows] == ["true", "true", "true", "false", "true", "true", "false", "", "", ""]
    assert rows[9]["seconds"] == ""
    assert rows[9]["reason"] == "ranks: too many"
    assert question(RECORDS[0]).routing == "uniform"
