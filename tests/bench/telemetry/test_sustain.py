"""Sustained replay: calls counted exactly, the queue fed but bounded, ended when the sampler is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from mohge.bench.telemetry import CpuDevice, replay_phases, sustained_replay

LAUNCH_S, CALL_S = 0.0001, 0.001


class Machine:
    """A host that launches in LAUNCH_S and a device that runs CALL_S for each call, behind the host."""

    def __init__(self, launch_s: float = LAUNCH_S, call_s: float = CALL_S) -> None:
        self.launch_s, self.call_s = launch_s, call_s
        self.now = self.done = 1000.0
        self.finished: list[float] = []
        self.synchronized = self.deepest = 0
        self.gaps = 0.0  # time the device had nothing to do although it had begun

    def clock(self) -> float:
        return self.now

    def call(self) -> None:
        self.now += self.launch_s
        if self.finished and self.now > self.done:
            self.gaps += self.now - self.done
        self.done = max(self.now, self.done) + self.call_s
        self.finished.append(self.done)
        self.deepest = max(self.deepest, sum(at > self.now for at in self.finished[-2000:]))

    def synchronize(self) -> None:
        self.synchronized += 1
        self.now = max(self.now, self.done)

    def fence(self):
        at = self.done

        def wait() -> None:
            self.now = max(self.now, at)

        return wait


class Looker:
    """A sampler that goes on until `ends`, and keeps the marks."""

    def __init__(self, machine: Machine, ends: float = float("inf")) -> None:
        self.machine, self.ends = machine, ends
        self.marks: list[tuple[str, str, float, float]] = []

    def during(self) -> str | None:
        return None if self.machine.now < self.ends else "GPU is lost"

    @contextlib.contextmanager
    def mark(self, lane: str, name: str) -> Iterator[None]:
        begin = self.machine.now
        yield
        self.marks.append((lane, name, begin, self.machine.now))


def test_calls_and_window_fit_exactly() -> None:
    machine = Machine()
    looker = Looker(machine)
    replay = sustained_replay(machine.call, 3.0, looker, machine, lane="triton", rise_s=1.0, clock=machine.clock)
    inside = [at for at in machine.finished if replay.begin_s < at <= replay.end_s]
    assert replay.calls == len(inside)
    assert replay.seconds / replay.calls == pytest.approx(CALL_S, rel=0.01)
    assert replay.seconds >= 3.0
    assert replay.discarded_s >= 1.0
    assert looker.marks == [("triton", "layer", replay.begin_s, replay.end_s)]
    assert replay.ended == ""


def test_the_queue_is_fed_and_bounded() -> None:
    machine = Machine()
    sustained_replay(machine.call, 3.0, None, machine, rise_s=0.0, clock=machine.clock)
    assert machine.synchronized < 15  # not once a call: 3000 calls ran
    assert machine.deepest <= 80  # two batches of 20 ms, of calls of 1 ms, and the next being queued
    assert machine.gaps < 0.01


def test_a_call_slower_than_the_window_runs_once_and_is_counted() -> None:
    machine = Machine(call_s=5.0)
    replay = sustained_replay(machine.call, 3.0, None, machine, rise_s=0.0, clock=machine.clock)
    assert replay.calls >= 1
    assert replay.seconds / replay.calls == pytest.approx(5.0, rel=0.01)


def test_it_ends_when_the_sampler_does() -> None:
    machine = Machine()
    looker = Looker(machine, ends=1002.0)
    replay = sustained_replay(machine.call, 60.0, looker, machine, rise_s=1.0, clock=machine.clock)
    assert replay.ended == "GPU is lost"
    assert replay.end_s < 1003.0
    assert replay.calls > 0


def test_every_phase_is_replayed_alone_after_all_ran_in_order() -> None:
    machine, ran = Machine(), []
    phases = {name: lambda name=name: (ran.append(name), machine.call()) for name in ("permute", "gemm1", "combine")}
    looker = Looker(machine)
    spans = replay_phases(phases, looker, machine, lane="triton", seconds=0.6, clock=machine.clock)
    assert ran[:3] == ["permute", "gemm1", "combine"]
    assert list(spans) == ["permute", "gemm1", "combine"]
    assert all(end - begin >= 0.6 for begin, end in spans.values())
    assert [(lane, name) for lane, name, _, _ in looker.marks] == [("triton", name) for name in spans]
    for name, (begin, end) in spans.items():
        others = [other for other, span in spans.items() if other != name and span[0] < end and span[1] > begin]
        assert others == []


def test_a_phase_that_raises_is_not_hidden() -> None:
    machine = Machine()

    def broken() -> None:
        raise RuntimeError("illegal address")

    with pytest.raises(RuntimeError, match="illegal address"):
        sustained_replay(broken, 3.0, None, machine, clock=machine.clock)
    with pytest.raises(ValueError, match="seconds: expected more than 0, got 0"):
        sustained_replay(machine.call, 0, None, machine)


def test_on_a_cpu_calls_are_done_when_they_return() -> None:
    count = [0]

    def call() -> None:
        count[0] += 1

    ticks = iter(i * 0.001 for i in range(10**6))
    replay = sustained_replay(call, 0.5, None, CpuDevice(), rise_s=0.0, clock=lambda: next(ticks))
    assert 0 < replay.calls <= count[0]
