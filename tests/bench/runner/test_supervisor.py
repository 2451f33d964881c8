"""A worker that crashes, hangs or dies early becomes records; the others' work goes on."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from mohge.bench.records import Record, Status
from mohge.bench.runner.jobs import Job, Source
from mohge.bench.runner.supervisor import run_job, worker_environment
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
for tokens, source in job["cases"]:
    for number, name in enumerate(job["implementations"]):
        mark(number)
        misbehave(tokens, name)
        mark(255)
    for name in job["implementations"]:
        case = dict(spec="tiny", tokens=tokens, routing="uniform", dtype="float32", device="cpu")
        record = dict(implementation=name, provenance="measured", status="passed", case=case)
        print(json.dumps(dict(event="record", record=record)), flush=True)
    print(json.dumps(dict(event="case")), flush=True)
"""


@pytest.fixture
def run(tmp_path: Path):
    def run(misbehave: str = "pass", start: str = "", silence: float = 60.0) -> list[Record]:
        script = tmp_path / "worker.py"
        script.write_text(textwrap.dedent(WORKER).format(misbehave=misbehave, start=start), encoding="utf-8")
        job, command = replace(JOB, timeout=silence), (sys.executable, str(script))
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
