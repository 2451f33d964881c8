"""Timing a case: every layer hot, cold and by phase; what raises becomes a failure, and the guard hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mohge.bench.records import Samples, Status
from mohge.bench.runner.jobs import TimingLimits
from mohge.bench.runner.stopwatch import GuardedTimer, Times, speedup, time_layers
from mohge.bench.timing import CpuTimer

LIMITS = TimingLimits(seconds=0.01, min_samples=3, max_samples=5, warmup=0.0)
X = torch.ones(2, 4)


class FakeLayer:
    """Counts its calls; `fails` names what raises: "call", "phases", a phase, or nothing."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.calls = fails, 0

    def __call__(self, x: torch.Tensor, plan: Any) -> torch.Tensor:
        self.calls += 1
        if self.fails == "call":
            raise RuntimeError("broken kernel")
        return x

    def phases(self, x: torch.Tensor, plan: Any) -> dict[str, Callable[[], Any]]:
        if self.fails == "phases":
            raise RuntimeError("no phases")
        return {name: lambda name=name: self._phase(name) for name in ("gemm1", "gemm2")}

    def _phase(self, name: str) -> None:
        if self.fails == name:
            raise RuntimeError(f"broken {name}")

    def executed_flops(self, counts: Any) -> int:
        return 0


def measure(**layers: FakeLayer) -> tuple[dict[str, Times], list[str], list[str]]:
    running: list[str] = []
    blamed: list[str] = []

    def mark(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        def wrap(call: Callable[[], Any]) -> Callable[[], Any]:
            def run() -> Any:
                running.append(name)
                return call()

            return run

        return wrap

    timer = GuardedTimer(CpuTimer(flush=lambda: None), lambda: blamed.append(running[-1]))
    plan: Any = None
    return time_layers(layers, X, plan, timer, LIMITS, mark, lambda: None), running, blamed


def test_every_layer_is_timed_hot_cold_and_by_phase() -> None:
    times, _, blamed = measure(one=FakeLayer(), two=FakeLayer())
    for result in times.values():
        assert result.failure is None
        assert isinstance(result.hot, Samples)
        assert isinstance(result.cold, Samples)
        assert set(result.phases) == {"gemm1", "gemm2"}
    assert blamed == []


@pytest.mark.parametrize("fails", ["call", "phases", "gemm2"])
def test_what_raises_fails_alone(fails: str) -> None:
    times, _, blamed = measure(good=FakeLayer(), bad=FakeLayer(fails))
    assert times["good"].failure is None
    assert times["good"].hot is not None
    failure = times["bad"].failure
    assert failure is not None
    assert failure[0] is Status.CRASHED
    assert "passed the gate, but" in failure[1]
    assert set(blamed) <= {"bad"}


def test_guard_hears_of_an_error_while_the_culprit_is_known() -> None:
    _, _, blamed = measure(good=FakeLayer(), bad=FakeLayer("call"), other=FakeLayer())
    assert blamed == ["bad"]


def test_speedup_pairs_the_rounds() -> None:
    slow = Times(hot=Samples([20.0, 40.0, 60.0], 40.0, 20.0, 60.0, "test", "test"))
    fast = Times(hot=Samples([10.0, 20.0, 30.0], 20.0, 10.0, 30.0, "test", "test"))
    found = speedup(fast, slow)
    assert found is not None
    assert (found.baseline, found.ratio, found.low, found.high) == ("padded_bmm", 2.0, 2.0, 2.0)
    assert speedup(slow, slow) is None
    assert speedup(fast, None) is None
