"""bench/suite on a tiny layer: gate before clock, times in the JSON, and what its options do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mohge.bench import cli
from mohge.bench.plugin import layers
from mohge.bench.whatif.batches import solve_batch
from mohge.bench.workloads import parse_routing
from mohge.kernels import IMPLEMENTATIONS
from mohge.placement import sweep
from mohge.reference import LayerSpec

pytest_plugins = ("pytester",)

SUITE = Path(__file__).resolve().parents[3] / "bench" / "suite"
PRELOADED = (cli, layers)
TINY = 'name = "tiny"\nhidden = 16\nwidths = [8, 16]\nexperts_per_group = 2\ntop_k = 2\ntop_groups = 2\n'
NAMES = ("torch_loop", "torch_grouped_mm", "padded_bmm")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs files of the suite on the tiny layer: suite("test_layer.py", *options)."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (pytester.path / "tiny.toml").write_text(TINY, encoding="utf-8")

    def run(file: str, *options: str) -> Any:
        fast = ("--suite-seconds=0.01", "--gpu-benchmark-warmup=0", "--gpu-benchmark-device=cpu")
        grid = ("--suite-specs=tiny.toml", "--suite-tokens=5", "--suite-routings=zipf:1.2")
        plugins = ("-p", "benchmark", "-p", "no:cacheprovider", "-rs")
        return pytester.runpytest_inprocess(*plugins, *fast, *grid, *options, str(SUITE / file))

    return run


def written(pytester: pytest.Pytester) -> list[dict[str, Any]]:
    return json.loads((pytester.path / "out.json").read_text(encoding="utf-8"))["benchmarks"]


@dataclass(frozen=True)
class Wrong:
    """torch_loop with another name for what it does to its output."""

    spoil: Callable[[torch.Tensor], torch.Tensor]
    timed: list[int]
    name: str = "torch_loop"
    description: str = "wrong"

    def supports(self, *_: Any) -> None:
        return None

    def prepare(self, *arguments: Any) -> Any:
        layer, outer = IMPLEMENTATIONS["padded_bmm"].prepare(*arguments), self

        class Layer:
            def __call__(self, x: torch.Tensor, plan: Any) -> torch.Tensor:
                outer.timed.append(len(x))
                return outer.spoil(layer(x, plan))

        return Layer()


def test_every_implementation_is_checked_timed_and_described(suite: Any, pytester: pytest.Pytester) -> None:
    suite("", "--benchmark-json=out.json", "-k", "test_layer").assert_outcomes(passed=6)
    found = {benchmark["name"]: benchmark for benchmark in written(pytester)}
    assert sorted(found) == sorted(
        f"{test}[tiny-5tokens-zipf-1.2-float32-{name}]" for test in ("test_layer", "test_layer_cold") for name in NAMES
    )
    spec = LayerSpec.from_toml(pytester.path / "tiny.toml")
    widths = spec.expert_widths[parse_routing("zipf:1.2").routing(spec, 5).expert_ids]
    for benchmark in found.values():
        info = benchmark["extra_info"]
        assert info["status"] == "passed"
        assert info["tflops"] == pytest.approx(6 * 16 * widths.sum() / info["median_us"] * 1e-6)
        assert info["caches"] == ("cold" if "cold" in benchmark["name"] else "hot")
        assert sorted([info["implementation"], *info["interleaved_with"]]) == sorted(NAMES)
        assert benchmark["group"] in {f"{test} tiny-5tokens-zipf-1.2-float32" for test in ("layer", "layer_cold")}
    rounds = {benchmark["stats"]["rounds"] for name, benchmark in found.items() if "cold" not in name}
    assert len(rounds) == 1, "implementations of a case were not measured in the same rounds"


def test_phases_and_dispatch(suite: Any, pytester: pytest.Pytester) -> None:
    result = suite("", "--benchmark-json=out.json", "-k", "phase or dispatch")
    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed", "skipped", "deselected"}
    operations = {
        benchmark["params"]["operation"]
        for benchmark in written(pytester)
        if benchmark["extra_info"].get("backend") == "torch"
    }
    assert operations == {"plan", "permute", "combine"}
    phases = {benchmark["params"].get("phase") for benchmark in written(pytester)} - {None}
    assert phases == {"plan", "permute", "gemm1", "gemm2", "combine"}
    result.stdout.fnmatch_lines(["*cupy: CUDA C++ runs on NVIDIA GPUs, not on device type cpu*"])


SPOILT = {
    "zeros": lambda y: torch.zeros_like(y),
    "one token": lambda y: torch.cat([y[:-1], 2 * y[-1:]]),
    "unwritten": torch.empty_like,
}


@pytest.mark.parametrize("mistake", SPOILT)
def test_what_the_gate_rejects_fails_and_is_never_timed(
    suite: Any, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    wrong = Wrong(SPOILT[mistake], [])
    monkeypatch.setitem(IMPLEMENTATIONS, "torch_loop", wrong)
    result = suite("test_layer.py", "--benchmark-json=out.json")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*torch_loop is not timed: incorrect: *"])
    assert len(wrong.timed) == 2, "the gate calls a layer twice, and nobody calls a wrong one again"
    for benchmark in written(pytester):
        assert benchmark["extra_info"]["implementation"] != "torch_loop"
        assert "torch_loop" not in benchmark["extra_info"]["interleaved_with"]


def test_crashing_one_leaves_the_others_their_times(suite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(y: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(IMPLEMENTATIONS, "torch_loop", Wrong(crash, []))
    result = suite("test_layer.py")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*torch_loop is not timed: crashed: RuntimeError: no such kernel*"])


def test_a_selection_is_measured_without_the_others(suite: Any, pytester: pytest.Pytester) -> None:
    options = ("--benchmark-json=out.json", "-k", "torch_loop or padded_bmm")
    suite("test_layer.py", *options).assert_outcomes(passed=2, deselected=1)
    for benchmark in written(pytester):
        assert len(benchmark["extra_info"]["interleaved_with"]) == 1


def test_unsupported_is_skipped_with_its_reason(suite: Any) -> None:
    result = suite("test_layer.py", "--suite-implementations=cupy,torch_loop")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*cupy: CUDA C++ runs on NVIDIA GPUs, not on device type cpu*"])


def test_what_is_interpreted_has_no_time(suite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(IMPLEMENTATIONS, "triton", replace(Wrong(lambda y: y, []), name="triton"))
    result = suite("test_layer.py", "--suite-implementations=triton")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*triton: TRITON_INTERPRET=1 stands in for a GPU*"])


def test_all_layers_at_once_are_placed_like_one_after_another(suite: Any) -> None:
    suite("test_placement.py", "--benchmark-disable", "-k", "hierarchical").assert_outcomes(passed=2, deselected=4)


def test_disabled_checks_everything_and_times_nothing(suite: Any) -> None:
    result = suite("test_layer.py", "--benchmark-disable")
    result.assert_outcomes(passed=3)
    assert "Median" not in result.stdout.str()


BAD = {
    "--suite-specs=nowhere": "ERROR: unknown preset 'nowhere'*",
    "--suite-tokens=5,x": "ERROR: --suite-tokens: expected whole numbers above 0 separated by commas, got '5,x'*",
    "--suite-routings=hot_set:0.5,0.9,routr": "ERROR: unknown routing 'routr'; did you mean 'router'?*",
    "--suite-implementations=tritn": "ERROR: unknown implementation 'tritn'; did you mean 'triton'?*",
    "--suite-dtype=int8": "ERROR: dtype: expected *, got 'int8'*",
    "--gpu-benchmark-timer=graph": "ERROR: timer graph: expected a GPU, got the device cpu*",
    "--gpu-benchmark-device=tpu": "ERROR: device: expected auto, cpu, cuda or cuda:N, got 'tpu'*",
}


@pytest.mark.parametrize("option", BAD)
def test_bad_options_end_the_session_in_one_line(suite: Any, option: str) -> None:
    result = suite("test_layer.py", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([BAD[option]])


def test_a_sweep_is_timed_when_it_is_right(
    suite: Callable[..., Any], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("-k", "test_sweep and 64-by_rank-1")
    suite("test_simulation.py", *words, "--benchmark-json=out.json").assert_outcomes(passed=1, deselected=11)
    (benchmark,) = written(pytester)
    assert benchmark["extra_info"]["us_per_step"] > 0

    def late(*arguments: Any) -> Any:
        found = sweep(*arguments)
        return replace(found, makespan_s=found.makespan_s * 1.01)

    monkeypatch.setattr("mohge.placement.sweep", late)
    outcomes = suite("test_simulation.py", *words).parseoutcomes()
    assert outcomes["failed"] == 1
    assert "passed" not in outcomes


def test_a_report_is_timed_when_all_of_its_run_is_in_it(suite: Callable[..., Any], pytester: pytest.Pytester) -> None:
    suite("test_report.py", "-k", "usual", "--benchmark-json=out.json").assert_outcomes(passed=1, deselected=1)
    (benchmark,) = written(pytester)
    assert 0 < benchmark["extra_info"]["megabytes"] < 25


def test_a_study_is_timed_when_it_is_right(
    suite: Callable[..., Any], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("-k", "one_process", "--benchmark-json=out.json")
    suite("test_what_if.py", *words).assert_outcomes(passed=1, deselected=1)
    (benchmark,) = written(pytester)
    assert benchmark["extra_info"]["scenarios_per_s"] > 0

    def slower(batch: Any) -> list[Any]:
        return [replace(record, seconds=1.0) for record in solve_batch(batch)]

    monkeypatch.setattr("mohge.bench.whatif.batches.solve_batch", slower)
    assert suite("test_what_if.py", *words).parseoutcomes()["failed"] == 1
