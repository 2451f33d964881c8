"""Timing a case: every layer hot, cold, end to end and by phase; what raises becomes a failure, and the guard hears of
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mohge.bench.records import Samples, Status
from mohge.bench.runner import phases, stopwatch
from mohge.bench.runner.budget import Budget
from mohge.bench.runner.jobs import TimingLimits
from mohge.bench.runner.phases import ORDER, Front, in_order
from mohge.bench.runner.stopwatch import GuardedTimer, Times, speedup, time_layers
from mohge.bench.timing import ClockReading, CpuTimer, Timer, measure_interleaved
from mohge.bench.workloads import DeviceRouter
from mohge.dispatch import make_plan, on_device
from mohge.kernels import IMPLEMENTATIONS, PHASES
from mohge.reference import ExpertWeights, LayerSpec, Router, Routing, route

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


class Marker:
    """Who runs, call by call; None where it is nobody's."""

    def __init__(self) -> None:
        self.running = list[str | None]()

    def __call__(self, name: str | None) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        def wrap(call: Callable[[], Any]) -> Callable[[], Any]:
            def run() -> Any:
                self.running.append(name)
                return call()

            return run

        return wrap


def measure(**layers: FakeLayer) -> tuple[dict[str, Times], list[str | None]]:
    mark, blamed = Marker(), list[str | None]()
    timer = GuardedTimer(CpuTimer(flush=lambda: None), lambda: blamed.append(mark.running[-1]))
    plan: Any = None
    return time_layers(layers, X, plan, timer, LIMITS, mark, lambda: None), blamed


def test_every_layer_is_timed_hot_cold_and_by_phase() -> None:
    times, blamed = measure(one=FakeLayer(), two=FakeLayer())
    for result in times.values():
        assert result.failure is None
        assert isinstance(result.hot, Samples)
        assert isinstance(result.cold, Samples)
        assert set(result.phases) == {"gemm1", "gemm2"}
    assert blamed == []


@pytest.mark.parametrize("fails", ["call", "phases", "gemm2"])
def test_what_raises_fails_alone(fails: str) -> None:
    times, blamed = measure(good=FakeLayer(), bad=FakeLayer(fails))
    assert times["good"].failure is None
    assert times["good"].hot is not None
    failure = times["bad"].failure
    assert failure is not None
    assert failure[0] is Status.CRASHED
    assert "passed the gate, but" in failure[1]
    assert set(blamed) <= {"bad"}


def test_phases_have_the_share_of_those_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    given = list[float]()

    def measured(calls: Any, *, seconds: Any, **options: Any) -> Any:
        if "gemm1" in calls:
            given.append(seconds)
        return measure_interleaved(calls, seconds=seconds, **options)

    monkeypatch.setattr(stopwatch, "measure_interleaved", measured)
    measure(good=FakeLayer(), bad=FakeLayer("call"), other=FakeLayer("call"))
    assert given == [LIMITS.seconds * stopwatch.PHASES_SHARE]


def test_hot_and_cold_are_turns_of_the_budget() -> None:
    layers: Any = {"one": FakeLayer(), "two": FakeLayer("call")}
    budget = Budget.of(LIMITS.seconds, 6)
    plan: Any = None
    time_layers(layers, X, plan, CpuTimer(flush=lambda: None), LIMITS, Marker(), lambda: None, budget=budget)
    assert budget.turns == 4
    assert budget.seconds < 6 * LIMITS.seconds


def test_guard_hears_of_an_error_while_the_culprit_is_known() -> None:
    _, blamed = measure(good=FakeLayer(), bad=FakeLayer("call"), other=FakeLayer())
    assert blamed == ["bad"]


def test_speedup_pairs_the_rounds() -> None:
    def times(samples_us: list[float], suspects: tuple[int, ...] = ()) -> Times:
        return Times(hot=Samples(samples_us, 0.0, 0.0, 0.0, "test", "test", suspects=list(suspects)))

    # Two times of a coarse clock would widen the interval: here two differ by next to nothing.
    slow, fast = times([20.0, 40.0, 60.0, 80.0, 40.00001]), times([10.0, 20.0, 30.0, 40.0, 20.000005])
    found = speedup(fast, slow)
    assert found is not None
    assert (found.low, found.ratio, found.high) == pytest.approx((2.0, 2.0, 2.0), rel=1e-6)
    assert (found.baseline, found.rounds, found.doubt) == ("padded_bmm", 5, "")
    assert speedup(slow, slow) is None
    suspect, other = times([10, 20, 900, 40, 20.000005, 30], (2,)), times([20, 40, 60, 80, 40.00001, 60])
    found = speedup(suspect, other)
    assert found is not None
    assert (found.low, found.ratio, found.high) == pytest.approx((2.0, 2.0, 2.0), rel=1e-6)


def test_three_rounds_are_too_few_to_name_a_winner() -> None:
    times = [Times(hot=Samples([us] * 3, us, us, us, "test", "test")) for us in (10.0, 20.0)]
    found = speedup(*times)
    assert found is not None
    assert found.ratio == 2.0
    assert math.isnan(found.low)
    assert found.doubt == "undecided: 3 rounds are too few"
    assert speedup(times[0], None) is None


SPEC = LayerSpec("tiny", hidden=16, widths=(8, 12), experts_per_group=4, top_k=2, top_groups=2)


class Log:
    """A layer on another that notes what it is given."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.plans = inner, list[Any]()

    def __call__(self, x: torch.Tensor, plan: Any) -> torch.Tensor:
        self.plans.append(plan)
        return self.inner(x, plan)

    def phases(self, x: torch.Tensor, plan: Any) -> Any:
        return self.inner.phases(x, plan)

    def executed_flops(self, counts: Any) -> int:
        return self.inner.executed_flops(counts)


def served(
    router: Callable[[torch.Tensor], Routing] | None, timer: Timer | None = None, **more: Any
) -> tuple[dict[str, Times], dict[str, Log], Marker]:
    """Two real implementations with what comes before them, on 9 tokens."""
    x = torch.randn(9, SPEC.hidden)
    routing = on_device(route(x, Router.random(SPEC, 2), SPEC), "cpu")
    weights = ExpertWeights.random(SPEC, 1)
    layers = {
        name: Log(IMPLEMENTATIONS[name].prepare(SPEC, weights, "cpu", torch.float32))
        for name in ("padded_bmm", "torch_loop")
    }
    mark = Marker()
    times = time_layers(
        layers,
        x,
        make_plan(routing, SPEC),
        timer or CpuTimer(flush=lambda: None),
        LIMITS,
        mark,
        lambda: None,
        front=Front(SPEC, routing, router),
        **more,
    )
    return times, layers, mark


ROUTER = DeviceRouter.on(Router.random(SPEC, 2), SPEC, "cpu")


def test_a_routed_case_has_every_phase_in_order() -> None:
    times, layers, mark = served(ROUTER)
    for name, result in times.items():
        assert list(result.phases) == ["route", "plan", "permute", "gemm1", "gemm2", "combine", "end_to_end"], name
        assert all(part.timer == "cpu" for part in result.phases.values())
        assert len({id(plan) for plan in layers[name].plans}) > LIMITS.min_samples  # a plan of its own each time
    assert times["padded_bmm"].phases["route"] is times["torch_loop"].phases["route"]
    assert None in mark.running  # the router is nobody's


def test_without_a_router_there_is_no_route_and_the_plan_is_the_routing_given() -> None:
    times, layers, mark = served(None)
    for name, result in times.items():
        assert list(result.phases) == ["plan", "permute", "gemm1", "gemm2", "combine", "end_to_end"], name
        first = layers[name].plans[0]
        assert all(torch.equal(plan.row_token, first.row_token) for plan in layers[name].plans)
    assert None not in mark.running


def test_a_router_that_fails_takes_nobody_with_it() -> None:
    def broken(x: torch.Tensor) -> Routing:
        raise RuntimeError("no memory left")

    times, _, _ = served(broken)
    for result in times.values():
        assert result.failure is None
        assert "route" not in result.phases
        assert "end_to_end" in result.phases


def test_end_to_end_computes_what_the_router_says_and_plans_it_anew() -> None:
    other = DeviceRouter.on(Router.random(SPEC, 9), SPEC, "cpu")
    times, layers, _ = served(other)
    for name, layer in layers.items():
        taken = len(times[name].phases["end_to_end"].samples_us)
        given = layer.plans[0]
        anew = [plan for plan in layer.plans if plan is not given]
        assert len(anew) >= 2 * taken  # each hot sample has an untimed call before it
        assert not any(torch.equal(plan.row_token, given.row_token) for plan in anew)


def test_the_phase_plan_begins_at_the_routing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[Routing]()

    def counted(routing: Routing, spec: LayerSpec, **options: Any) -> Any:
        made.append(routing)
        return make_plan(routing, spec, **options)

    monkeypatch.setattr(phases, "make_plan", counted)
    x = torch.randn(9, SPEC.hidden)
    routing = on_device(route(x, Router.random(SPEC, 2), SPEC), "cpu")
    layer = IMPLEMENTATIONS["torch_loop"].prepare(SPEC, ExpertWeights.random(SPEC, 1), "cpu", torch.float32)
    parts = Front(SPEC, routing).parts(layer, x, make_plan(routing, SPEC))
    assert not made
    for call in parts.values():
        call()
    assert made == [routing]


class Ticking:
    """A clock on which every call takes 20 ms, so that the watch is asked after every round."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 10_000_000
        return self.now


class Watch:
    """Too hot all the time from the third reading to the fourth, else fine."""

    source = "scripted"

    def __init__(self) -> None:
        self.asked = 0

    def read(self) -> ClockReading:
        self.asked += 1
        return ClockReading(1800.0, 2600.0, ("sw_thermal_slowdown",) if self.asked in (3, 4) else ())


def test_clocks_are_read_around_everything_and_suspects_counted_by_record() -> None:
    watch = Watch()
    times, _, _ = served(ROUTER, CpuTimer(clock_ns=Ticking(), flush=lambda: None), watch=watch)
    for result in times.values():
        clocks = result.clocks
        assert clocks is not None
        assert clocks.source == "scripted"
        assert clocks.suspects == result.suspects() > 0
        assert clocks.throttle == {"sw_thermal_slowdown": 2}
        assert result.hot is not None
        assert len(result.hot.suspects) == clocks.suspects
    counts = [result.clocks.samples for result in times.values() if result.clocks]
    assert all(count < watch.asked for count in counts)  # each has the shared readings and those of its own phases


def test_nobody_watching_leaves_no_clocks() -> None:
    times, _, _ = served(ROUTER)
    assert all(result.clocks is None for result in times.values())


def test_the_order_of_phases_has_all_that_implementations_give() -> None:
    assert [name for name in ORDER if name in PHASES] == list(PHASES)
    assert list(in_order({"mine": 1, "end_to_end": 2, "gemm1": 3, "route": 4})) == [
        "route",
        "gemm1",
        "end_to_end",
        "mine",
    ]
