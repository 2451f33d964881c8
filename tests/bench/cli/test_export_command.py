"""`mohge export` as it is called: targets, standard output, and what it refuses."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from mohge.bench.cli import main
from mohge.bench.cli.export import with_markdown_target
from mohge.bench.records import load_run

ROOT = Path(__file__).resolve().parents[3]
RUN = ROOT / "bench" / "results" / "cpu"


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["export", *arguments])
    return int(ended.value.code or 0)


def test_every_format_is_written_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"perfetto": "trace.json", "csv": "records.csv", "markdown": "table.md", "benchmark-json": "saved.json"}
    options = [word for option, name in names.items() for word in (f"--{option}", str(tmp_path / name))]
    assert called(str(RUN), *options, "--json", "-") == 0
    written = json.loads(capsys.readouterr().out)
    assert written["written"] == {option: str(tmp_path / name) for option, name in names.items()}
    assert written["runs"] == [{"run": "cpu", "records": len(load_run(RUN).records)}]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names.values())
    assert json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    assert (tmp_path / "records.csv").read_text(encoding="utf-8").startswith("run,implementation,")


def test_markdown_alone_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("--markdown", str(RUN)) == 0
    alone = capsys.readouterr().out
    assert alone.startswith("**")
    assert "| `torch_grouped_mm` | passed |" in alone
    assert called(str(RUN), "--markdown") == 0
    assert capsys.readouterr().out == alone


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["run", "--markdown"], ["run", "--markdown", "-"]),
        (["run", "--markdown", "a.md"], ["run", "--markdown", "a.md"]),
        (["run", "--markdown", "-"], ["run", "--markdown", "-"]),
        (["--markdown", "--csv", "a.csv", "run"], ["--markdown", "-", "--csv", "a.csv", "run"]),
        (["--markdown=a.md", "run"], ["--markdown=a.md", "run"]),
    ],
)
def test_markdown_takes_a_file_only_where_one_is_named(given: list[str], meant: list[str]) -> None:
    assert with_markdown_target(given) == meant


def test_a_run_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "run.json"
    copy.write_bytes((RUN / "run.json").read_bytes())
    before = copy.read_bytes()
    assert called(str(RUN), "--csv", str(copy)) == 2
    assert "not part of a run" in capsys.readouterr().err
    assert copy.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "at least one of --perfetto, --csv, --markdown, --benchmark-json"),
        (("--markdown", "-", "--samples"), "--samples: expected --csv"),
        (("--csv", "-", "--markdown", "-"), "got - twice"),
        (("--csv", "-", "--json", "-"), "got - twice"),
        (("--csv", "no/such/folder/a.csv"), "--csv no/such/folder/a.csv: cannot be written"),
        ((str(RUN), "--csv", "-"), "twice"),
        (("no/such/run", "--csv", "-"), "no/such/run: expected a run"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(str(RUN), *arguments) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""


def test_a_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.csv"
    target.write_text("before", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert called(str(RUN), "--csv", str(target)) == 2
    assert target.read_text(encoding="utf-8") == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_links_and_pipes_stay_what_they_are(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "a.csv", tmp_path / "link.csv", tmp_path / "pipe"
    target.write_text("before", encoding="utf-8")
    link.symlink_to(target)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    assert called(str(RUN), "--csv", str(link), "--markdown", str(pipe)) == 0
    assert os.read(reader, 1 << 16).startswith(b"**")
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8").startswith("run,")
