"""The ladder: every version of an implementation is a contestant of its own, or a record that says why not."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from mohge.bench.peers import CONTESTANTS, LADDERS, PEERS, VERSIONS, contestant, family_of, peer_notes
from mohge.bench.runner import abilities
from mohge.bench.runner.grids import check_implementations
from mohge.bench.runner.jobs import Job, Source
from mohge.bench.runner.process import NOBODY
from mohge.bench.runner.stand_ins import stand_in
from mohge.bench.runner.worker import Worker
from mohge.bench.tuning.plans import Wanted, tasks_for
from mohge.bench.tuning.task import load_tunable
from mohge.kernels import IMPLEMENTATIONS, tuned
from mohge.kernels.cupy.config import KINDS
from mohge.kernels.cupy.implementation import CupyImplementation
from mohge.kernels.triton.config import VERSIONS as LEFT_OUT
from mohge.kernels.triton.implementation import TritonImplementation
from mohge.reference import ExpertWeights, LayerSpec

RISING = LayerSpec("rising", 16, (16, 24), 1, 1, 1)
ODD = LayerSpec("odd", 12, (16, 8), 1, 1, 1)
TRITON = [name for name in VERSIONS if family_of(name) == "triton"]
CUPY = [name for name in VERSIONS if family_of(name) == "cupy"]


@pytest.fixture
def on_the_host(monkeypatch: pytest.MonkeyPatch, host_engine: Any) -> None:
    """The versions of cupy run on the CPU, through the engine that executes their sources there."""
    monkeypatch.setitem(IMPLEMENTATIONS, "cupy", CupyImplementation(engine=host_engine))


def records_of(spec: LayerSpec, dtype: str, *names: str) -> dict[str, dict[str, Any]]:
    output = io.StringIO()
    job = Job(spec, "cpu", dtype, "interpreted", ((5, Source("uniform")),), names)
    Worker(job, output, bytearray([NOBODY])).run()
    events = [json.loads(line) for line in output.getvalue().splitlines()]
    return {e["record"]["implementation"]: e["record"] for e in events if e["event"] == "record"}


def test_the_ladder_is_the_versions_that_there_are() -> None:
    assert LADDERS["cupy"] == tuple(KINDS)
    assert [f"cupy_{version}" for version in KINDS] == CUPY
    assert [f"triton_{version}" for version in LEFT_OUT] == TRITON
    assert not set(VERSIONS) & {*IMPLEMENTATIONS, *PEERS}
    for name in VERSIONS:
        found = contestant(name)
        assert found is CONTESTANTS[name]
        assert (found.name, VERSIONS[name].load().name) == (name, name)
        assert found.description
        assert peer_notes(name) == {}
    assert family_of("cupy") is family_of("nobody") is None


def test_a_word_names_the_ladder_and_near_misses_are_told() -> None:
    assert check_implementations("cupy,ladder,cupy_mma") == ("cupy", *VERSIONS)
    with pytest.raises(ValueError, match=r"did you mean 'cupy_wgmma'\? Known: .*; ladder: .*cupy_tile"):
        check_implementations("cupy_wgma")
    with pytest.raises(ValueError, match=r"did you mean 'ladder'\?"):
        check_implementations("lader")


@pytest.mark.usefixtures("on_the_host")
def test_each_version_is_checked_under_its_own_name() -> None:
    records = records_of(RISING, "float16", *CUPY)
    assert {name: record["status"] for name, record in records.items()} == dict.fromkeys(CUPY, "passed")
    tiles = [records[name]["executed_flops"] for name in CUPY]
    assert len(set(tiles)) > 1  # not the same kernels under several names


@pytest.mark.skipif(torch.cuda.is_available(), reason="what the interpreter does")
def test_versions_of_triton_are_checked_and_never_timed_on_a_cpu() -> None:
    records = records_of(RISING, "float16", *TRITON)
    assert {name: record["status"] for name, record in records.items()} == dict.fromkeys(TRITON, "passed")
    assert [stand_in(name) for name in (*TRITON, *CUPY)] == ["TRITON_INTERPRET"] * len(TRITON) + [None] * len(CUPY)


@pytest.mark.parametrize("version", LEFT_OUT)
def test_a_version_of_triton_does_without_what_it_leaves_out(version: str) -> None:
    spec, whole = LayerSpec.preset("mohge-3b"), TritonImplementation()
    held = TritonImplementation(version)
    left_out = {f"{gemm}_{name}": value for gemm in ("fc1", "fc2") for name, value in LEFT_OUT[version].items()}
    differs = False
    for rows in (16, 384, 6144, 98304):
        values, full = (one.current_values(spec, rows, "bfloat16") for one in (held, whole))
        assert values == full | left_out
        assert held.check_values(values, spec, "bfloat16") is None
        differs |= values != full
        if values != full:
            assert f"for version {version}, got" in str(held.check_values(full, spec, "bfloat16"))
    assert differs
    assert all(held.space(spec, "bfloat16")[name] == (value,) for name, value in left_out.items())
    with pytest.raises(ValueError, match="version: expected one of auto, pointers, unswapped, got 'fast'"):
        TritonImplementation("fast")


@pytest.mark.usefixtures("on_the_host")
@pytest.mark.parametrize(("spec", "dtype", "reason"), [(RISING, "float32", "16-bit types"), (ODD, "float16", "of 8")])
def test_a_version_that_cannot_is_a_record_with_the_reason(spec: LayerSpec, dtype: str, reason: str) -> None:
    records = records_of(spec, dtype, *CUPY)
    assert records["cupy_tile"]["status"] == "passed"
    for name in CUPY[1:]:
        assert records[name]["status"] == "unsupported"
        assert reason in records[name]["reason"]
        with pytest.raises(ValueError, match=f"{name}: .*{reason}"):
            VERSIONS[name].prepare(spec, ExpertWeights.random(spec, 1), "cpu", getattr(torch, dtype))


def test_without_a_gpu_every_version_says_so() -> None:
    reasons = {VERSIONS[name].supports(RISING, torch.bfloat16, torch.device("cpu")) for name in CUPY}
    assert reasons == {"CUDA C++ runs on NVIDIA GPUs, not on device type cpu"}


def test_rows_of_the_tuned_table_are_those_of_the_version_s_own_name(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, host_engine: Any
) -> None:
    tunable: Any = load_tunable("cupy_mma")
    values = tunable.current_values(RISING, 16, "float16")
    assert (tunable.name, values["version"]) == ("cupy_mma", "mma")
    other = {**values, "fc1_band": values["fc1_band"] + 1}
    row = tuned.TunedRow("cupy_mma", "cpu", tuned.spec_class(RISING), 16, "any", "float16", other, "measured", "a run")
    tuned.write_table([row], tmp_path / "table.json")
    monkeypatch.setenv(tuned.VARIABLE, str(tmp_path / "table.json"))
    assert tunable.current_values(RISING, 16, "float16") == other
    assert CupyImplementation("mma", host_engine).current_values(RISING, 16, "float16") == values
    wrong = replace(row, values=load_tunable("cupy_tile").current_values(RISING, 16, "float16"))
    tuned.write_table([wrong], tmp_path / "table.json")
    tuned.forget()
    with pytest.raises(ValueError, match=r"tuned table .*version: expected mma, got tile"):
        tunable.current_values(RISING, 16, "float16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="what is predicted without a GPU")
@pytest.mark.parametrize("name", [CUPY[1], TRITON[0]])
def test_a_version_is_tuned_like_its_implementation(name: str) -> None:
    (task,) = tasks_for(Wanted(name, LayerSpec.preset("mohge-3b"), "64", trials=1))
    assert (task.implementation, task.mode) == (name, "predicted")
    assert {value for parameter, (value, *_) in task.choices.items() if parameter == "version"} <= {"mma"}
    assert load_tunable(name).check_values(task.current, task.spec, task.dtype) is None


def test_doctor_says_which_versions_this_gpu_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert abilities.ladder_ability("cupy").mode == "no"
    monkeypatch.setattr(abilities, "cuda_device", lambda: "a GPU")
    monkeypatch.setattr("mohge.kernels.cupy.implementation.CupyEngine.unavailable", lambda _device: None)
    monkeypatch.setattr("mohge.kernels.cupy.implementation.check_device", lambda *_: None)
    monkeypatch.setattr(CupyImplementation, "_capability", lambda *_: (8, 0))
    ability = abilities.ladder_ability("cupy")
    assert ability.mode == "measured"
    assert ability.detail.startswith("cupy_tile, cupy_mma")
    assert "not cupy_wgmma: wgmma needs compute capability 9.0" in ability.detail
