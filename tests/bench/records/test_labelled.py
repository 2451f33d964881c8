"""Several runs, each under a name that tells it from the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from mohge.bench.records import load_runs, run_labels

RUN = Path(__file__).resolve().parents[3] / "bench" / "results" / "cpu"


def test_a_run_is_called_by_its_folder_or_by_as_many_as_tell_it_apart() -> None:
    assert run_labels([Path("/runs/a/run.json")]) == ["a"]
    assert run_labels([Path("/x/a/run.json"), Path("/x/b/run.json")]) == ["a", "b"]
    assert run_labels([Path("/x/a/run.json"), Path("/y/a/run.json")]) == ["x/a", "y/a"]
    assert run_labels([Path("/x/one.json"), Path("/x/two.json")]) == ["one", "two"]
    assert run_labels([Path("/a/run.json"), Path("/x/a/run.json")]) == ["/a", "x/a"]


def test_runs_keep_their_order_and_folder(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "run.json").write_bytes((RUN / "run.json").read_bytes())
    first, second = load_runs([tmp_path / "copy", RUN / "run.json"])
    assert (first.label, second.label) == ("copy", "cpu")
    assert (first.folder, second.folder) == (tmp_path / "copy", RUN)


def test_a_run_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="expected different runs"):
        load_runs([RUN, RUN / "run.json"])
