"""The worker's own rules: one implementation's failure is its record, and who is to blame is always right."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from mohge.bench.records import Status, status_of
from mohge.bench.runner import proof
from mohge.bench.runner import worker as worker_module
from mohge.bench.runner.blame import Blame
from mohge.bench.runner.jobs import Job, Source, TimingLimits
from mohge.bench.runner.process import NOBODY
from mohge.bench.runner.worker import Worker
from mohge.kernels import load
from mohge.reference import LayerSpec

SPEC = LayerSpec("tiny", hidden=8, widths=(4, 8), experts_per_group=2, top_k=2, top_groups=1)
NAMES = ("torch_loop", "torch_grouped_mm")
LIMITS = TimingLimits(seconds=0.01, min_samples=3, max_samples=3, warmup=0.001)
CASES = tuple((tokens, Source("uniform")) for tokens in (3, 4, 5))
JOB = Job(SPEC, "cpu", "float32", "measured", CASES, NAMES, LIMITS)


@dataclass(frozen=True)
class Spoiled:
    """An implementation that is right, except that `spoil` may do something on the way: before a call, or preparing."""

    inner: Any
    spoil: Any

    def supports(self, *arguments: Any) -> str | None:
        return self.inner.supports(*arguments)

    def prepare(self, *arguments: Any) -> Any:
        self.spoil("prepare", 0)
        return SpoiledLayer(self.inner.prepare(*arguments), self.spoil)


@dataclass(frozen=True)
class SpoiledLayer:
    inner: Any
    spoil: Any

    def __call__(self, x: torch.Tensor, plan: Any) -> torch.Tensor:
        self.spoil("call", len(x))
        return self.inner(x, plan)

    def phases(self, x: torch.Tensor, plan: Any) -> Any:
        return self.inner.phases(x, plan)

    def executed_flops(self, counts: Any) -> int:
        return self.inner.executed_flops(counts)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    def run(spoil: Any = lambda what, tokens: None, name: str = "torch_loop", job: Job = JOB) -> list[dict[str, Any]]:
        table = {**dict(worker_module.CONTESTANTS), name: Spoiled(load(name), spoil)}
        monkeypatch.setattr(worker_module, "CONTESTANTS", table)
        output = io.StringIO()
        Worker(job, output, MARKER).run()
        assert MARKER[0] == NOBODY
        return [json.loads(line) for line in output.getvalue().splitlines()]

    return run


MARKER = bytearray([NOBODY])


def outcomes(events: list[dict[str, Any]]) -> dict[tuple[str, int], str]:
    records = [event["record"] for event in events if event["event"] == "record"]
    found = {(record["implementation"], record["case"]["tokens"]): record["status"] for record in records}
    assert len(found) == len(records)
    return found


def raising(error: Exception, what: str, tokens: int):
    def spoil(where: str, count: int) -> None:
        if (where, count) == (what, tokens):
            raise error

    return spoil


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_every_library_s_word_for_want_of_memory_is_known(error: Exception) -> None:
    assert status_of(error)[0] is Status.OUT_OF_MEMORY


@pytest.mark.parametrize("error", [RuntimeError("out of resource: shared memory"), ValueError("memory format")])
def test_other_words_with_memory_are_crashes(error: Exception) -> None:
    assert status_of(error)[0] is Status.CRASHED


def test_out_of_memory_in_one_case_is_a_record_and_the_rest_goes_on(run) -> None:
    found = outcomes(run(raising(MemoryError("too many rows"), "call", 4)))
    expected = dict.fromkeys([(name, tokens) for name in NAMES for tokens in (3, 4, 5)], "passed")
    assert found == {**expected, ("torch_loop", 4): "out_of_memory"}


def test_out_of_memory_while_preparing_leaves_the_others(run) -> None:
    found = outcomes(run(raising(MemoryError(), "prepare", 0)))
    assert {status for (name, _), status in found.items() if name == "torch_loop"} == {"out_of_memory"}
    assert {status for (name, _), status in found.items() if name == "torch_grouped_mm"} == {"passed"}


def test_a_case_that_does_not_fit_is_a_record_for_all_and_the_next_goes_on(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worker_module.pose

    def pose(spec: Any, weights: Any, routing: Any, *rest: Any) -> Any:
        if len(routing.expert_ids) == 4:
            raise MemoryError("Unable to allocate 3 TiB")
        return real(spec, weights, routing, *rest)

    monkeypatch.setattr(worker_module, "pose", pose)
    events = run()
    found = outcomes(events)
    assert {tokens: found["torch_loop", tokens] for tokens in (3, 4, 5)} == {
        3: "passed",
        4: "out_of_memory",
        5: "passed",
    }
    reasons = {event["record"]["reason"] for event in events if event["event"] == "record"}
    assert reasons == {"", "the case itself does not fit: MemoryError: Unable to allocate 3 TiB"}
    assert [event["event"] for event in events].count("case") == 3


def test_the_proof_of_a_trusted_layer_is_charged_to_that_layer(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large cases check a candidate against another implementation: whatever that one does is not the candidate's."""
    blamed = []

    def spoil(where: str, tokens: int) -> None:
        blamed.append((tokens, "nobody" if MARKER[0] == NOBODY else NAMES[MARKER[0]]))

    monkeypatch.setattr(proof, "PROOF_TOKENS", 6)
    real = worker_module.pose
    monkeypatch.setattr(worker_module, "pose", lambda *question: real(*question, reference_flops=1))
    events = run(spoil, job=replace(JOB, cases=((400, Source("uniform")),)))
    checked = [event["record"]["error"]["checked"] for event in events if event["event"] == "record"]
    assert any("every element against torch_loop" in text for text in checked)
    assert (6, "torch_loop") in blamed, "torch_loop was proven on the small case"
    assert {name for _, name in blamed} == {"torch_loop"}


def test_a_trusted_layer_that_fails_gives_the_blame_back() -> None:
    marker, guarded = bytearray([NOBODY]), []
    blame = Blame(marker, NAMES, lambda: guarded.append(NAMES[marker[0]]))

    class Broken:
        def __call__(self, x: Any, plan: Any) -> Any:
            raise RuntimeError(f"running as {NAMES[marker[0]]}")

    broken: Any = Broken()
    layer: Any = blame.layer("torch_grouped_mm", broken)
    with blame.running("torch_loop"):
        with pytest.raises(RuntimeError, match="running as torch_grouped_mm"):
            layer(torch.zeros(1), None)
        assert marker[0] == 0
    assert guarded == ["torch_grouped_mm"]
    assert marker[0] == NOBODY
