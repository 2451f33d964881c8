"""Several processes on one study, and one that is killed: each configuration once, nothing finished lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.cli import main
from mohge.bench.records import CaseRecord, Provenance, TuningRecord, load_run
from mohge.bench.records.codec import dumps
from mohge.bench.runner.process import Children
from mohge.bench.tuning import StudyTask, load_tunable
from mohge.bench.tuning.board import Board
from mohge.bench.tuning.loop import start_helper
from mohge.bench.tuning.plans import Wanted, tasks_for
from mohge.bench.tuning.summary import tuning_record
from mohge.reference import LayerSpec

DELAYS = range(100, 112)


def recorded(path: Path) -> StudyTask:
    """A task that replays a record of a dozen configurations: the loop's own work, and no other."""
    trials = [
        {"number": n, "outcome": "complete", "values": {"delay": delay}, "ratio": 1 + 0.01 * n, "time_us": 1.0}
        for n, delay in enumerate(DELAYS)
    ]
    layer = {"name": "tiny", "hidden": 16, "widths": [8], "experts_per_group": 2, "top_k": 1, "top_groups": 1}
    record = TuningRecord(
        implementation="fake_tunables:PLAIN",
        provenance=Provenance.MEASURED,
        gpu="cpu",
        spec_class="h16",
        tokens=32,
        routing_class="balanced",
        case=CaseRecord("tiny", 32, "uniform", "float32", "cpu", layer={**layer, "shared_width": 0}),
        objective="recorded",
        trials=trials,
        notes={"current": {"delay": 100}, "built_in": {"delay": 100}, "routings": ["uniform"]},
    )
    path.write_text(dumps(record), encoding="utf-8")
    spec = LayerSpec.from_dict({**layer, "shared_width": 0})
    wanted = Wanted("fake_tunables:PLAIN", spec, "32", device="cpu", replay=path, sampler="random", trials=len(DELAYS))
    (task,) = tasks_for(wanted)
    return task


def test_two_processes_try_each_configuration_once(url: str, tmp_path: Path) -> None:
    task, children = recorded(tmp_path / "recorded.json"), Children()
    helpers = [start_helper(task, url, tmp_path, children, lock=False, seconds=None) for _ in range(2)]
    for helper in helpers:
        complaint = helper.stderr.read()
        helper.stderr.close()
        assert helper.wait() == 0, complaint
    board = Board(task, load_tunable(task.implementation), url)
    trials = tuning_record(board, task).trials
    assert Counter(t["values"]["delay"] for t in trials if t["outcome"] == "complete") == dict.fromkeys(DELAYS, 1)
    assert {trial["outcome"] for trial in trials} <= {"complete", "duplicate"}


COMMAND = (
    *("tune", "fake_tunables:PLAIN", "--tokens", "300", "--routing-class", "balanced", "--sampler", "grid"),
    *("--seconds", "0.02", "--device", "cpu", "--spec", "tiny.toml"),
)
SPEC = "hidden = 16\nwidths = [8, 16]\nexperts_per_group = 2\ntop_k = 2\ntop_groups = 2\n"


def start(*arguments: str, cwd: Path, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mohge", *arguments]
    environment = {**os.environ, **more}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, stdout=pipe, stderr=pipe)


def resumed(run: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tune", "--resume", str(run)])
    assert ended.value.code == 0


def trials_of(run: Path) -> dict[int, dict[str, Any]]:
    (record,) = load_run(run).tuning
    return {trial["number"]: trial for trial in record.trials}


def test_kill_minus_nine_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.toml").write_text(SPEC, encoding="utf-8")
    log = tmp_path / "log"
    first = start(*COMMAND, cwd=tmp_path, FAKE_TUNABLES_LOG=str(log), FAKE_TUNABLES_PAUSE="4")
    wait_for(lambda: log.exists() and "('delay', 4)" in log.read_text(encoding="utf-8"))  # and does not come back
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    (run,) = (tmp_path / "runs").iterdir()
    before, ran = stored(run), log.read_text(encoding="utf-8").splitlines()
    assert any(trial.state.name == "RUNNING" for trial in before.values()), "killed between two trials"
    kept = {n: trial.user_attrs for n, trial in before.items() if "outcome" in trial.user_attrs}
    assert kept, "nothing was finished before the kill"

    monkeypatch.setenv("FAKE_TUNABLES_LOG", str(log))
    resumed(run)
    after = trials_of(run)
    for number, attributes in kept.items():
        assert after[number]["outcome"] == attributes["outcome"]
        assert after[number]["ratio"] == attributes["result"]["ratio"]
    complete = Counter(trial["values"]["delay"] for trial in after.values() if trial["outcome"] == "complete")
    assert complete == dict.fromkeys((0, 1, 4, 8, 12), 1)
    (lost,) = (trial for trial in after.values() if trial["outcome"] == "lost")
    again = next(trial for trial in after.values() if trial["origin"] == "again")
    assert lost["values"] == again["values"] == {"delay": 4}
    # The second process prepares what was left, the current configuration to compare with, and the finalists.
    more = Counter(log.read_text(encoding="utf-8").splitlines()[len(ran) :])
    done = {attributes["values"]["delay"] for attributes in kept.values() if attributes["outcome"] == "complete"}
    for delay in done - {8}:
        assert more[f"[('delay', {delay})]"] == 1, "timed again as a finalist only"
    assert load_run(run).tuning[0].winner is not None
    assert load_run(run).finished

    resumed(run)
    assert trials_of(run) == after, "a study that was done was gone on with"


def stored(run: Path) -> dict[int, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{run}/study.db"
    (name,) = optuna.get_all_study_names(storage)
    return {trial.number: trial for trial in optuna.load_study(study_name=name, storage=storage).get_trials()}


def wait_for(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail("waited in vain")
        time.sleep(0.05)
