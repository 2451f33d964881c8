"""A worker process: its events, who is to blame, and that nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mohge.bench.runner import process
from mohge.bench.runner.process import (
    NOBODY,
    Children,
    Ending,
    How,
    StoppedError,
    WorkerProcess,
    output_of,
)

HEAD = """
import json, os, signal, subprocess, sys, time
request = json.load(sys.stdin)
marker = open(sys.argv[1], "r+b", buffering=0)

def mark(number):
    marker.seek(0)
    marker.write(bytes([number]))

def say(**event):
    print(json.dumps(event), flush=True)

"""


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited a minute for {what}"
        time.sleep(0.02)


def alive(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def worker(tmp_path: Path):
    def start(code: str, **options) -> WorkerProcess:
        script = tmp_path / "worker.py"
        script.write_text(HEAD + textwrap.dedent(code), encoding="utf-8")
        return WorkerProcess((sys.executable, str(script)), {"answer": 42}, **options)

    return start


def outcome(worker: WorkerProcess) -> tuple[list[dict], Ending]:
    with worker:
        return list(worker.events()), worker.ending()


def test_events_come_in_order_and_the_request_arrives(worker) -> None:
    events, ending = outcome(worker("say(a=request['answer']); say(b=2)"))
    assert events == [{"a": 42}, {"b": 2}]
    assert ending == Ending(How.DONE, "", NOBODY)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("mark(3); os._exit(5)", "worker ended with exit code 5"),
        ("mark(3); raise SystemError('first line\\nthe last')", "exit code 1: the last"),
        ("mark(3); os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV"),
        ("mark(3); os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL (the system ends a process so when memory"),
    ],
)
def test_a_crash_says_how_and_who(worker, code: str, reason: str) -> None:
    _, ending = outcome(worker(code))
    assert (ending.how, ending.marker) == (How.CRASHED, 3)
    assert reason in ending.reason


def test_a_line_cut_off_by_death_is_no_event(worker) -> None:
    events, ending = outcome(worker("say(a=1); sys.stdout.write('{\"b\": '); sys.stdout.flush(); os._exit(1)"))
    assert events == [{"a": 1}]
    assert ending.how is How.CRASHED


def test_silence_while_somebody_runs_is_a_timeout(worker) -> None:
    _, ending = outcome(worker("mark(2); time.sleep(600)", silence=0.3))
    assert (ending.how, ending.marker, ending.reason) == (How.TIMEOUT, 2, "no answer for 0.3 s")


def test_nobody_running_has_longer(worker, monkeypatch: pytest.MonkeyPatch) -> None:
    events, ending = outcome(worker("time.sleep(1.0); say(a=1)", silence=0.01))
    assert (len(events), ending.how) == (1, How.DONE)
    monkeypatch.setattr(process, "START_SILENCE", 0.3)
    _, ending = outcome(worker("time.sleep(600)", silence=0.01))
    assert (ending.how, ending.marker) == (How.TIMEOUT, NOBODY)


def test_another_one_running_is_no_silence(worker) -> None:
    code = "for number in range(40):\n    mark(number)\n    time.sleep(0.1)"
    _, ending = outcome(worker(code, silence=3.0))
    assert ending.how is How.DONE


@pytest.mark.parametrize("code", ["time.sleep(600)", "while True: say(a=1); time.sleep(0.01)"])
def test_a_limit_on_all_of_it(worker, code: str) -> None:
    _, ending = outcome(worker(code, limit=0.5))
    assert (ending.how, ending.reason) == (How.TIMEOUT, "not done within 0.5 s")


def test_nothing_is_left_of_a_worker_and_what_it_started(worker) -> None:
    code = "child = subprocess.Popen(['sleep', '600']); say(pids=[os.getpid(), child.pid]); time.sleep(600)"
    with worker(code) as running:
        pids = next(running.events())["pids"]
        assert all(map(alive, pids))
    until(lambda: not any(map(alive, pids)), "the worker and its child to end")


def test_a_worker_that_left_something_behind_has_still_ended(worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_DRAIN_S", 0.2)
    events, ending = outcome(worker("subprocess.Popen(['sleep', '30']); say(a=1); os._exit(4)"))
    assert events == [{"a": 1}]
    assert "exit code 4" in ending.reason


def test_stop_ends_all_from_another_thread(worker) -> None:
    children = Children()
    with worker("mark(1); say(a=1); time.sleep(600)", children=children) as running:
        events = running.events()
        next(events)
        threading.Timer(0.1, children.stop).start()
        assert list(events) == []
        assert running.ending().how is How.STOPPED
    with pytest.raises(StoppedError):
        children.start(["true"])


def test_output_of_a_command() -> None:
    done = output_of(["sh", "-c", "echo out; echo err >&2; exit 3"], Children(), seconds=60)
    assert done is not None
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)
    assert output_of(["sleep", "600"], Children(), seconds=0.1) is None
    children = Children()
    threading.Timer(0.2, children.stop).start()
    with pytest.raises(StoppedError):
        output_of(["sleep", "600"], children, seconds=60)


def test_an_interrupt_while_a_process_starts_comes_after_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    children, real = Children(), subprocess.Popen

    def interrupted(*arguments, **options):
        started = real(*arguments, **options)
        signal.raise_signal(signal.SIGINT)
        return started

    monkeypatch.setattr(process.subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        children.start(["sleep", "600"])
    monkeypatch.undo()
    (running,) = children._running
    assert alive(running.pid)
    children.stop()
    assert not alive(running.pid)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


PARENT = """
import subprocess, sys, time
code = (
    "import os, time; from mohge.bench.runner.process import die_with_parent; die_with_parent(); "
    "print(os.getpid(), flush=True); time.sleep(600)"
)
subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_a_worker_ends_with_its_parent_however_that_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        number = int(parent.stdout.readline())
        assert alive(number)
        os.kill(parent.pid, signal.SIGKILL)
        until(lambda: not alive(number), "the worker to end")
