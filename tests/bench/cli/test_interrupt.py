"""Ctrl-C, kill and a full disk at awkward moments: the run stays valid, no process stays, and it can go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from mohge.bench.cli import main, measuring
from mohge.bench.records import Status, load_run
from mohge.bench.runner.process import Children
from mohge.bench.runner.supervisor import DeviceLostError

SPEC = "hidden = 64\nwidths = [16, 48, 96]\nexperts_per_group = 3\ntop_k = 3\ntop_groups = 2\n"
# The run killed here is resumed in this process, and a run goes on only with the threads it was started with.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
TOKENS = (1, 2, 3, 4)
BENCH = ("bench", "--spec", "small.toml", "--routing", "uniform", "--no-report", "--implementations", "torch_loop")


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited two minutes for {what}"
        time.sleep(0.02)


def started_by(number: int) -> list[int]:
    """Processes with this parent that are no zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == number and state != "Z":
            found.append(int(path.parent.name))
    return found


def exists(number: int) -> bool:
    return Path(f"/proc/{number}").exists()


def records(here: Path) -> int:
    found = list(here.glob("runs/*/run.json"))
    return len(load_run(found[0]).records) if found else 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOHGE_LOCKS", str(tmp_path / "locks"))
    (tmp_path / "small.toml").write_text(SPEC, encoding="utf-8")
    return tmp_path


@pytest.fixture
def begin(here: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    with ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[str]:
            environment = {**ENVIRONMENT, "MOHGE_LOCKS": str(here / "locks")}
            words = [sys.executable, "-m", "mohge", *arguments]
            process = subprocess.Popen(words, cwd=here, env=environment, stderr=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_kill_9_then_resuming_loses_and_repeats_nothing(here: Path, begin, capsys: pytest.CaptureFixture[str]) -> None:
    process = begin(*BENCH, "--tokens", ",".join(map(str, TOKENS)), "--seconds", "0.3")
    until(lambda: records(here), "the first case")
    workers = started_by(process.pid)
    process.kill()
    process.wait()
    until(lambda: not any(map(exists, workers)), "the workers to end with the run")
    assert workers
    folder = next(here.glob("runs/*"))
    before = load_run(folder).records
    assert 0 < len(before) < len(TOKENS)

    assert called("bench", "--resume", str(folder), "--no-report", "--json", "whole.json") == 0
    assert f"{len(TOKENS) - len(before)} cases left" in capsys.readouterr().err
    run = load_run(folder)
    assert run.records[: len(before)] == before
    assert Counter(record.case.tokens for record in run.records) == dict.fromkeys(TOKENS, 1)
    assert {record.status for record in run.records} == {Status.PASSED}
    assert len(run.placements) == len({(p.case.id, p.policy, p.ranks) for p in run.placements})
    assert run.finished is not None
    assert json.loads((here / "whole.json").read_text())["records"] == json.loads(run_json(folder))["records"]

    written = run_json(folder)
    assert called("run", "--resume", str(folder)) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert run_json(folder) == written


def run_json(folder: Path) -> str:
    return (folder / "run.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_measuring(here: Path, begin, number: int, code: int) -> None:
    process = begin(*BENCH, "--tokens", "1,40000", "--seconds", "60")
    until(lambda: list(here.glob("runs/*/run.json")) and started_by(process.pid), "the worker to start")
    workers = started_by(process.pid)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code
    folder = next(here.glob("runs/*"))
    assert errors.endswith(
        f"go on with: mohge bench --resume runs/{folder.name}\nmohge: interrupted; what was finished is kept\n"
    )
    assert "Traceback" not in errors
    assert load_run(folder).finished is None
    assert not any(map(exists, workers))


def test_ctrl_c_while_the_command_is_still_being_loaded(here: Path, begin) -> None:
    process = begin("doctor")
    maps = Path(f"/proc/{process.pid}/maps")
    until(lambda: "/numpy/" in maps.read_text(), "the first large library")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, "mohge: interrupted; nothing had been started\n")


@pytest.fixture
def run_begun(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """A bench whose first job ends with an exception, without any worker."""

    def begun(error: BaseException) -> int:
        monkeypatch.setattr(measuring.Session, "measure", lambda *_: (_ for _ in ()).throw(error))
        return called(*BENCH, "--tokens", "1")

    return begun


def test_a_lost_device_is_a_no_and_says_how_to_go_on(run_begun, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_begun(DeviceLostError("the device is gone: it fell off the bus")) == 1
    folder = next(here.glob("runs/*"))
    expected = f"failed: the device is gone: it fell off the bus; go on with: mohge bench --resume runs/{folder.name}"
    assert expected in capsys.readouterr().err
    assert load_run(folder).finished is None


def test_a_full_disk_is_one_line(run_begun, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_begun(ValueError("runs/x/run.json: cannot be written: No space left on device")) == 2
    assert capsys.readouterr().err == "mohge: runs/x/run.json: cannot be written: No space left on device\n"
    assert run_begun(OSError(28, "No space left on device", "page.html")) == 2
    assert capsys.readouterr().err == "mohge: page.html: No space left on device\n"


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, ("--tokens", "3"), "--resume: expected no other choice of what to do, the run has its own, got --tokens"),
        ({}, ("--timeout", "3", "--seed", "1"), "got --seed, --timeout"),
        ({"source_hash": "other"}, (), "got other kernel sources (see --force)"),
        ({"plan": None}, (), "expected a run that says what was to be done"),
    ],
)
def test_what_cannot_be_resumed_is_said_in_one_line(
    run_begun,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    run_begun(KeyboardInterrupt())
    folder = next(here.glob("runs/*"))
    (folder / "run.json").write_text(json.dumps({**json.loads(run_json(folder)), **change}), encoding="utf-8")
    before = run_json(folder)
    capsys.readouterr()
    assert called("bench", "--resume", str(folder), *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mohge: ")
    assert message in line
    assert run_json(folder) == before


def test_no_lock_is_noted_in_the_run(run_begun, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring.Session, "measure", lambda *_: None)
    assert called(*BENCH, "--tokens", "1", "--no-lock") == 0
    notes = load_run(next(here.glob("runs/*"))).notes
    assert notes["lock"] == "cpu was not locked; nobody was measuring on it at the start"


def test_every_process_of_an_ended_session_is_gone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []
    monkeypatch.setattr(Children, "stop", lambda self: stopped.append(self))
    monkeypatch.setattr(measuring.Session, "measure", lambda *_: None)
    assert called(*BENCH, "--tokens", "1") == 0
    assert len(stopped) == 1
