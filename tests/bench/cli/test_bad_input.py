"""Bad input: one clear line on standard error, exit code 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mohge.bench.cli import main

GOOD = "hidden = 64\nwidths = [32, 64]\nexperts_per_group = 4\ntop_k = 2\ntop_groups = 2\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.toml").write_text(GOOD, encoding="utf-8")
    for name, old, new in (
        ("zero-width", "[32, 64]", "[32, 0]"),
        ("no-groups", "[32, 64]", "[]"),
        ("k-over-e", "top_k = 2", "top_k = 9"),
        ("k-over-groups", "top_k = 2\ntop_groups = 2", "top_k = 5\ntop_groups = 1"),
        ("unknown-key", "hidden", "hiden = 3\nhidden"),
        ("huge", "hidden = 64\nwidths = [32, 64]", "hidden = 65536\nwidths = [65536, 65536]"),
        ("not-toml", "hidden", "hidden ="),
    ):
        (tmp_path / f"{name}.toml").write_text(GOOD.replace(old, new), encoding="utf-8")
    trace = {"sample_start": np.array([0, 4]), "domain": np.array(["text"]), "experts": 8, "layers": np.array([0])}
    good = np.tile(np.array([[[0, 1]]], dtype=np.uint8), (4, 1, 1))
    for name, ids in (
        ("range", good + 100),
        ("repeated", good * 0),
        ("other-k", np.repeat(good, 2, axis=2) + np.array([0, 0, 2, 2])),
    ):
        np.savez(tmp_path / f"{name}.npz", expert_ids=ids.astype(np.uint8), **trace)
    header = "domain,layer," + ",".join(f"expert_{e}" for e in range(8))
    (tmp_path / "eight.csv").write_text(f"{header}\ntext,0,{','.join('3' * 8)}\n", encoding="utf-8")
    (tmp_path / "broken.csv").write_text(f"{header}\ntext,0,1,2\n", encoding="utf-8")
    (tmp_path / "a-file").write_text("", encoding="utf-8")
    return tmp_path


CASES = {
    "unknown preset": (["bench", "--spec", "mohge-3c"], "did you mean 'mohge-3b'"),
    "width zero": (["bench", "--spec", "zero-width.toml"], "widths: expected at least 1, got 0"),
    "no groups": (["bench", "--spec", "no-groups.toml"], "at least one group"),
    "K above E": (["bench", "--spec", "k-over-e.toml"], "top_k: expected at most 8"),
    "K above K_g N": (["bench", "--spec", "k-over-groups.toml"], "top_groups 1 x experts_per_group 4"),
    "unknown key": (["bench", "--spec", "unknown-key.toml"], "unknown key 'hiden'; did you mean 'hidden'"),
    "not TOML": (["bench", "--spec", "not-toml.toml"], "not a TOML file"),
    "no such file": (["bench", "--spec", "missing.toml"], "cannot be read"),
    "trace of another shape": (["run", "--trace", "eight.csv"], "It fits mixtral-8x7b"),
    "ids out of range": (["bench", "--spec", "good.toml", "--trace", "range.npz"], "expert ids from 0 to 7"),
    "ids repeated": (["bench", "--spec", "good.toml", "--trace", "repeated.npz"], "distinct experts"),
    "trace of another K": (["bench", "--spec", "good.toml", "--trace", "other-k.npz"], "top 4"),
    "unknown layer": (["run", "--trace", "eight.csv", "--layer", "9"], "unknown layer 9"),
    "unknown domain": (["run", "--trace", "eight.csv", "--domain", "texts"], "did you mean 'text'"),
    "device not there": (["run", "--device", "cuda:64"], "got 'cuda:64'"),
    "unknown device": (["bench", "--device", "tpu"], "expected auto, cpu, cuda or cuda:N"),
    "folder cannot be written": (["bench", "--spec", "good.toml", "--out", "a-file/runs"], "cannot be written"),
    "unknown timer": (["bench", "--timer", "stopwatch"], "timer: expected one of auto, cpu, events, graph, cupti"),
    "timer of a GPU": (["run", "--device", "cpu", "--timer", "graph"], "timer graph: expected a GPU"),
    "unknown routing": (["bench", "--spec", "good.toml", "--routing", "zip:1"], "did you mean 'zipf'"),
    "impossible routing": (["bench", "--spec", "good.toml", "--routing", "empty_experts:7"], "at most 6"),
    "unknown implementation": (["bench", "--implementations", "tritn"], "did you mean 'triton'"),
    "tokens not numbers": (["bench", "--tokens", "many"], "--tokens: expected whole numbers"),
    "unknown dtype": (["bench", "--dtype", "int8"], "expected auto, float32, float16, bfloat16"),
    "layer too large": (["bench", "--spec", "huge.toml"], "GiB of free memory"),
    "domain without trace": (["bench", "--spec", "good.toml", "--domain", "text"], "--trace, and none was given"),
    "domain without loads": (["place", "--domain", "text"], "--loads, and none was given"),
    "json cannot be written": (["bench", "--spec", "good.toml", "--json", "missing/x.json"], "--json missing/x.json"),
    "unknown policy": (["place", "--policy", "agaa"], "did you mean 'aga'"),
    "no ranks": (["place", "--ranks", "0"], "ranks"),
    "more ranks than experts": (["place", "--ranks", "65"], "65"),
    "loads of another length": (["place", "--loads", "eight.csv"], "64"),
    "loads malformed": (["place", "--spec", "good.toml", "--loads", "broken.csv", "--ranks", "2"], "line 2"),
    "unknown format": (["place", "--loads", "eight.csv", "--format", "cvs"], "did you mean 'csv'"),
    "format of another ending": (["place", "--loads", "eight.csv", "--format", "sglang"], "ending in .pt, .json"),
    "format without loads": (["place", "--format", "eplb"], "--loads, and none was given"),
    "how to measure what is not measured": (["place", "--tokens", "64"], "--tokens: expected beside --measure only"),
    "export of what is measured": (
        ["place", "--measure", "--device", "cpu", "--policy", "lpt", "--export", "map.json"],
        "expected it without --measure",
    ),
    "costs that are no run": (
        ["place", "--measure", "--device", "cpu", "--spec", "good.toml", "--ranks", "2", "--costs", "eight.csv"],
        "eight.csv",
    ),
    "export of all policies": (["place", "--export", "map.json"], "expected --policy, one of aga"),
    "export in an unknown format": (
        ["place", "--policy", "lpt", "--export", "map.json", "--export-format", "trt"],
        "did you mean 'trtllm'",
    ),
    "export to nowhere": (["place", "--policy", "lpt", "--export", "no/where.json"], "--export no/where.json"),
    "export of uneven ranks": (
        ["place", "--policy", "lpt", "--ranks", "7", "--export", "map.json"],
        "the same number of experts on every rank, got 9 to 10",
    ),
    "loads not there": (["place", "--loads", "missing.csv"], "missing.csv"),
    "no run": (["report", "."], "expected a run"),
    "telemetry neither word nor file": (["bench", "--telemetry", "soon"], "expected auto, off, seconds or a trace"),
    "telemetry too short": (["bench", "--telemetry", "1"], "expected 3 to 600 seconds, got 1"),
    "telemetry of a CPU": (["bench", "--device", "cpu", "--telemetry", "3"], "NVML watches GPUs"),
    "telemetry from no trace": (["bench", "--telemetry", "eight.csv"], "eight.csv: not a trace"),
    "nothing to trace": (["trace"], "expected a program to trace after --"),
    "no such program": (["trace", "--", "no-such-program"], "got 'no-such-program'"),
    "no such source": (
        ["trace", "--source", "missing.jsonl", "--", "true"],
        "nvml or a trace file, got 'missing.jsonl'",
    ),
    "source that is no trace": (["trace", "--source", "eight.csv", "--", "true"], "eight.csv: not a trace"),
    "trace file there already": (["trace", "--out", "a-file", "--", "true"], "--out a-file: exists"),
    "trace folder not there": (["trace", "--out", "none/t.jsonl", "--", "true"], "its folder does not exist"),
    "no period": (["trace", "--period", "0", "--", "true"], "period: expected at least 0.02 s, got 0.0"),
    "cost of a program": (["trace", "--cost", "--", "true"], "expected no COMMAND with it"),
    "empty loads": (["place", "--loads", ""], "--loads: expected a path, got an empty one"),
    "empty loads, joined": (["place", "--loads="], "--loads: expected a path, got an empty one"),
    "empty trace": (["run", "--trace", ""], "--trace: expected a path, got an empty one"),
    "empty table": (["tune", "triton", "--table", ""], "--table: expected a path, got an empty one"),
    "empty storage": (["tune", "triton", "--storage", ""], "--storage: expected a path, got an empty one"),
    "empty folder": (["bench", "--out", ""], "--out: expected a path, got an empty one"),
    "empty run to resume": (["bench", "--resume", ""], "--resume: expected a path, got an empty one"),
    "empty run": (["report", ""], "report: expected a word after 'report', got an empty one"),
    "empty run beside another": (
        ["compare", "a-file", ""],
        "compare: expected a word after 'a-file', got an empty one",
    ),
    "empty source": (["trace", "--source", ""], "--source: expected a path, got an empty one"),
    "empty report": (["report", "a-file", "-o", ""], "-o: expected a path, got an empty one"),
    "empty word of a traced program": (["trace", "--", "no-such-program", ""], "got 'no-such-program'"),
    "unknown option": (["run", "--fast"], "--fast"),
    "unknown command": (["rnu"], "rnu"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_exit_code_2(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = CASES[name]
    before = sorted(here.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith("mohge: ")
    assert errors.count("\n") == 1, errors
    assert message in errors
    assert sorted(here.rglob("*")) == before


def test_unreadable_run_says_where(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "run.json").write_text('{"schema": 1, ', encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["report", "run.json"])
    assert ended.value.code == 2
    assert "line 1" in capsys.readouterr().err
