"""A worker that crashes, hangs or dies early becomes records; the others' work goes on."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from mohge.bench.records import Record, Status
from mohge.bench.runner.jobs import Job, Source
from mohge.bench.runner.process import Children
from mohge.bench.runner.supervisor import (
    LOST,
    DeviceLostError,
    device_lost,
    not_run,
    run_job,
    worker_environment,
)
from mohge.reference import LayerSpec

SPEC = LayerSpec("tiny", hidden=8, widths=(4, 8), experts_per_group=2, top_k=2, top_groups=1)
JOB = Job(
    SPEC,
    "cpu",
    "float32",
    "measured",
    cases=tuple((tokens, Source("uniform")) for tokens in (1, 2, 3)),
    implementations=("padded_bmm", "torch_loop"),
)

# A stand-in for the worker: it passes every case, but `misbehave` may do something on the way.
WORKER = """
import json, os, sys, time
job = json.load(sys.stdin)
marker = open(sys.argv[1], "r+b", buffering=0)

def mark(number):
    marker.seek(0)
    marker.write(bytes([number]))

def misbehave(tokens, name): {misbehave}

{start}
if job["roofs"]:
    print(json.dumps(dict(event="roof", roof=dict())), flush=True)
for tokens, source in job["cases"]:
    for number, name in enumerate(job["implementations"]):
        mark(number)
        misbehave(tokens, name)
        mark(255)
    for name in job["implementations"]:
        case = dict(spec="tiny", tokens=tokens, routing="uniform", dtype="float32", device="cpu")
        record = dict(implementation=name, provenance="measured", status="passed", case=case)
        print(json.dumps(dict(event="record", record=record)), flush=True)
        {between}
    print(json.dumps(dict(event="case")), flush=True)
"""


@pytest.fixture
def worker(tmp_path: Path):
    def worker(misbehave: str = "pass", start: str = "", between: str = "pass") -> tuple[str, str]:
        script = tmp_path / "worker.py"
        code = textwrap.dedent(WORKER).format(misbehave=misbehave, start=start, between=between)
        script.write_text(code, encoding="utf-8")
        return sys.executable, str(script)

    return worker


@pytest.fixture
def run(worker):
    def run(misbehave: str = "pass", start: str = "", between: str = "pass", silence: float = 60.0) -> list[Record]:
        job, command = replace(JOB, timeout=silence), worker(misbehave, start, between)
        return [record for records in run_job(job, lambda _: None, command=command) for record in records]

    return run


def outcome(records: list[Record], name: str) -> dict[int | None, Status]:
    found = {record.case.tokens: record.status for record in records if record.implementation == name}
    assert len(found) == sum(record.implementation == name for record in records), "a case was recorded twice"
    return found


def test_everything_passes(run) -> None:
    records = run()
    assert outcome(records, "padded_bmm") == outcome(records, "torch_loop") == dict.fromkeys((1, 2, 3), Status.PASSED)


@pytest.mark.parametrize(
    ("how", "word"),
    [("os._exit(3)", "exit code 3"), ("os.kill(os.getpid(), 11)", "SIGSEGV"), ("raise SystemError('lost')", "lost")],
)
def test_crash_takes_down_only_its_own_implementation(run, how: str, word: str) -> None:
    records = run(
        f"tokens == 2 and name == 'torch_loop' and {how}"
        if "raise" not in how
        else f"\n    if (tokens, name) == (2, 'torch_loop'): {how}"
    )
    assert outcome(records, "padded_bmm") == dict.fromkeys((1, 2, 3), Status.PASSED)
    assert outcome(records, "torch_loop") == {1: Status.PASSED, 2: Status.CRASHED, 3: Status.NOT_RUN}
    crash, later = (r for r in records if r.status is not Status.PASSED)
    assert word in crash.reason
    assert "2 tokens" in later.reason


def test_silence_becomes_a_timeout(run) -> None:
    records = run("tokens == 3 and name == 'padded_bmm' and time.sleep(60)", silence=10.0)
    assert outcome(records, "torch_loop") == dict.fromkeys((1, 2, 3), Status.PASSED)
    assert outcome(records, "padded_bmm") == {1: Status.PASSED, 2: Status.PASSED, 3: Status.TIMEOUT}
    assert "no answer for 10 s" in next(r.reason for r in records if r.status is Status.TIMEOUT)


def test_death_before_any_implementation_blames_nobody_and_ends(run) -> None:
    records = run(start="raise ImportError('no weights')")
    assert [r.status for r in records] == [Status.CRASHED] * 2 + [Status.NOT_RUN] * 4
    assert all("no weights" in r.reason for r in records)


def test_a_measuring_worker_never_inherits_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    assert not {"TRITON_INTERPRET", "NUMBA_ENABLE_CUDASIM"} & worker_environment("measured").keys()
    assert worker_environment("interpreted")["TRITON_INTERPRET"] == "1"
    assert "NUMBA_ENABLE_CUDASIM" not in worker_environment("interpreted")


def test_the_records_of_a_case_come_together_or_not_at_all(run, worker) -> None:
    batches = list(run_job(JOB, lambda _: None, command=worker()))
    assert [[(r.implementation, r.case.tokens) for r in batch] for batch in batches] == [
        [("padded_bmm", tokens), ("torch_loop", tokens)] for tokens in (1, 2, 3)
    ]
    # Killed after the first record of a case: it is not there twice.
    records = run(between="tokens == 2 and os.kill(os.getpid(), 9)")
    assert outcome(records, "padded_bmm") == {1: Status.PASSED, 2: Status.CRASHED, 3: Status.NOT_RUN}
    assert outcome(records, "torch_loop") == {1: Status.PASSED, 2: Status.CRASHED, 3: Status.NOT_RUN}
    assert "when memory runs out" in next(r.reason for r in records if r.status is Status.CRASHED)


def test_roofs_are_measured_once_whoever_crashes(worker) -> None:
    events: list[str] = []
    command = worker("tokens == 2 and name == 'torch_loop' and os._exit(1)")
    job = replace(JOB, roofs=True)
    assert len(list(run_job(job, lambda event: events.append(event["event"]), command=command))) == 4
    assert events.count("roof") == 1


def test_a_lost_gpu_ends_the_job_and_says_so_for_all_that_is_left(worker) -> None:
    asked, records = [], []
    job = replace(JOB, device="cuda:1")

    def lost(device: str) -> str:
        asked.append(device)
        return "CUDA error: unknown error"

    command = worker("tokens == 2 and name == 'torch_loop' and os._exit(70)")
    with pytest.raises(DeviceLostError, match="the device is gone: CUDA error: unknown error"):
        records.extend(batch for batch in run_job(job, lambda _: None, command=command, lost=lost))
    assert asked == ["cuda:1"]
    records = [record for batch in records for record in batch]
    for name in job.implementations:
        assert outcome(records, name) == {1: Status.PASSED, 2: Status.NOT_RUN, 3: Status.NOT_RUN}
    assert all((LOST in record.notes) == (record.case.tokens != 1) for record in records)
    (first, *_) = not_run(job, "gone")
    assert [(record.status, record.reason, record.notes) for record in first] == [
        (Status.NOT_RUN, "gone", {LOST: "gone"})
    ] * 2


def test_a_cpu_is_never_lost_and_a_gpu_that_is_not_there_is() -> None:
    assert device_lost("cpu", Children()) is None
    reason = device_lost("cuda:99", Children())
    assert reason
    assert "\n" not in reason


def test_stopping_ends_the_job_without_a_record_of_it(worker) -> None:
    children, batches = Children(), []

    def stop(event: dict) -> None:
        if event["event"] == "case":
            children.stop()

    batches = list(run_job(JOB, stop, command=worker("tokens == 2 and time.sleep(600)"), children=children))
    assert [record.case.tokens for batch in batches for record in batch] == [1, 1]
