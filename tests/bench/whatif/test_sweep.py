"""A study from its first batch to its run file: alone, in processes and on a Dask cluster; killed and gone on with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mohge.bench.records import Environment, Run, RunWriter, WhatIfRecord, load_run
from mohge.bench.whatif import Done, Study, Wanted, make_study, notes_of, parse_grid, run_study, wanted_of
from mohge.bench.whatif.batches import batches_of, solve_batch
from mohge.bench.whatif.pools import default_workers, results

GRID = "ranks=2,4 routing=uniform,zipf:1.2 tokens=64,128 policy=aga,lpt,eplb replicas=0,2"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    spec = tmp_path_factory.mktemp("specs") / "small.toml"
    text = "hidden = 32\nwidths = [32, 64]\nexperts_per_group = 4\ntop_k = 2\ntop_groups = 2\n"
    spec.write_text(text, encoding="utf-8")
    return make_study(Wanted(parse_grid([f"spec={spec}", GRID]).to_dict()))


@pytest.fixture(scope="module")
def alone(study: Study) -> dict[int, WhatIfRecord]:
    return {record.number: record for batch in batches_of(study) for record in solve_batch(batch)}


def new_run(folder: Path, study: Study) -> RunWriter:
    return RunWriter.create(folder, "what-if", command=["mohge"], environment=Environment(), notes=notes_of(study))


def same(run: Run, alone: dict[int, WhatIfRecord]) -> bool:
    return {record.number: record for record in run.what_if} == alone and len(run.what_if) == len(alone)


@contextmanager
def interrupted_after(batches: int) -> Iterator[list[int]]:
    told: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        yield told
    assert len(told) == batches


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_and_gone_on_with(
    study: Study, alone: dict[int, WhatIfRecord], tmp_path: Path, workers: int
) -> None:
    writer = new_run(tmp_path, study)
    with interrupted_after(2) as told:

        def stop(more: int) -> None:
            told.append(more)
            if len(told) == 2:
                raise KeyboardInterrupt

        run_study(study, writer, workers=workers, on_batch=stop)
    half = load_run(writer.path)
    assert half.finished is None
    assert len(half.what_if) == sum(told)
    wanted, digest = wanted_of(half)
    assert (wanted, digest) == (study.wanted, study.digest)
    counted: list[int] = []
    done = Done.of(half)
    with RunWriter.resume(writer.folder) as again:
        run_study(make_study(wanted), again, done, workers=workers, on_batch=counted.append)
    whole = load_run(writer.path)
    assert whole.finished
    assert sum(counted) + len(done.scenarios) == len(alone)
    assert same(whole, alone)


def test_on_a_dask_cluster_of_two_worker_processes(
    study: Study, alone: dict[int, WhatIfRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        new_run(tmp_path, study) as writer,
    ):
        address = cluster.scheduler_address
        run_study(study, writer, dask=address)
        assert len(set(results(_process, [None] * 8, dask=address))) <= 2
        assert os.getpid() not in set(results(_process, [None] * 8, dask=address))
        with closing(results(_process, [None] * 8, dask=address)) as left_early:  # type: ignore[type-var]
            next(left_early)
    assert same(load_run(writer.path), alone)


def _process(_: object) -> int:
    return os.getpid()


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mohge.bench.whatif.pools.CONNECT_S", 0.2)
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        with pytest.raises(ValueError, match=f"--dask {address}: expected the address of a Dask scheduler"):
            next(results(_process, [None], dask=address))


def test_what_fails_in_a_process_fails_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(results(_divide, [1, 0], workers=2))


def _divide(by: int) -> float:
    return 1 / by


def test_processes_where_they_are_worth_their_start() -> None:
    assert default_workers(10) == 1
    assert default_workers(10_000) == len(os.sched_getaffinity(0))


def test_a_run_of_something_else(tmp_path: Path) -> None:
    run = Run(command=[], started="", source_hash="", environment=Environment())
    with pytest.raises(ValueError, match="expected a run of mohge what-if, got another"):
        wanted_of(run)
