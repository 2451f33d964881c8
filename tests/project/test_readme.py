"""What the README says works: the library example runs, the commands and presets it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mohge.bench.cli import main
from mohge.bench.records import load_run
from mohge.bench.report.readme import BLOCK, picture, rewritten
from mohge.bench.whatif import Solver, make_study, wanted_of
from mohge.bench.whatif.chosen import chosen, materials_of
from mohge.kernels import IMPLEMENTATIONS
from mohge.placement import POLICIES
from mohge.reference import PRESETS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_library_example_runs_and_agrees_with_the_reference() -> None:
    (code,) = blocks("python")
    names: dict = {}
    exec(code, names)
    np.testing.assert_allclose(names["y"].numpy(), names["expected"], rtol=1e-3, atol=1e-5)


def test_every_preset_and_implementation_has_its_row() -> None:
    for name in (*PRESETS, *IMPLEMENTATIONS):
        assert f"| `{name}` |" in README, name
    for name in POLICIES:
        assert f"`{name}`" in README, name


def test_every_command_it_shows_exists(capsys: pytest.CaptureFixture[str]) -> None:
    shown = set(re.findall(r"^mohge ([\w-]+)", "\n".join(blocks("")), flags=re.MULTILINE))
    assert shown >= {"doctor", "run", "bench", "compare", "place", "report"}
    for command in sorted(shown):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
    capsys.readouterr()


def test_every_make_target_it_shows_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_figures_come_from_the_committed_run() -> None:
    """After a change of the run or of the kernels: `make pictures`."""
    assert rewritten(README) == README


def test_pictures_are_those_of_the_committed_runs() -> None:
    found = list(BLOCK.finditer(README))
    assert [Path(each["path"]).parent.name for each in found] == ["cpu", "what-if"]
    for each in found:
        shown = picture(each["path"])
        assert f"({shown})" in README
        assert (ROOT / shown).read_bytes().startswith(b"\x89PNG")


def test_the_committed_study_is_what_the_simulation_says_now() -> None:
    """After a change of policies or of the simulation: the command in its run file again, then `make pictures`."""
    run = load_run(ROOT / "bench/results/what-if")
    study = make_study(wanted_of(run)[0])
    solver = Solver()
    for record, _ in chosen(run.what_if, study.wanted.baseline)[:4]:
        again = solver.solve(study.scenarios[record.number], materials_of(study, record.number), record.number)
        assert again.id == record.id
        for name in ("seconds", "memory", "traffic", "work_over_bound", "net_s"):
            assert getattr(again, name) == pytest.approx(getattr(record, name), rel=1e-6), name
