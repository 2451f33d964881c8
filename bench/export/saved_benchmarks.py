"""pytest-benchmark's JSON: what `pytest-benchmark compare` reads, under the names that the suite's tests have.

So `pytest bench/suite --benchmark-compare FILE` finds the tests of a run, and `pytest-benchmark compare` takes several
such files. Statistics are those of pytest-benchmark itself, over the samples that the run's medians are of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeGuard

import pytest_benchmark
from pytest_benchmark.stats import Stats

from ..plugin.clock import ReplayClock
from ..plugin.machine import difference, essentials, facts
from ..plugin.saved import Named, case_name, counted, description
from ..records import LabelledRun, Record, Run, Samples
from ..records.codec import dumps, plain
from ..report.cases import is_measured
from ..report.formats import is_number


def benchmark_json(runs: Sequence[LabelledRun]) -> Iterator[str]:
    """One file for all runs. Raises ValueError when they were made on different machines: such a file names one."""
    machines = [_machine(item.run) for item in runs]
    for here, there in pairwise(machines):
        if difference(here, there):
            names = [str((machine["gpu"] or {}).get("name") or machine["cpu_model"]) for machine in (here, there)]
            raise ValueError(
                f"--benchmark-json: expected runs of one machine, as such a file names one, got {' and '.join(names)}; "
                "write a file for each: pytest-benchmark compare takes several"
            )
    first = runs[0].run
    head = {
        "machine_info": machines[0],
        "commit_info": _commit(first),
        "datetime": first.started,
        "version": pytest_benchmark.__version__,
        "mohge_runs": [_about(item) for item in runs],
    }
    yield dumps(head)[:-1] + ',"benchmarks":['
    before = "\n"
    for item in runs:
        for entry in _entries(item, several=len(runs) > 1):
            yield before + dumps(entry)
            before = ",\n"
    yield "]}\n"


def _about(item: LabelledRun) -> dict[str, Any]:
    """Which run it is, and how many of its records have no place in such a file."""
    records = item.run.records
    untimed = sum(not any(True for _ in _series(record)) for record in records)
    about = {"run": item.label, "command": item.run.command, "started": item.run.started, "records": len(records)}
    return {**about, "without_times": untimed, "commit": _commit(item.run)}


def _entries(item: LabelledRun, *, several: bool) -> Iterator[dict[str, Any]]:
    machine = _machine(item.run)
    for record in item.run.records:
        for named, samples, cold in _series(record):
            mark = f"@{item.label}" if several else ""
            yield {
                "group": named.group,
                "name": named.name + mark,
                "fullname": named.fullname + mark,
                "params": {**named.params, "run": item.label} if several else named.params,
                "param": named.param,
                "extra_info": {
                    **description(samples, record.case.device, cold=cold),
                    **essentials(machine, record.case.device),
                    **_info(record, named, samples),
                    "run": item.label,
                },
                "options": {"disable_gc": False, "timer": ReplayClock().__name__, "warmup": False},
                "stats": _stats(samples),
            }


def _series(record: Record) -> Iterator[tuple[Named, Samples, bool]]:
    """Every usable series of a measured record, under the name of the test that measures the same: (..., cold)."""
    if not is_measured(record):
        return
    case = record.case
    name = case_name(case.spec, case.tokens, case.routing, case.dtype)
    name += "".join(f"-{word}{number}" for word, number in (("seed", case.seed), ("step", case.step)) if number)
    own = {"case": name, "implementation": record.implementation}
    if _usable(record.hot):
        yield Named("test_layer.py", "test_layer", own), record.hot, False
    if _usable(record.cold):
        yield Named("test_layer_cold.py", "test_layer_cold", own), record.cold, True
    for phase, samples in record.phases.items():
        if _usable(samples):
            params = {"case": name, "phase": phase, "implementation": record.implementation}
            yield Named("test_phases.py", "test_phase", params), samples, False


def _usable(samples: Samples | None) -> TypeGuard[Samples]:
    return (
        samples is not None and bool(samples.samples_us) and all(is_number(us) and us > 0 for us in samples.samples_us)
    )


def _info(record: Record, named: Named, samples: Samples) -> dict[str, Any]:
    """What the suite says beside the times."""
    case = record.case
    info: dict[str, Any] = {name: value for name, value in named.params.items() if name != "case"}
    info |= {"status": str(record.status), "case": case.id}
    info |= {name: getattr(case, name) for name in ("spec", "tokens", "routing", "dtype", "seed")}
    if "phase" not in named.params and is_number(record.useful_flops) and is_number(samples.median_us):
        info["tflops"] = record.useful_flops / samples.median_us * 1e-6
    return info


def _stats(samples: Samples) -> dict[str, Any]:
    stats = Stats()
    for microseconds in counted(samples):
        stats.update(microseconds / 1e6)
    return {**stats.as_dict(), "data": stats.data, "iterations": 1}


def _machine(run: Run) -> dict[str, Any]:
    """What the plugin adds to a session's machine_info, and of the rest what a run file knows."""
    environment = run.environment
    cpu = {"brand_raw": environment.cpu.get("model"), "count": environment.cpu.get("cores")}
    known = {"python_version": environment.python, "platform": environment.platform, "cpu": cpu}
    return plain({**known, **facts(environment)})


def _commit(run: Run) -> dict[str, Any]:
    revision = run.git.revision if run.git else "unversioned"
    times = {"time": None, "author_time": None}
    return {
        "id": revision,
        **times,
        "dirty": bool(run.git and run.git.dirty),
        "project": "mohge",
        "branch": "(unknown)",
    }
