"""`mohge compare` as a user runs it: tables, JSON, Markdown, and exit codes for CI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.cli import main
from mohge.bench.records import RunWriter, Status

COMMITTED = Path(__file__).resolve().parents[3] / "bench" / "results" / "cpu"


def compare(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(scope="module")
def runs(build: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with runs: `before`, `after` with a slow cupy, `noisy`, `broken`, and `level1` to `level4`."""
    here = tmp_path_factory.mktemp("compare")
    medians = {"triton": 100, "cupy": 103, "padded_bmm": 300}
    made = {
        "before": build.run_of({name: build.noisy(m, m) for name, m in medians.items()}),
        "after": build.run_of({name: build.noisy(m * (2 if name == "cupy" else 1), m) for name, m in medians.items()}),
        "noisy": build.run_of({name: build.noisy(m, m, spread=0.3) for name, m in medians.items()}),
        "broken": build.run([build.failed("triton", Status.INCORRECT, "token 3 differs")]),
        "gpu": build.run_of({"triton": [5.0] * 9}, environment=build.gpu),
    }
    made |= {f"level{i}": build.run_of({"triton": build.noisy(100 + 0.1 * i, i)}) for i in range(1, 5)}
    for name, run in made.items():
        (here / name).mkdir()
        RunWriter(here / name, run)
    return here


def test_a_regression_ends_with_exit_code_1_and_says_why(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(str(runs / "before"), str(runs / "after")) == 1
    printed = capsys.readouterr().err
    assert "cupy" in printed
    assert "slower" in printed
    assert "exit code 1: 1 slower" in printed


def test_the_other_way_is_faster_and_passes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(str(runs / "after"), str(runs / "before" / "run.json")) == 0
    printed = capsys.readouterr().err
    assert "1 faster" in printed
    assert "exit code 0: nothing slower or no longer passing" in printed


@pytest.mark.parametrize(("fail_on", "code"), [("never", 0), ("slower", 1), ("undecided", 1)])
def test_what_counts_as_failure_can_be_chosen(
    fail_on: str, code: int, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(str(runs / "before"), str(runs / "after"), "--fail-on", fail_on) == code
    capsys.readouterr()


def test_undecided_fails_only_when_asked(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(str(runs / "before"), str(runs / "noisy")) == 0
    assert compare(str(runs / "before"), str(runs / "noisy"), "--fail-on", "undecided") == 1
    assert "undecided" in capsys.readouterr().err


def test_a_case_that_no_longer_passes_is_a_regression(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(str(runs / "before"), str(runs / "broken")) == 1
    printed = capsys.readouterr().err
    assert "no longer passes: triton on small, 64 tokens, router, float32: incorrect, token 3 differs" in printed
    assert "exit code 1: 1 case no longer passing" in printed
    assert "not compared: cupy on small, 64 tokens, router, float32: only in A" in printed


def test_two_implementations_of_one_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(str(runs / "before"), "--implementations", "triton,cupy", "--json", "-") == 1
    result = json.loads(capsys.readouterr().out)
    (row,) = result["rows"]
    assert (row["implementation"], row["verdict"]) == ("cupy against triton", "slower")
    assert row["ratio"]["low"] > 1
    assert result["counts"] == {"faster": 0, "slower": 1, "same": 0, "undecided": 0}
    assert result["exit_code"] == 1
    assert compare(str(runs / "before"), "--implementations", "triton,cupy", "--threshold", "10") == 0
    assert "1 same, 0 undecided (threshold 10 %)" in capsys.readouterr().err


def test_several_runs_a_side(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (",".join(str(runs / f"level{i}") for i in pair) for pair in ((1, 3), (2, 4)))
    assert compare(a, b, "--json", "-") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["runs_a"], result["runs_b"]) == (2, 2)
    assert [row["verdict"] for row in result["rows"]] == ["same"]


def test_markdown_for_a_pull_request(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(str(runs / "before"), str(runs / "after"), "--markdown") == 1
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 4
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_the_committed_run_against_itself_is_never_different(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(str(COMMITTED), str(COMMITTED / "run.json"), "--which", "both", "--json", "-") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["rows"]
    assert {row["verdict"] for row in result["rows"]} <= {"same", "undecided"}
    assert {row["which"] for row in result["rows"]} == {"hot", "cold"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["before"], "expected two runs (mohge compare A B), or one run and --implementations a,b"),
        (["before", "missing"], "expected a run"),
        (["before", "gpu"], "not comparable: GPU: none in one, Some GPU in the other (--force compares all the same)"),
        (["before,before", "after"], "got one twice"),
        (["level1,level2", "level1"], "twice"),
        (["before", "--implementations", "triton,numba"], "numba has no record here, known: triton, cupy, padded_bmm"),
        (["before", "after", "--which", "warm"], "which: expected hot, cold or phases:NAME, got 'warm'"),
        (["before", "after", "--anchor", "numba"], "anchor: expected auto, none or an implementation"),
        (["before", "after", "--threshold", "0"], "threshold: expected more than 0 % and less than 100 %, got 0 %"),
        (["before", "after", "--run-to-run", "-1"], "run_to_run: expected 0 % or more and less than 100 %, got -1 %"),
        (["before", "after", "--fail-on", "faster"], "--fail-on"),
        (["before", "after", "--case", "t9"], "no record of a case named 't9'"),
        (["before", "after", "--markdown", "--json", "-"], "expected one of them"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    assert compare(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""


def test_force_says_what_it_overrules(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(str(runs / "before"), str(runs / "gpu"), "--force", "--fail-on", "never") == 0
    assert "GPU: none in one, Some GPU in the other" in capsys.readouterr().err
