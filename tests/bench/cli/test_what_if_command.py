"""`mohge what-if` as a user runs it: what it refuses in one line, what it answers, killed and gone on with."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mohge.bench.cli import main
from mohge.bench.records import load_run

SPEC = "hidden = 32\nwidths = [32, 64]\nexperts_per_group = 4\ntop_k = 2\ntop_groups = 2\n"
GRID = "spec=small.toml ranks=2,4 tokens=64 routing=uniform,zipf:1.2 policy=aga,lpt,eplb replicas=0,2"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOHGE_LOCKS", str(tmp_path / "locks"))
    (tmp_path / "small.toml").write_text(SPEC, encoding="utf-8")
    return tmp_path


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["what-if", *arguments])
    return int(stopped.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--grid", "rnks=4"], "--grid: unknown axis 'rnks'; did you mean 'ranks'?"),
        (["--grid", "ranks=none"], "--grid ranks: expected whole numbers of at least 1"),
        (["--grid", "spec=missing.toml"], "missing.toml: cannot be read"),
        (["--grid", "cluster=missing.toml"], "missing.toml: cannot be read"),
        (["--grid", "routing=trace"], "expected --trace FILE"),
        (["--trace", "missing.csv"], "missing.csv: cannot be read"),
        (["--baseline", "agaa"], "unknown policy 'agaa'"),
        (["--costs", "no-run"], "no-run: expected a run"),
        (["--workers", "2", "--dask", "tcp://x:1"], "--workers and --dask: expected one of them"),
        (["--json", "-", "--csv", "-"], "--csv and --json: expected one of them on standard output"),
        (["--csv", "none/x.csv"], "--csv none/x.csv: cannot be written"),
        (["--resume", "no-run"], "no-run: expected a run"),
        (["--resume", "no-run", "--grid", "ranks=4"], "--resume: expected no other choice of what to do"),
        (["--horizon", "0"], "horizon"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str], expected: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(*arguments) == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("mohge: ")
    assert expected in printed
    assert len(printed.splitlines()) == 1
    assert not (here / "runs").exists()


def test_the_answers_the_files_and_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("--grid", GRID, "--csv", "all.csv", "--json", "all.json") == 0
    said = capsys.readouterr().err
    for words in (
        "24 scenarios, 16 possible, all simulated",
        "quickest over all routings",
        "beaten by none in time, memory and traffic",
        "is balancing worth it here? from aga as it is, net after 1000 steps like the next one",
        "impossible, 8: aga, lpt: places every expert once, and 2 replicas were asked for",
        "seconds of experts (H 32): predicted: H200 data sheet",
        "links of h200x8: nvlink, predicted",
    ):
        assert words in said
    (folder,) = (here / "runs").iterdir()
    run = load_run(folder)
    assert run.finished
    assert json.loads((here / "all.json").read_text()) == json.loads((folder / "run.json").read_text())
    rows = list(csv.DictReader((here / "all.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [record.id for record in sorted(run.what_if, key=lambda one: one.number)]
    assert ended("--resume", str(folder)) == 0
    said = capsys.readouterr().err
    assert "nothing to do" in said
    assert "24 scenarios" in said


def test_nothing_possible_is_a_no(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("--grid", "spec=small.toml tokens=64 ranks=4 policy=aga replicas=2") == 1
    assert "1 scenarios, 0 possible" in capsys.readouterr().err


def test_other_files_than_at_the_start_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("--grid", GRID) == 0
    (folder,) = (here / "runs").iterdir()
    (here / "small.toml").write_text(SPEC.replace("64]", "96]"), encoding="utf-8")
    assert ended("--resume", str(folder)) == 2
    assert "expected the layers, clusters and trace that the run began with" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_ended_early_and_gone_on_with(
    here: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    grid = "spec=small.toml ranks=4 tokens=8192 skew=0:10:0.1 policy=lpt,aga"
    words = [sys.executable, "-m", "mohge", "what-if", "--workers", "2", "--grid", grid]
    with subprocess.Popen(words, cwd=here, env=os.environ, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not any('"number"' in path.read_text() for path in here.glob("runs/*/run.json")):
            assert time.monotonic() < deadline, "waited two minutes for a batch"
            assert process.poll() is None
            time.sleep(0.02)
        workers = _children(process.pid)
        process.send_signal(number)
        assert process.wait(60) == code
    (folder,) = (here / "runs").iterdir()
    kept = load_run(folder)
    assert 0 < len(kept.what_if) < 202
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, f"waited two minutes for {workers} to end"
        time.sleep(0.05)
    assert ended("--resume", str(folder), "--workers", "1") == 0
    assert f"{202 - len(kept.what_if)} of 202 scenarios left" in capsys.readouterr().err.replace("\n", "")
    whole = load_run(folder)
    assert len({record.id for record in whole.what_if}) == len(whole.what_if) == 202
    assert whole.what_if[: len(kept.what_if)] == kept.what_if


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == parent:
            found.append(int(path.parent.name))
    return found
