"""CUPTI's records on a stand-in for the package: which belong to a call, what is lost, and the times made of them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mohge.bench.records import Samples, Status
from mohge.bench.timing import Failure, measure_interleaved, open_timer
from mohge.bench.timing.activities import Activity, ActivityRecorder, import_cupti
from mohge.bench.timing.cupti_timer import CuptiTimer
from mohge.bench.timing.stopping import FIRST_LOOK


class ActivityKind(IntEnum):
    MEMCPY = 1
    MEMSET = 2
    DRIVER = 4
    RUNTIME = 5
    CONCURRENT_KERNEL = 10
    MEMCPY2 = 22
    EXTERNAL_CORRELATION = 39


class ExternalCorrelationKind(IntEnum):
    CUSTOM0 = 3
    CUSTOM1 = 4


class Cupti:
    """The part of the module cupti.cupti that is used. `lose` says how many records of a flush are dropped."""

    ActivityKind, ExternalCorrelationKind = ActivityKind, ExternalCorrelationKind

    def __init__(self, now_ns: Callable[[], int] = lambda: 0) -> None:
        self.get_timestamp = now_ns
        self.enabled = set[int]()
        self.pushed = list[int]()
        self.records = list[Any]()
        self.correlation = 0
        self.lose: Callable[[], int] = lambda: 0
        self.dropped = 0

    def activity_register_callbacks(self, requested: Callable[[], Any], completed: Callable[[list[Any]], None]) -> None:
        size, most = requested()
        assert size >= 2**20
        assert most == 0
        self.completed = completed

    def activity_enable(self, kind: int) -> None:
        self.enabled.add(kind)

    def activity_disable(self, kind: int) -> None:
        self.enabled.remove(kind)

    def activity_push_external_correlation_id(self, kind: int, number: int) -> None:
        assert kind == ExternalCorrelationKind.CUSTOM0
        self.pushed.append(number)

    def activity_pop_external_correlation_id(self, kind: int) -> int:
        return self.pushed.pop()

    def activity_flush_all(self, flag: int) -> None:
        assert flag == 1
        records, self.records = self.records, []
        lost = min(self.lose(), len(records))
        self.dropped += lost
        records = records[: len(records) - lost]
        self.completed([])  # an empty buffer
        for start in range(0, len(records), 3):
            self.completed(records[start : start + 3])

    def activity_get_num_dropped_records(self, context: int, stream: int, address: int) -> None:
        ctypes.c_size_t.from_address(address).value, self.dropped = self.dropped, 0

    def launched(self, name: str, start_us: float, end_us: float) -> None:
        """The records of one launch, as CUPTI writes them."""
        self.correlation += 1
        if ActivityKind.EXTERNAL_CORRELATION in self.enabled:
            self.records += [external(self.correlation, number) for number in self.pushed]
        if ActivityKind.CONCURRENT_KERNEL in self.enabled:
            self.records.append(kernel(self.correlation, round(start_us * 1e3), round(end_us * 1e3)))


def kernel(correlation: int, start: int, end: int, kind: int = ActivityKind.CONCURRENT_KERNEL) -> Any:
    return SimpleNamespace(kind=kind, correlation_id=correlation, start=start, end=end)


def external(correlation: int, number: int, kind: int = ExternalCorrelationKind.CUSTOM0) -> Any:
    return SimpleNamespace(
        kind=ActivityKind.EXTERNAL_CORRELATION, correlation_id=correlation, external_kind=kind, external_id=number
    )


OTHERS = [
    kernel(9, 100, 900),  # launched by nobody who was marked
    external(8, 1, ExternalCorrelationKind.CUSTOM1),  # somebody else's mark of the same number
    kernel(8, 120, 950),
    external(7, 77),  # an earlier mark
    kernel(7, 130, 990),
    kernel(1, 0, 5000, ActivityKind.RUNTIME),  # the host's call takes longer than the device's work
]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], Activity()),
        ([external(1, 1)], Activity()),
        ([external(1, 1), kernel(1, 200, 300)], Activity(1, 200, 300, 100)),
        ([kernel(1, 200, 300), external(1, 1)], Activity(1, 200, 300, 100)),
        # One launch of a graph: all of its kernels carry its id.
        ([external(1, 1), kernel(1, 200, 300), kernel(1, 350, 400)], Activity(2, 200, 400, 150)),
        # Two streams: what overlaps is busy once, and the last end need not be the last start's.
        (
            [external(1, 1), external(2, 1), kernel(2, 250, 280), kernel(1, 200, 330), kernel(2, 310, 320)],
            Activity(3, 200, 330, 130),
        ),
        (
            [
                external(1, 1),
                kernel(1, 10, 20, ActivityKind.MEMCPY),
                kernel(1, 30, 40, ActivityKind.MEMSET),
                kernel(1, 40, 60, ActivityKind.MEMCPY2),
            ],
            Activity(3, 10, 60, 40),
        ),
        ([external(1, 1), kernel(1, 200, 300), kernel(1, 0, 0)], Activity(1, 200, 300, 100, lost=1)),
        ([external(1, 1), kernel(1, 0, 0)], Activity(lost=1)),
    ],
)
def test_what_a_call_did_is_told_from_everything_else(records: list[Any], expected: Activity) -> None:
    cupti = Cupti()
    recorder = ActivityRecorder(cupti)
    with recorder.mark() as number:
        assert cupti.pushed == [number] == [1]
    assert cupti.pushed == []
    cupti.records = [*OTHERS, *records]
    assert recorder.collect(number) == expected
    assert recorder.collect(number) == Activity()


def test_dropped_records_are_counted_once() -> None:
    cupti = Cupti()
    recorder = ActivityRecorder(cupti)
    with recorder.mark() as number:
        pass
    cupti.records, cupti.lose = [external(1, 1), kernel(1, 200, 300), kernel(1, 300, 400)], lambda: 1
    assert recorder.collect(number) == Activity(1, 200, 300, 100, lost=1)
    assert recorder.collect(number).lost == 0


def test_a_call_that_raises_ends_its_mark() -> None:
    cupti = Cupti()
    with pytest.raises(RuntimeError, match="broken"), ActivityRecorder(cupti).mark():
        raise RuntimeError("broken")
    assert cupti.pushed == []


@pytest.fixture
def cupti(gpu: Any) -> Cupti:
    """A stand-in that hears of every launch of the pretended GPU."""
    module = Cupti(lambda: round(gpu.host * 1e3))
    gpu.launched = module.launched
    return module


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize(("launches", "host_us"), [(1, 4.0), (300, 9.0)])
def test_the_span_of_one_call_is_timed_and_launches_are_hidden(
    gpu: Any, cupti: Cupti, cold: bool, launches: int, host_us: float
) -> None:
    timer = CuptiTimer(cupti=cupti)
    prepared = timer.prepare(gpu.work(launches, host_us, 2.0))
    assert (prepared.way, prepared.launches) == ("cupti", launches)
    assert timer.sample(prepared, cold=cold) == pytest.approx(2.0 * launches)
    assert prepared.busy == [1.0]
    assert "CUPTI records, first start to last end, launches behind a spin kernel" in timer.method(prepared, cold=cold)
    assert ("writing 100 MiB" in timer.method(prepared, cold=cold)) == cold


def test_a_call_that_waits_has_gaps_and_says_so(gpu: Any, cupti: Cupti) -> None:
    def call() -> None:
        gpu.work(1, 4.0, 2.0, waits=True)()
        gpu.work(1, 30.0, 2.0)()

    timer = CuptiTimer(cupti=cupti)
    prepared = timer.prepare(call)
    assert "the call waits for the device" in timer.method(prepared, cold=False)
    assert timer.sample(prepared, cold=False) == pytest.approx(34.0)
    assert prepared.busy == [pytest.approx(4.0 / 34.0)]


def test_a_host_that_stumbles_is_measured_again(gpu: Any, cupti: Cupti) -> None:
    timer = CuptiTimer(cupti=cupti)
    stumble = [0.0]

    def call() -> None:
        gpu.launch("kernel", 5.0, 2.0)
        gpu.launch("kernel", 5.0 + stumble.pop() if stumble else 5.0, 2.0)

    prepared = timer.prepare(call)
    gpu.log.clear()
    stumble[:] = [5000.0, 0.0]  # between the kernels of the timed call
    assert timer.sample(prepared, cold=False) == pytest.approx(4.0)
    assert gpu.log.count("spin") == 2


def test_a_host_too_slow_every_time_marks_the_sample(gpu: Any, cupti: Cupti) -> None:
    timer = CuptiTimer(cupti=cupti)
    slow = [5.0]
    prepared = timer.prepare(lambda: (gpu.launch("kernel", 5.0, 2.0), gpu.launch("kernel", slow[0], 2.0)))
    assert timer.sample(prepared, cold=True) == pytest.approx(4.0)
    slow[0] = 1e5  # longer than the longest spin
    assert timer.sample(prepared, cold=True) > 4e4
    assert prepared.hidden == [True, False]


def test_lost_records_are_taken_again_and_never_a_time(gpu: Any, cupti: Cupti) -> None:
    timer = CuptiTimer(cupti=cupti)
    prepared = timer.prepare(gpu.work(4, 4.0, 2.0))
    losses = [1, 2]
    cupti.lose = lambda: losses.pop() if losses else 0
    assert timer.sample(prepared, cold=True) == pytest.approx(8.0)
    cupti.lose = lambda: 3
    with pytest.raises(RuntimeError, match="CUPTI lost records 3 times: expected 4 of the call, got 2, 3 lost"):
        timer.sample(prepared, cold=True)


def test_a_loss_counts_also_where_the_call_seems_complete(gpu: Any, cupti: Cupti) -> None:
    timer = CuptiTimer(cupti=cupti)
    prepared = timer.prepare(gpu.work(4, 4.0, 2.0))
    gpu.log.clear()
    cupti.dropped = 5
    assert timer.sample(prepared, cold=True) == pytest.approx(8.0)
    assert gpu.log.count("spin") == 2


def test_a_loss_while_a_call_is_made_ready_is_no_count(gpu: Any, cupti: Cupti) -> None:
    timer = CuptiTimer(cupti=cupti)
    losses = [1, 2]
    cupti.lose = lambda: losses.pop() if losses else 0
    assert timer.prepare(gpu.work(4, 4.0, 2.0)).launches == 4


def test_records_missing_without_a_word_are_noticed(gpu: Any, cupti: Cupti) -> None:
    timer = CuptiTimer(cupti=cupti)
    prepared = timer.prepare(gpu.work(4, 4.0, 2.0))
    swallowed = [1]

    def launched(name: str, start: float, end: float) -> None:
        if name == "kernel" and swallowed[0]:
            swallowed[0] -= 1
        else:
            cupti.launched(name, start, end)

    gpu.launched = launched
    assert timer.sample(prepared, cold=True) == pytest.approx(8.0)
    assert len(prepared.busy) == 1


def test_lost_records_in_a_measurement_are_that_calls_failure(gpu: Any, cupti: Cupti) -> None:
    timer = CuptiTimer(cupti=cupti)
    work = gpu.work(2, 4.0, 50.0)
    results = measure_interleaved({"work": work}, timer=timer, cold=True, warmup_seconds=0)
    result = results["work"]
    assert isinstance(result, Samples)
    assert (result.timer, result.busy_share) == ("cupti", 1.0)
    assert result.median_us == pytest.approx(100.0)
    assert len(result.samples_us) == FIRST_LOOK
    cupti.lose = lambda: 99  # all of every flush, so also while the call is made ready
    failure = measure_interleaved({"work": work}, timer=timer, cold=True)["work"]
    assert isinstance(failure, Failure)
    assert failure.status is Status.CRASHED
    assert "CUPTI" in failure.reason


def test_a_call_without_device_work_is_timed_on_the_host_and_says_so(gpu: Any, cupti: Cupti) -> None:
    def call() -> None:
        gpu.host += 3.0

    timer = CuptiTimer(cupti=cupti)
    prepared = timer.prepare(call)
    assert prepared.way == "cpu"
    assert timer.sample(prepared, cold=True) == pytest.approx(3.0)
    assert timer.method(prepared, cold=False).startswith("host clock (the call gives the device nothing to do)")


def test_nothing_is_recorded_after_the_end(gpu: Any, cupti: Cupti, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("cupti")
    package.cupti = cupti  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupti", package)
    assert import_cupti() is cupti
    with open_timer("cuda", "cupti") as timer:
        assert isinstance(timer, CuptiTimer)
        assert cupti.enabled
    assert not cupti.enabled


@pytest.mark.parametrize("at", ["activity_register_callbacks", "activity_enable", "activity_flush_all"])
def test_a_refusal_has_its_reason(gpu: Any, cupti: Cupti, at: str) -> None:
    class CuptiError(Exception):
        pass

    def refuse(*_: Any) -> None:
        raise CuptiError("NOT_INITIALIZED: driver too old")

    setattr(cupti, at, refuse)
    with pytest.raises(ValueError, match="CUPTI refuses: CuptiError: NOT_INITIALIZED: driver too old"):
        CuptiTimer(cupti=cupti)


def test_records_that_never_come_are_a_refusal(gpu: Any, cupti: Cupti) -> None:
    gpu.launched = lambda name, start, end: None
    with pytest.raises(ValueError, match="expected a record of a kernel that was launched to see, got none"):
        CuptiTimer(cupti=cupti)
    assert not cupti.enabled


def test_the_stand_in_is_like_the_package() -> None:
    """Names and numbers, where the package is installed; it needs no GPU for that."""
    real = pytest.importorskip("cupti.cupti")
    for name in vars(Cupti):
        if name.startswith("activity_"):
            assert callable(getattr(real, name)), name
    assert callable(real.get_timestamp)
    for kind in (ActivityKind, ExternalCorrelationKind):
        for member in kind:
            assert getattr(real, kind.__name__)[member.name] == member
