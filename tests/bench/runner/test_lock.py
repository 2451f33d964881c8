"""One measurement at a time on a device, whoever dies on the way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mohge.bench.runner.lock import device_lock, device_name, lock_folder, run_lock

HOLDER = """
import sys
from pathlib import Path
from mohge.bench.runner.lock import device_lock, run_lock
with device_lock("cpu") if sys.argv[1] == "cpu" else run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOHGE_LOCKS", str(tmp_path / "locks"))
    return tmp_path / "locks"


@pytest.fixture
def holder() -> Iterator:
    with ExitStack() as stack:

        def start(what: str = "cpu") -> subprocess.Popen[str]:
            words = [sys.executable, "-c", HOLDER, what]
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            return process

        yield start


def test_waits_and_says_for_whom(holder) -> None:
    other = holder()
    said = []

    def say(text: str) -> None:
        said.append(text)
        other.stdin.write("go on\n")
        other.stdin.flush()

    with device_lock("cpu", say=say) as unlocked:
        assert other.wait(timeout=60) == 0
        assert unlocked == ""
    (text,) = said
    assert f"waiting for cpu: process {other.pid} (-c cpu, since 20" in text
    assert "--no-lock" in text


def test_the_lock_of_a_killed_process_is_free(holder) -> None:
    other = holder()
    other.kill()
    other.wait()
    with device_lock("cpu", say=lambda text: pytest.fail(f"did not expect: {text}")) as unlocked:
        assert unlocked == ""


def test_without_waiting_the_notes_say_so(holder) -> None:
    with device_lock("cpu", wait=False) as unlocked:
        assert unlocked == "cpu was not locked; nobody was measuring on it at the start"
    other = holder()
    with device_lock("cpu", wait=False) as unlocked:
        assert f"cpu was not locked: process {other.pid} " in unlocked


def test_the_process_that_holds_it_and_its_children_need_not_wait(holder) -> None:
    with device_lock("cpu"):
        with device_lock("cpu", say=lambda text: pytest.fail(f"did not expect: {text}")) as unlocked:
            assert unlocked == ""
        holder()  # a child that would wait for ever
    other = holder()
    said = []

    def say(text: str) -> None:
        said.append(text)
        other.kill()

    with device_lock("cpu", say=say):
        assert said, "the child held it by itself, and was not told that this process still does"


def test_a_run_is_written_by_one_process(holder, tmp_path: Path) -> None:
    other = holder(str(tmp_path))
    with pytest.raises(ValueError, match=f"nobody is writing, but process {other.pid} .* is"), run_lock(tmp_path):
        pass
    with run_lock(tmp_path / "another"):
        pass
    other.kill()
    other.wait()
    with run_lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MOHGE_LOCKS", str(tmp_path / "file" / "locks"))
    message = "file/locks: locks cannot be made here: .*; MOHGE_LOCKS names another folder"
    with pytest.raises(ValueError, match=message), device_lock("cpu"):
        pass


def test_where_locks_lie(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    assert lock_folder() == folder
    monkeypatch.delenv("MOHGE_LOCKS")
    assert lock_folder().name.startswith("mohge-")
    assert device_name("cpu") == "cpu"


@pytest.mark.gpu
def test_a_gpu_is_locked_by_its_uuid() -> None:
    assert device_name("cuda") == device_name("cuda:0")
    assert device_name("cuda").startswith("GPU-")
