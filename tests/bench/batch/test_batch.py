"""The parts for a GPU: their plans fit the budget, limits hold, nothing that was done is lost, failures are seen."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import pytest

from mohge.bench.batch.__main__ import main
from mohge.bench.batch.parts import BUDGET_S, PARTS, ROOT, Where, gpu_tests
from mohge.bench.batch.runner import Batch
from mohge.bench.batch.small import main as small
from mohge.bench.batch.step import Step, planned
from mohge.bench.batch.summary import first_errors
from mohge.bench.peers import VERSIONS
from mohge.bench.runner.grids import check_implementations

HANGS = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun', flush=True); time.sleep(60)"


def step(name: str, code: str, estimate: float = 1.0, **more: object) -> Step:
    return Step(name, lambda _s, _o: [sys.executable, "-c", code], estimate, least=0.1, **more)  # type: ignore[arg-type]


class TestPlans:
    @pytest.mark.parametrize("part", PARTS)
    def test_a_part_fits_its_budget_and_says_so(self, part: str, capsys: pytest.CaptureFixture[str]) -> None:
        steps = PARTS[part](Where())
        assert sum(step.estimate for step in steps) <= BUDGET_S + 60
        assert planned(steps, BUDGET_S)[0] >= steps[0].estimate
        assert main([part, "--dry"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[1 : len(steps) + 1]] == [step.name for step in steps]
        assert not Path("gpu-results", part).exists()

    def test_the_ladder_is_timed_beside_the_others_and_before_other_layers(self) -> None:
        steps = PARTS["grid"](Where())
        place = [step.name for step in steps].index("ladder")
        assert place == 1
        assert planned(steps, BUDGET_S)[place] >= steps[place].estimate
        words = steps[place].command(steps[place].estimate, "out")
        given = {word: words[at + 1] for at, word in enumerate(words) if word.startswith("--") and at + 1 < len(words)}
        assert given["--tokens"].split(",")[:2] == ["16384", "64"]
        names = check_implementations(given["--implementations"])
        assert names is not None
        assert {"triton", "cupy", "numba", "numba_mma", "padded_bmm", "torch_grouped_mm", *VERSIONS} <= {*names}
        tried = PARTS["grid"](Where("cpu"))[place].command(60, "out")
        assert check_implementations(tried[tried.index("--implementations") + 1]) == (
            *("padded_bmm", "torch_loop"),
            *VERSIONS,
        )

    def test_the_checkers_see_every_version(self) -> None:
        for tool in ("memcheck", "racecheck", "synccheck"):
            words = [step.command(1.0, "") for step in PARTS["sanitize"](Where()) if step.name.startswith(tool)]
            assert all(tool in command for command in words)
            assert set(VERSIONS) <= {name for command in words for name in command[-1].split(",")}

    def test_what_one_does_not_need_is_the_nexts(self) -> None:
        first, second, third = (step(name, "", estimate=10.0) for name in "abc")
        assert first.granted(30, [second, third]) == 10
        assert second.granted(28, [third]) == 18
        assert third.granted(4, []) == 4
        assert planned([first, second, third], 15) == [10, 5, 0]

    def test_every_file_with_gpu_tests_is_in_a_room(self) -> None:
        files = {name for _, paths, _ in gpu_tests() for name in paths}
        assert "tests/kernels/test_cupy_gpu.py" in files
        assert all("mark.gpu" in (ROOT / name).read_text(encoding="utf-8") for name in files)

    def test_unknown_parts_and_steps_are_bad_input(self, capsys: pytest.CaptureFixture[str]) -> None:
        for words in (["everything"], ["trust", "--only", "again-9"]):
            with pytest.raises(SystemExit, match="2"):
                main(words)
            assert "expected" in capsys.readouterr().err


class TestRunning:
    def test_limits_hold_and_every_step_is_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mohge.bench.batch.runner.GRACE_S", 0.2)
        steps = [
            step("good", "print('3 passed in 1 s')", most=20),
            step("bad", "raise ValueError('no such thing')", most=20),
            step("slow", HANGS, most=1.5),
            step("answer", "raise SystemExit(1)", most=20, answers={1: "slower"}),
            step("absent", "", needs="no-such-program"),
        ]
        results = Batch("mine", steps, 60, tmp_path / "mine", tmp_path / "pack").run(lambda _: None)
        assert [r.status for r in results] == ["passed", "failed", "time limit", "passed", "not installed"]
        assert "3 passed" in results[0].why
        assert "no such thing" in results[1].errors[0]
        assert results[2].seconds < 20
        assert (tmp_path / "mine" / "slow.log").read_text() == "begun\n"
        kept = json.loads((tmp_path / "mine" / "summary.json").read_text())
        assert [one["status"] for one in kept["steps"]] == [r.status for r in results]
        assert "| bad | failed |" in (tmp_path / "pack" / "mine.md").read_text()
        with tarfile.open(tmp_path / "pack" / "mine.tar.gz") as packed:
            assert {"mine/summary.json", "mine/good.log"} <= set(packed.getnames())

    def test_without_time_nothing_is_begun(self, tmp_path: Path) -> None:
        results = Batch("mine", [step("late", "print()")], 1, tmp_path).run(lambda _: None)
        assert results[0].status == "no time"
        assert not (tmp_path / "late.log").exists()

    def test_first_errors_are_those_that_tell_of_trouble(self) -> None:
        text = "\n".join(["fine", "E   AssertionError: 3", "E   AssertionError: 3", "FAILED tests/x", "1 failed"])
        assert first_errors(text) == ("E   AssertionError: 3", "FAILED tests/x")
        assert first_errors("one\ntwo\n\n") == ("two",)
        assert first_errors("") == ()


class TestSmall:
    def test_the_small_layer_is_checked(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert small(["--device", "cpu", "--dtype", "float32", "--implementations", "torch_loop,padded_bmm"]) == 0
        assert capsys.readouterr().out.count("passed") == 4

    def test_names_are_checked_before_anything_is_done(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            small(["--device", "cpu", "--implementations", "torch_loop,leder"])
        assert "did you mean 'ladder'?" in capsys.readouterr().err

    def test_a_failure_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from mohge.kernels.torch_loop import TorchLoopLayer

        call = TorchLoopLayer.__call__
        monkeypatch.setattr(TorchLoopLayer, "__call__", lambda self, x, plan: 1.01 * call(self, x, plan))
        assert small(["--device", "cpu", "--dtype", "float32", "--implementations", "torch_loop"]) == 1
