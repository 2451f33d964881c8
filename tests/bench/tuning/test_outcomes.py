"""Every way a trial can end, in real worker processes, and what never reaches one."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.gate import kept, pose
from mohge.bench.records import Provenance, RunWriter, TuningRecord, collect_environment, load_run
from mohge.bench.runner.jobs import Source
from mohge.bench.runner.process import NOBODY
from mohge.bench.tuning import Outcome, Result, StudyTask, TrialLimits, load_tunable
from mohge.bench.tuning.campaign import QUESTIONS, Campaign, run_campaign
from mohge.bench.tuning.candidate import Candidate
from mohge.bench.tuning.evaluate import WorkerEvaluator
from mohge.bench.tuning.measure import Bench
from mohge.bench.tuning.process import UnusableError
from mohge.bench.tuning.static import examine

MakeTask = Callable[..., StudyTask]


@pytest.fixture
def tune(tmp_path: Path) -> Callable[[StudyTask], TuningRecord]:
    def tune(task: StudyTask) -> TuningRecord:
        writer = RunWriter.create(tmp_path, "tune", command=["mohge"], environment=collect_environment("cpu"))
        with writer:
            (record,) = run_campaign(Campaign((task,), f"sqlite:///{tmp_path}/s.db"), writer, lambda _: None)
        (written,) = load_run(writer.path).tuning
        assert written == record
        assert not (writer.folder / QUESTIONS).exists()
        return record

    return tune


def by_fault(record: TuningRecord, name: str) -> dict[object, tuple[str, str]]:
    firsts = [trial for trial in record.trials if trial["outcome"] not in ("invalid", "duplicate")]
    return {trial["values"][name]: (trial["outcome"], trial["state"]) for trial in firsts}


def test_every_fault_is_an_outcome_and_the_study_goes_on(make_task: MakeTask, tune) -> None:
    limits = TrialLimits(seconds=0.02, timeout=5.0, min_samples=3, max_samples=10)
    faults = ("none", "memory", "raise", "wrong", "crash", "hang")
    record = tune(make_task("FAULTY", limits=limits, choices={"delay": (0,), "fault": faults}))
    assert by_fault(record, "fault") == {
        "none": ("complete", "COMPLETE"),
        "crash": ("crashed", "FAIL"),
        "raise": ("crashed", "FAIL"),
        "hang": ("timeout", "FAIL"),
        "memory": ("out_of_memory", "FAIL"),
        "wrong": ("incorrect", "FAIL"),
    }
    first = {t["values"]["fault"]: t["reason"] for t in record.trials if t["outcome"] not in ("invalid", "duplicate")}
    assert "SIGSEGV" in first["crash"]
    assert "illegal memory access" in first["raise"]
    assert "not done within 5 s" in first["hang"]
    assert "relative error" in first["wrong"]
    assert record.winner is None
    assert "keep the current configuration" in record.notes["verdict"]


def test_a_study_whose_current_configuration_fails_says_so(make_task: MakeTask, tune) -> None:
    record = tune(make_task("BROKEN", trials=5))
    assert "the current configuration cannot be timed: incorrect" in record.notes["ended"]
    assert record.winner is None
    assert [trial["outcome"] for trial in record.trials] == ["lost"]  # to be tried again, should it be mended


@pytest.mark.parametrize(
    ("binary", "word"),
    [
        ("spills", "up spills 96 bytes; down spills 96 bytes"),
        ("shared", "asks for 300000 bytes of shared memory"),
        ("scalar", "no tensor-core instructions"),
        ("broken", "does not compile: ptxas died"),
    ],
)
def test_binaries_that_cannot_be_good_are_pruned(make_task: MakeTask, binary: str, word: str) -> None:
    task = make_task("STATIC")
    tunable = load_tunable(task.implementation)
    current = examine(tunable, task.current, task.spec, task.dtype).resources
    verdict = examine(tunable, {"delay": 0, "binary": binary}, task.spec, task.dtype, current)
    assert verdict.outcome is Outcome.PRUNED_STATIC
    assert word in verdict.reason
    assert examine(tunable, {"delay": 0, "binary": "good"}, task.spec, task.dtype, current).outcome is None


def test_no_tensor_cores_are_asked_for_where_the_current_configuration_has_none(make_task: MakeTask) -> None:
    task = make_task("STATIC")
    tunable = load_tunable(task.implementation)
    assert examine(tunable, {"delay": 0, "binary": "scalar"}, task.spec, task.dtype, ()).outcome is None


def test_predictions_are_labelled_and_nothing_is_run(make_task: MakeTask, tune, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_TUNABLES_LOG", str(tmp_path / "log"))
    record = tune(make_task("STATIC", mode="predicted", trials=20, gpu="NVIDIA H200"))
    assert record.provenance is Provenance.PREDICTED
    assert record.gpu is None
    assert "predicted" in record.objective
    assert record.notes["machine"]["name"] == "NVIDIA H200"
    assert by_fault(record, "binary") == {
        "good": ("complete", "COMPLETE"),
        **dict.fromkeys(("spills", "shared", "scalar", "broken"), ("pruned_static", "PRUNED")),
    }
    assert record.winner is not None
    assert record.winner["values"] == {"delay": 0, "binary": "good"}
    assert not (tmp_path / "log").exists()


# A stand-in for the worker: it takes part in finals and dies while the configuration in `culprit` runs.
WORKER = """
import json, sys
sys.stdin.readline()
print(json.dumps(dict(event="ready")), flush=True)
for line in sys.stdin:
    question = json.loads(line)
    for place, values in enumerate(question.get("candidates", [])):
        open(sys.argv[-1], "r+b").write(bytes([place if {blame} else 255]))
        if values["delay"] == {culprit}:
            raise SystemError("lost")
    found = [dict(outcome="complete", ratio=1.0, time_us=1.0) for _ in question.get("candidates", [])]
    print(json.dumps(dict(event="answer", results=found)), flush=True)
"""


@pytest.fixture
def stand_in(make_task: MakeTask, tmp_path: Path) -> Callable[..., WorkerEvaluator]:
    def stand_in(culprit: int, blame: bool = True) -> WorkerEvaluator:
        script = tmp_path / "worker.py"
        script.write_text(textwrap.dedent(WORKER).format(culprit=culprit, blame=blame), encoding="utf-8")
        task = replace(make_task("PLAIN"), limits=TrialLimits(timeout=20.0))
        return WorkerEvaluator(task, lambda _: None, tmp_path, command=(sys.executable, str(script)))

    return stand_in


def test_a_finalist_that_crashes_is_out_and_the_others_begin_again(stand_in) -> None:
    with stand_in(culprit=4) as evaluator:
        results = evaluator.finals([{"delay": 0}, {"delay": 4}, {"delay": 8}])
    assert [result.outcome for result in results] == [Outcome.COMPLETE, Outcome.CRASHED, Outcome.COMPLETE]
    assert "lost" in results[1].reason


def test_a_crash_that_nobody_caused_ends_the_study(stand_in) -> None:
    with stand_in(culprit=4, blame=False) as evaluator, pytest.raises(UnusableError, match="nothing was running"):
        evaluator.finals([{"delay": 0}, {"delay": 4}])


def test_a_worker_that_does_not_start_ends_the_study(make_task: MakeTask, tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no libraries')")
    with (
        WorkerEvaluator(make_task("PLAIN"), lambda _: None, tmp_path, command=command) as evaluator,
        pytest.raises(UnusableError, match=r"does not start: .*no libraries"),
    ):
        evaluator.evaluate({"delay": 0})


def test_results_survive_json() -> None:
    result = Result(Outcome.TIMEOUT, "late", seconds=3.0, cases=[{"routing": "uniform"}])
    assert Result.from_dict(result.to_dict()) == result


def test_a_study_asks_the_reference_once_for_each_routing(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also after a configuration that was wrong, and in the process that takes over from one that is gone."""
    posed = []

    def counting(*arguments: Any, **options: Any) -> Any:
        posed.append(arguments)
        return pose(*arguments, **options)

    monkeypatch.setattr(kept, "pose", counting)
    task = make_task("FAULTY", sources=(Source("uniform"), Source("zipf:1.2")))
    outcomes = []
    for _ in range(2):
        bench = Bench(task, load_tunable(task.implementation), bytearray([NOBODY]), lambda _: None, tmp_path)
        bench.prepare()
        assert not bench.unusable
        for fault in ("wrong", "none", "raise", "none"):
            candidate = Candidate({"delay": 0, "fault": fault, "idle": 1})
            bench.run([candidate], 0.01)
            outcomes.append(candidate.result().outcome)
    assert outcomes == [Outcome.INCORRECT, Outcome.COMPLETE, Outcome.CRASHED, Outcome.COMPLETE] * 2
    assert len(posed) == 2
