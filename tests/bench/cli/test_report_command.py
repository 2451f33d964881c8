"""`mohge report` as it is called: one run, several, and where the page goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mohge.bench.cli import main

RUN = Path(__file__).resolve().parents[3] / "bench" / "results" / "cpu" / "run.json"


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["report", *arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two small runs, and an empty folder to stand in."""
    table = json.loads(RUN.read_text(encoding="utf-8"))
    table["records"], table["placements"] = table["records"][:3], []
    folders = [tmp_path / name for name in ("before", "after")]
    for folder in folders:
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(table), encoding="utf-8")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folders


def test_one_run_is_drawn_beside_it(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert called(str(runs[0]), "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == {
        "report": str(runs[0] / "report.html"),
        "runs": ["before"],
        "records": 3,
    }
    assert (runs[0] / "report.html").is_file()


def test_several_runs_are_drawn_together_here_or_where_it_is_said(runs: list[Path]) -> None:
    assert called(*map(str, runs)) == 0
    assert [path.name for path in Path().iterdir()] == ["report-of-2-runs.html"]
    page = Path("report-of-2-runs.html").read_text(encoding="utf-8")
    assert "How have the implementations" in page
    assert called(*map(str, runs), "--out", "both.html") == 0
    assert Path("both.html").read_text(encoding="utf-8") == page


def test_a_run_given_twice_is_bad_input(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert called(str(runs[0]), str(runs[0] / "run.json")) == 2
    assert "expected different runs" in capsys.readouterr().err
