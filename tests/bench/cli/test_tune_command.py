"""`mohge tune` as a user runs it: what it refuses in one line, and a study from the command to the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mohge.bench.cli import main
from mohge.bench.records import Provenance, load_run
from mohge.kernels import tuned

FAKES = Path(__file__).parents[1] / "tuning"
SPEC = "hidden = 16\nwidths = [8, 16]\nexperts_per_group = 2\ntop_k = 2\ntop_groups = 2\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "expected an implementation to tune"),
        (["padded_bmm"], "expected an implementation with something to tune (triton, cupy, numba, numba_mma)"),
        (["nothing.at:ALL"], "cannot be imported"),
        (["triton", "--sampler", "best"], "--sampler: expected one of tpe, random, grid, nsga2, sweep, got 'best'"),
        (["triton", "--sampler", "grid"], "expected at most 10000 combinations"),
        (["triton", "--tokens", "0"], "--tokens: expected whole numbers above 0"),
        (["triton", "--routing-class", "hot"], "--routing-class: expected some of any, balanced, skewed, got 'hot'"),
        (["triton", "--routing-class", "skewed", "--routing", "uniform"], "expected a skewed one, got a balanced one"),
        (["triton", "--fix", "fc1_block_m"], "--fix: expected NAME=VALUE"),
        (["triton", "--fix", "fc1_block_m=17"], "--fix fc1_block_m: expected some of 16, 32, 64, 128, 256, got '17'"),
        (["triton", "--storage", "mysql://x"], "--storage: expected FILE.db"),
        (["triton", "--storage", "none/here.db"], "expected a file in a folder that exists"),
        (["triton", "--energy", "--device", "cpu"], "--energy: expected a GPU"),
        (["triton", "--layer", "3"], "--domain and --layer choose what to take of --trace"),
        (["triton", "some-run"], "expected nothing after the implementation"),
        (["triton", "--replay", "no-run"], "no-run: expected a run"),
        (["apply"], "apply: expected a run"),
        (["apply", "no-run"], "no-run: expected a run"),
        (["--resume", "no-run"], "no-run: expected a run"),
        (["triton", "--resume", "no-run"], "--resume: expected no other choice of what to do"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["tune", *arguments])
    assert ended.value.code == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("mohge: ")
    assert expected in printed
    assert len(printed.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_without_optuna_one_line_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit) as ended:
        main(["tune", "triton"])
    assert ended.value.code == 2
    assert "expected Optuna, which is not installed: pip install optuna" in capsys.readouterr().err


def test_from_the_command_to_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.toml").write_text(SPEC, encoding="utf-8")
    path = os.pathsep.join([str(FAKES), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "FAKE_TUNABLES_LOG": str(tmp_path / "log")}

    chosen = ("fake_tunables:STATIC", "--spec", "tiny.toml", "--tokens", "20", "--seconds", "0.5", "--device", "cpu")
    more = ("--fix", "binary=good,spills", "--sampler", "grid", "--table", "own.json", "--apply")
    words = [sys.executable, "-m", "mohge", "tune", *chosen, *more]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    run = load_run(folder)
    assert run.finished
    (record,) = run.tuning
    assert {trial["outcome"] for trial in record.trials} >= {"complete", "pruned_static"}
    assert "spills" not in (tmp_path / "log").read_text(encoding="utf-8"), "what its binary rules out was run"
    assert record.provenance is Provenance.MEASURED
    assert record.winner is not None
    assert record.winner["ratio_high"] < 1
    assert len(record.winner["cases"]) == 2  # class any: a balanced and a skewed routing
    for case in record.winner["cases"]:
        assert case["counts"] == "cold"  # 20 tokens are a decode step
        assert case["time_us"] == case["cold"]["median_us"]
        assert "all 20 tokens" in case["checked"]
    assert record.trials[0]["origin"] == "current"
    assert record.trials[0]["ratio"] == pytest.approx(1.0)
    assert "x current" in done.stderr
    assert "+ delay = 0" in done.stderr
    (row,) = tuned.read_table(tmp_path / "own.json")
    assert dict(row.values) == {"delay": 0, "binary": "good"}
    assert (row.provenance, row.gpu, row.tokens, row.routing_class) == ("measured", "cpu", 32, "any")
    assert tuned.read_table(folder / "proposal.json") == (row,)

    with pytest.raises(SystemExit) as ended:
        main(["tune", "apply", str(folder), "--table", str(tmp_path / "own.json"), "--json", "-"])
    assert ended.value.code == 0
    assert [row["values"] for row in json.loads(capsys.readouterr().out)["rows"]] == [dict(row.values)]
