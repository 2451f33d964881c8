"""What is interpreted or simulated on a CPU because the environment asks for it is checked, and has no times."""

from __future__ import annotations

from pathlib import Path

import pytest

from mohge.bench.cli import main
from mohge.bench.records import Provenance, Status, load_run
from mohge.bench.runner.jobs import Job, Source
from mohge.bench.runner.stand_ins import stand_in, without_times
from mohge.reference import LayerSpec

TINY = 'name = "tiny"\nhidden = 32\nwidths = [16, 32]\nexperts_per_group = 4\ntop_k = 2\ntop_groups = 2\n'
NAMES = ("torch_loop", "triton", "numba", "triton_per_group")


def job(device: str) -> Job:
    spec = LayerSpec("tiny", 32, (16, 32), 4, 2, 2)
    return Job(spec, device, "float32", "measured", ((9, Source("router")),), NAMES, roofs=True)


@pytest.fixture(autouse=True)
def nothing_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("TRITON_INTERPRET", "NUMBA_ENABLE_CUDASIM"):
        monkeypatch.delenv(variable, raising=False)


def test_stand_ins_are_jobs_of_their_own_without_times(monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_times(job("cpu")) == [job("cpu")]
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    found = {one.mode: (one.implementations, one.roofs) for one in without_times(job("cpu"))}
    assert found == {
        "measured": (("torch_loop",), True),
        "interpreted": (("triton", "triton_per_group"), False),
        "simulated": (("numba",), False),
    }


def test_on_a_gpu_nothing_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert without_times(job("cuda")) == [job("cuda")]


@pytest.mark.parametrize(("value", "expected"), [("1", "TRITON_INTERPRET"), ("0", None), ("", None)])
def test_a_variable_switched_off_asks_for_nothing(
    value: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", value)
    assert stand_in("triton") == expected
    assert stand_in("torch_loop") is None


def test_the_interpreter_checks_what_the_user_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # before Triton is imported: later tests find it as this one left it
    pytest.importorskip("triton")
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    spec, out = str(tmp_path / "tiny.toml"), str(tmp_path / "runs")
    arguments = ["bench", "--spec", spec, "--tokens", "9", "--implementations", "triton", "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--no-lock", "--no-report", "--out", out])
    assert not ended.value.code
    (path,) = Path(out).glob("*/run.json")
    (record,) = load_run(path).records
    assert (record.implementation, record.provenance, record.status) == (
        "triton",
        Provenance.INTERPRETED,
        Status.PASSED,
    )
    assert record.hot is record.cold is record.tflops is record.speedup is None
    assert not record.phases
    assert "triton: checked, not timed: TRITON_INTERPRET=1" in capsys.readouterr().err
