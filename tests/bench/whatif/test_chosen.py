"""The few scenarios that a study keeps in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mohge.bench.records import Environment, Run, RunWriter, load_run
from mohge.bench.whatif import Wanted, make_study, parse_grid, run_study
from mohge.bench.whatif.chosen import MOST_SETTINGS, chosen
from mohge.bench.whatif.sweep import Done

GRID = "tokens=512,2048 ranks=2,4 policy=aga,lpt,contiguous routing=zipf:1.0,zipf:1.4 group_loss=0,1"


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Run]:
    study = make_study(Wanted(parse_grid([GRID]).to_dict()))
    writer = RunWriter.create(tmp_path_factory.mktemp("runs"), "what-if", command=[], environment=Environment())
    with writer:
        run_study(study, writer)
    return study, load_run(writer.path)


def test_the_best_and_the_baseline_of_the_main_setting_and_its_neighbours_are_kept(solved: tuple[Any, Run]) -> None:
    _, run = solved
    by_number = {record.number: record for record in run.what_if}
    main = {"tokens": 2048, "routing": "zipf:1", "group_loss": 0.0, "ranks": 4}
    kept = [by_number[step.number] for step in run.steps]
    for record in kept:
        assert sum(getattr(record, name) != value for name, value in main.items()) <= 1
    own = [step for step in run.steps if all(getattr(by_number[step.number], n) == v for n, v in main.items())]
    assert {by_number[step.number].policy: step.baseline for step in own} == {"aga": True, "lpt": False}
    assert 4 < len(kept) <= 2 * MOST_SETTINGS


def test_a_step_agrees_with_its_record(solved: tuple[Any, Run]) -> None:
    _, run = solved
    by_number = {record.number: record for record in run.what_if}
    for step in run.steps:
        record = by_number[step.number]
        assert (step.id, step.straggler) == (record.id, record.straggler)
        assert max(step.compute_s) == record.compute_s
        assert max(step.memory) == record.memory
        assert np.sum(step.bytes_matrix) == pytest.approx(record.traffic)
        assert max(interval[4] for interval in step.intervals) == record.seconds
        assert sum(step.rows) == record.tokens * 6
        assert step.bound is not None
        assert max(step.work) / step.bound == pytest.approx(record.work_over_bound)


def test_resuming_adds_only_the_steps_that_are_missing(solved: tuple[Any, Run], tmp_path: Path) -> None:
    study, run = solved
    writer = RunWriter(tmp_path, run)
    run_study(study, writer, Done.of(run))
    assert load_run(tmp_path).steps == run.steps


def test_nothing_possible_keeps_nothing() -> None:
    assert chosen([], "aga") == []
