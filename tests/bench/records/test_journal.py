"""The journal: a large run is not rewritten for every record, and still nothing finished is lost or repeated."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mohge.bench.records import (
    CaseRecord,
    Environment,
    PlacementRecord,
    Provenance,
    Record,
    RunWriter,
    Status,
    load_run,
    run_file,
)

CASE = CaseRecord("s", 1, "uniform", "float32", "cpu", id="a")
RECORD = Record("x", Provenance.MEASURED, Status.INCORRECT, CASE, reason="wrong " * 20)
PLACEMENT = PlacementRecord(CASE, "lpt", 2, [0, 1], [1.0, 1.0], [1.0, 1.0], Provenance.PREDICTED)


def numbered(number: int) -> Record:
    return replace(RECORD, implementation=f"x{number}")


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunWriter:
    """A run of ten records in run.json, so large that what follows goes to the journal."""
    writer = RunWriter.create(tmp_path, "large", command=[], environment=Environment())
    for number in range(10):
        writer.append(numbered(number))
    monkeypatch.setattr(run_file, "WHOLE_BYTES", 0)
    monkeypatch.setattr(run_file, "JOURNAL_SHARE", 1.0)
    return writer


def names(folder: Path) -> list[str]:
    return [record.implementation for record in load_run(folder).records]


def in_run_json(folder: Path) -> int:
    return len(json.loads((folder / "run.json").read_text())["records"])


def test_what_is_new_stands_in_the_journal_until_the_end(writer: RunWriter) -> None:
    writer.append(numbered(10))
    writer.add_case([numbered(11)], [PLACEMENT])
    journal = writer.folder / "run.journal"
    assert len(journal.read_text().splitlines()) == 3
    assert in_run_json(writer.folder) == 10
    assert names(writer.folder) == [f"x{number}" for number in range(12)]
    assert load_run(writer.path).placements == [PLACEMENT]
    writer.finish()
    assert not journal.exists()
    assert in_run_json(writer.folder) == 12
    assert names(writer.folder) == [f"x{number}" for number in range(12)]


def test_run_json_is_rewritten_only_when_the_journal_has_grown(
    writer: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_file, "JOURNAL_SHARE", 0.25)
    written = []
    real = run_file.write_atomically
    monkeypatch.setattr(run_file, "write_atomically", lambda *a: written.append(real(*a)) or written[-1])
    for number in range(10, 400):
        writer.append(numbered(number))
    # A fixed share of growth between two of them: 390 records, not 390 files.
    assert 3 <= len(written) <= 20
    assert sum(written) < 10 * writer.path.stat().st_size
    assert names(writer.folder) == [f"x{number}" for number in range(400)]


def test_a_small_run_is_always_whole(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "small", command=[], environment=Environment())
    for number in range(20):
        writer.append(numbered(number))
        assert in_run_json(writer.folder) == number + 1
    assert [path.name for path in writer.folder.iterdir()] == ["run.json"]


@pytest.mark.parametrize("kept", [-1, -5, 3, 1, 0])
def test_a_last_line_cut_off_is_left_out(writer: RunWriter, kept: int) -> None:
    writer.append(numbered(10))
    journal = writer.folder / "run.journal"
    first = journal.read_bytes()
    writer.append(numbered(11))
    torn = journal.read_bytes()[len(first) :][:kept]
    journal.write_bytes(first + torn)
    assert names(writer.folder) == [f"x{number}" for number in range(11)]
    resumed = RunWriter.resume(writer.folder)
    resumed.append(numbered(11))
    assert names(writer.folder) == [f"x{number}" for number in range(12)]


def test_a_last_line_of_zeros_is_left_out(writer: RunWriter) -> None:
    writer.append(numbered(10))
    with (writer.folder / "run.journal").open("ab") as file:
        file.write(b"\0" * 40 + b"\n")
    assert names(writer.folder) == [f"x{number}" for number in range(11)]


def test_a_kill_between_run_json_and_the_journal_repeats_nothing(writer: RunWriter) -> None:
    writer.append(numbered(10))
    journal = (writer.folder / "run.journal").read_bytes()
    writer.finish()
    (writer.folder / "run.journal").write_bytes(journal)
    assert names(writer.folder) == [f"x{number}" for number in range(11)]
    RunWriter.resume(writer.folder)
    assert names(writer.folder) == [f"x{number}" for number in range(11)]


def test_leaving_records_out_of_a_run_with_a_journal(writer: RunWriter) -> None:
    writer.append(numbered(10))
    writer.append(numbered(11))
    RunWriter.resume(writer.folder, lambda run: replace(run, records=run.records[5:]))
    assert names(writer.folder) == [f"x{number}" for number in range(5, 12)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [b"{", *lines[1:]], r"run\.journal: line 1: expected an item of a run, got '\{'"),
        (lambda lines: [lines[1], lines[1]], r"run\.journal: line 1: expected number 10 of records, got number 11"),
        (lambda lines: [lines[0].replace(b'"incorrect"', b'"fine"'), *lines[1:]], r"run\.records\[10\]\.status"),
        (lambda lines: [b"[]", *lines[1:]], r"line 1: expected an item of a run, got '\[\]'"),
    ],
)
def test_a_broken_journal_says_where(writer: RunWriter, change, message: str) -> None:
    writer.append(numbered(10))
    writer.append(numbered(11))
    journal = writer.folder / "run.journal"
    journal.write_bytes(b"\n".join(change(journal.read_bytes().splitlines())) + b"\n")
    with pytest.raises(ValueError, match=message) as caught:
        load_run(writer.folder)
    assert "\n" not in str(caught.value)


def test_a_full_disk_keeps_what_was_there(writer: RunWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.append(numbered(10))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"run\.json: cannot be written: No space left on device"):
        writer.append(numbered(11))
    monkeypatch.undo()
    assert names(writer.folder) == [f"x{number}" for number in range(11)]
    writer.append(numbered(12))
    assert names(writer.folder)[-2:] == ["x10", "x12"]


CHILD = """
import sys
from pathlib import Path
from mohge.bench.records import CaseRecord, Environment, Provenance, Record, RunWriter, Status, load_run, run_file
run_file.WHOLE_BYTES = 5000
case = CaseRecord("s", 1, "uniform", "float32", "cpu")
writer = RunWriter.create(Path(sys.argv[1]), "child", command=[], environment=Environment())
record = Record("x", Provenance.MEASURED, Status.INCORRECT, case, reason="wrong " * 200)
number = 0
try:
    while True:
        writer.append(record)
        number += 1
        print("finished", flush=True)
except ValueError as error:
    print(error)
    print(len(load_run(writer.folder).records) - number)
"""


@pytest.mark.parametrize("after", [4, 11, 24])
def test_a_kill_at_any_moment_loses_nothing_finished(tmp_path: Path, after: int) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(after):
            assert child.stdout.readline() == "finished\n"
        child.send_signal(signal.SIGKILL)
        finished = after + len(child.stdout.readlines())
    (folder,) = tmp_path.iterdir()
    assert len(load_run(folder).records) in (finished, finished + 1)


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    inside = f'mount -t tmpfs -o size=128k none "{disk}" || exit 77; exec "$0" -c "$1" "{disk}"'
    if not shutil.which("unshare"):
        pytest.skip("no unshare to mount a small disk with")
    words = ["unshare", "--mount", "sh", "-c", inside, sys.executable, CHILD]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode in (1, 77) and not done.stdout:
        pytest.skip("a small disk can be mounted by the superuser only")
    *finished, message, difference = done.stdout.splitlines()
    assert len(finished) > 10
    assert message.endswith("run.json: cannot be written: No space left on device")
    assert difference == "0"
