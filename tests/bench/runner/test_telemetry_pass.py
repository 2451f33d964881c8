"""Pass B: which cases get it, how long it takes, and what it leaves in the records and beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mohge.bench.records import Telemetry
from mohge.bench.runner import telemetry_pass
from mohge.bench.runner.blame import Blame
from mohge.bench.runner.jobs import Job, Source, TelemetryPlan
from mohge.bench.runner.process import NOBODY
from mohge.bench.runner.telemetry_pass import observe_case, pass_seconds, plan_telemetry, with_trace
from mohge.bench.telemetry import read_trace
from mohge.bench.telemetry.synthetic import write_synthetic
from mohge.dispatch import make_plan, on_device
from mohge.kernels import load
from mohge.reference import ExpertWeights, LayerSpec

SPEC = LayerSpec("tiny", hidden=16, widths=(8, 16), experts_per_group=2, top_k=2, top_groups=1)
CASES = tuple((tokens, Source(text)) for text in ("uniform", "zipf:1.2") for tokens in (0, 4, 32))
JOB = Job(SPEC, "cpu", "float32", "measured", CASES, ("torch_loop", "padded_bmm"))


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    return str(write_synthetic(tmp_path / "recorded.jsonl"))


def test_a_cpu_run_is_as_it_was_and_says_only_what_was_asked() -> None:
    """`mohge run` and `mohge bench` print the line as it is."""
    assert plan_telemetry("auto", [JOB]) == ([JOB], "")
    assert plan_telemetry("off", [JOB]) == ([JOB], "no telemetry: switched off")
    with pytest.raises(ValueError, match="--telemetry 5: NVML watches GPUs, and this runs on the cpu"):
        plan_telemetry("5", [JOB])


def test_a_gpu_that_cannot_be_watched_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry_pass, "no_telemetry", lambda device: "NVML: Not Found")
    assert plan_telemetry("auto", [replace(JOB, device="cuda:1")])[1] == "no telemetry: NVML: Not Found"


def test_the_largest_case_of_a_job_is_chosen_and_the_time_is_told(recorded: str) -> None:
    (job,), line = plan_telemetry(recorded, [JOB])
    assert job.telemetry is not None
    chosen = [index for index in range(len(CASES)) if job.case_record(index).id in job.telemetry.cases]
    assert [CASES[index] for index in chosen] == [(32, Source("zipf:1.2"))]
    assert pass_seconds([job]) == pytest.approx(2 * (1 + 3 + 5 * 0.6))
    assert "14 s" in line
    assert "not of this run" in line


def test_seconds_mean_every_case_with_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry_pass, "no_telemetry", lambda device: None)
    (job,), _ = plan_telemetry("5", [JOB])
    assert job.telemetry is not None
    assert len(job.telemetry.cases) == 4
    assert job.telemetry.seconds == 5.0
    (job,), _ = plan_telemetry("auto", [JOB])
    assert job.telemetry is not None
    assert (len(job.telemetry.cases), job.telemetry.source) == (1, "nvml")


def test_what_is_not_measured_gets_none(recorded: str) -> None:
    interpreted = Job(SPEC, "cpu", "float32", "interpreted", CASES, ("triton",))
    (first, second), _ = plan_telemetry(recorded, [JOB, interpreted])
    assert first.telemetry is not None
    assert second.telemetry is None


def test_a_job_with_its_plan_survives_json_and_the_loss_of_an_implementation(recorded: str) -> None:
    (job,), _ = plan_telemetry(recorded, [JOB])
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job
    rest = job.without("torch_loop", 2)
    assert rest.telemetry == job.telemetry  # by id: the case is the same one, whatever its number


def test_the_trace_lies_in_the_runs_folder_and_never_mixes_boots(recorded: str, tmp_path: Path) -> None:
    (job,), _ = plan_telemetry(recorded, [JOB])
    assert with_trace(JOB, tmp_path) == JOB
    plan = with_trace(job, tmp_path).telemetry
    assert plan is not None
    assert plan.trace == str(tmp_path / "trace.jsonl")
    Path(recorded).rename(tmp_path / "trace.jsonl")  # of no known boot
    plan = with_trace(job, tmp_path).telemetry
    assert plan is not None
    assert plan.trace == str(tmp_path / "trace-2.jsonl")


class Failing:
    """A layer that fails when it is called often."""

    def __init__(self, layer) -> None:
        self._layer, self._left = layer, 3

    def __call__(self, x, plan):
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("overheated")
        return self._layer(x, plan)


def observe(job: Job, names: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[dict, list[str], int]:
    """Pass B on the largest case, with short windows; also who was to blame when something raised, and at the end."""
    monkeypatch.setattr(telemetry_pass, "RISE_S", 0.1)
    monkeypatch.setattr(telemetry_pass, "PHASE_S", 0.15)
    case = job.case(len(CASES) - 1)
    inputs = case.inputs()
    weights = ExpertWeights.random(SPEC, 0)
    layers = {name: load(name).prepare(SPEC, weights, "cpu", torch.float32) for name in JOB.implementations}
    chosen: dict[str, Any] = {
        name: Failing(layers["torch_loop"]) if name == "failing" else layers[name] for name in names
    }
    plan, x = make_plan(on_device(inputs.routing, "cpu"), SPEC), torch.from_numpy(inputs.x).to(torch.float32)
    marker, guarded = bytearray([NOBODY]), []
    blame = Blame(marker, names, lambda: guarded.append(names[marker[0]]))
    return observe_case(job, case, chosen, x, plan, blame, lambda: None), guarded, marker[0]


def planned(source: str, tmp_path: Path) -> Job:
    return Job(**{**JOB.__dict__, "telemetry": TelemetryPlan(source, ("any",), 0.5, str(tmp_path / "trace.jsonl"))})


def test_every_implementation_gets_its_window_and_its_phases(
    recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["torch_loop", "failing", "padded_bmm"]
    found, guarded, last = observe(planned(recorded, tmp_path), names, monkeypatch)
    assert (guarded, last) == (["failing"], NOBODY)
    assert found["failing"] == "no telemetry: RuntimeError: overheated"
    trace = read_trace(tmp_path / "trace.jsonl")
    for name in ("torch_loop", "padded_bmm"):
        telemetry = found[name]
        assert isinstance(telemetry, Telemetry)
        assert telemetry.source == "synthetic"
        assert telemetry.window_s >= 0.5
        assert telemetry.samples >= 3
        assert telemetry.calls > 0
        assert telemetry.discarded_s >= 0.1
        assert telemetry.trace == "trace.jsonl"
        assert telemetry.cost is not None
        marked = {mark.name: (mark.t, end) for mark, end in trace.windows(name)}
        assert set(marked) == {"layer", *telemetry.phases}
        assert "gemm1" in telemetry.phases
        assert marked["layer"][0] == pytest.approx(telemetry.begin_s, abs=0.05)
        assert marked["layer"][1] == pytest.approx(telemetry.end_s, abs=0.05)


def test_a_source_that_does_not_open_is_the_reason_and_nothing_is_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.jsonl").write_text("nonsense\n", encoding="utf-8")
    found, _, last = observe(planned(str(tmp_path / "broken.jsonl"), tmp_path), ["torch_loop"], monkeypatch)
    assert found["torch_loop"].startswith("no telemetry: ")
    assert "not a trace" in found["torch_loop"]
    assert last == NOBODY
    assert not (tmp_path / "trace.jsonl").exists()
