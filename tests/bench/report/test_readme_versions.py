"""The column of measured figures in the kernels' own README: from the newest committed run with the most versions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.peers import LADDERS
from mohge.bench.records import Run
from mohge.bench.records.codec import plain
from mohge.bench.report.readme_versions import NOT_MEASURED, READMES, newest, with_figures

VERSIONS = LADDERS["cupy"]
HEADER = "# Kernels\n\n<!-- versions -->\n\n| version | what | TFLOP/s |\n|---|---|---|\n"
END = "\n<!-- end of versions -->\n\nMore words.\n"


def readme(*versions: str, figure: str = "not measured") -> str:
    rows = [f"| [`{name}.cu`]({name}.cu) | `a/b` and more | {figure} |\n" for name in versions]
    return HEADER + "".join(rows) + END


def committed(folder: Path, name: str, run: Run) -> Path:
    path = folder / name / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(plain(run)), encoding="utf-8")
    return path


def run_of(build: Any, times: dict[str, float], tokens: tuple[int, ...] = (16, 256), **more: Any) -> Run:
    records = [
        build.passed(f"cupy_{name}", build.case(tokens=count), time * count, tflops=count / time)
        for count in tokens
        for name, time in times.items()
    ]
    return build.run(records, **more)


@pytest.mark.parametrize("family", READMES)
def test_the_readme_says_what_the_committed_runs_say(family: str) -> None:
    """After a change of a run or of the versions: `make pictures`."""
    text = READMES[family].read_text(encoding="utf-8")
    assert with_figures(text, family) == text


def test_without_a_run_nothing_is_measured(tmp_path: Path) -> None:
    text = readme(*VERSIONS, figure="711 at 9 tokens")
    assert with_figures(text, "cupy", tmp_path) == readme(*VERSIONS, figure=NOT_MEASURED)


def test_each_version_has_its_rate_in_prefill_and_in_decode(build: Any, tmp_path: Path) -> None:
    first, second, *others = VERSIONS
    committed(tmp_path, "gpu", run_of(build, {first: 4.0, second: 2.0}))
    text = with_figures(readme(*VERSIONS), "cupy", tmp_path)
    rows = [line for line in text.splitlines() if line.startswith("| [")]
    assert rows[0].endswith("| `a/b` and more | 64.0 at 256 tokens, 4.00 at 16 tokens |")
    assert rows[1].endswith("| 128 at 256 tokens, 8.00 at 16 tokens |")
    assert all(row.endswith(f"| {NOT_MEASURED} |") for row in rows[2:])
    assert len(rows) == 2 + len(others)
    assert "whole layer on mohge-3b (router, float32), measured on Some CPU, 2 cores, no GPU: `" in text
    assert "Stale: the kernels' sources have changed since this run." in text
    assert with_figures(text, "cupy", tmp_path) == text
    assert with_figures(text, "cupy", tmp_path / "none") == readme(*VERSIONS)


def test_the_newest_run_with_the_most_versions_counts(build: Any, tmp_path: Path) -> None:
    two = dict.fromkeys(VERSIONS[:2], 1.0)
    committed(tmp_path, "a", run_of(build, two, started="2026-01-01T12:00:00+00:00"))
    later = committed(tmp_path, "deeper/b", run_of(build, two, started="2026-01-03T12:00:00+00:00"))
    committed(tmp_path, "c", run_of(build, dict.fromkeys(VERSIONS[:1], 1.0), started="2026-01-04T12:00:00+00:00"))
    assert newest("cupy", tmp_path) == later
    most = committed(
        tmp_path, "d", run_of(build, dict.fromkeys(VERSIONS[:3], 1.0), started="2026-01-02T12:00:00+00:00")
    )
    assert newest("cupy", tmp_path) == most


def test_a_rate_that_is_not_known_is_not_measured(build: Any, tmp_path: Path) -> None:
    run = run_of(build, dict.fromkeys(VERSIONS[:2], 1.0))
    committed(tmp_path, "gpu", replace(run, records=[replace(record, tflops=None) for record in run.records]))
    assert with_figures(readme(*VERSIONS), "cupy", tmp_path).count(NOT_MEASURED) == len(VERSIONS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no table", "expected a table between <!-- versions -->"),
        (
            readme(*VERSIONS[1:]),
            f"expected rows for {', '.join(VERSIONS)} in this order, got {', '.join(VERSIONS[1:])}",
        ),
        (readme(*VERSIONS, "magic"), "magic$"),
    ],
)
def test_a_readme_that_is_none_is_told(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        with_figures(text, "cupy", tmp_path)
