"""The trace event file: valid, nested, labelled as recorded or laid out, and right in its times and values."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from mohge.bench.export import perfetto
from mohge.bench.export.events import Slice
from mohge.bench.export.recorded import _nested
from mohge.bench.records import LabelledRun
from mohge.bench.telemetry import TRACE_NAME, read_trace

LAID_OUT = "laid out from medians, not a recording"


def written(*runs: LabelledRun) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    return json.loads("".join(perfetto(runs)), parse_constant=refuse)


def events(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [event for event in document["traceEvents"] if event["ph"] == kind]


def names(document: dict[str, Any], what: str) -> dict[int, str]:
    key = "pid" if what == "process_name" else "tid"
    return {event[key]: event["args"]["name"] for event in events(document, "M") if event["name"] == what}


def assert_sound(document: dict[str, Any]) -> None:
    """What the format asks for: numbers, known rows, and slices of a row that nest."""
    processes, threads = names(document, "process_name"), names(document, "thread_name")
    rows = defaultdict(list)
    for event in document["traceEvents"]:
        assert event["pid"] in processes
        if event["ph"] in "Xi":
            assert event["tid"] in threads
            assert isinstance(event["name"], str)
            assert event["ts"] >= 0
        if event["ph"] == "X":
            rows[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
        if event["ph"] == "C":
            (value,) = event["args"].values()
            assert math.isfinite(value)
    assert len(threads) == len({event["tid"] for event in events(document, "M") if event["name"] == "thread_name"})
    for row in rows.values():
        around: list[float] = []
        for begin, end in sorted(row, key=lambda ends: (ends[0], -ends[1])):
            while around and around[-1] <= begin + 1e-3:
                around.pop()
            assert not around or end <= around[-1] + 2e-3
            around.append(end)


def test_windows_stand_on_the_clock_of_the_trace_inside_their_case(seen: LabelledRun) -> None:
    document = written(seen)
    assert_sound(document)
    trace = read_trace(seen.folder / TRACE_NAME)
    zero = min(trace.readings[0].t, trace.marks[0].t)
    rows = names(document, "thread_name")
    for lane, phases in (("triton", ["layer", "gemm1", "gemm2", "combine"]), ("padded_bmm", ["layer"])):
        mine = [event for event in events(document, "X") if rows[event["tid"]] == lane and event["pid"] == 1]
        outer, *inner = mine
        assert outer["name"] == "mohge-3b · 64 tokens · zipf:1.2 · float32"
        assert outer["args"]["hot_median_us"] == (100.0 if lane == "triton" else 300.0)
        assert outer["args"]["telemetry_power_w"] > 0
        assert [event["name"] for event in inner] == phases
        for event, (mark, end) in zip(inner, trace.windows(lane), strict=True):
            assert event["ts"] == pytest.approx((mark.t - zero) * 1e6)
            assert event["ts"] + event["dur"] == pytest.approx((end - zero) * 1e6)
        assert outer["ts"] + outer["dur"] == pytest.approx(inner[-1]["ts"] + inner[-1]["dur"])
    assert inner[0]["args"]["replayed"]


def test_every_reading_becomes_a_value_in_its_unit(seen: LabelledRun) -> None:
    trace = read_trace(seen.folder / TRACE_NAME)
    found = defaultdict(list)
    for event in events(written(seen), "C"):
        assert list(event["args"]) == ["synthetic"]
        found[event["name"]].append(event["args"]["synthetic"])
    assert {"power (W)", "SM clock (MHz)", "memory clock (MHz)", "utilization (%)", "tensor pipe (%)"} <= set(found)
    assert found["power (W)"] == trace.series("power_w")[1]
    assert found["SMs busy (%)"] == pytest.approx([100 * share for share in trace.series("sm")[1]])
    assert found["device memory in use (MiB)"] == [n / 2**20 for n in trace.series("memory_bytes")[1]]
    energy = trace.series("energy_j")[1]
    assert found["energy since the trace began (J)"] == pytest.approx([joules - energy[0] for joules in energy])
    capped = [int(bits) >> 2 & 1 for bits in trace.series("throttle")[1]]
    assert found["held back: sw power cap (0 or 1)"] == capped
    assert any(capped)


def test_a_process_says_whether_it_is_a_recording(seen: LabelledRun) -> None:
    document = written(seen)
    recorded, laid_out = names(document, "process_name").values()
    assert "synthetic readings, not measured" in recorded
    assert "GPU-00000000" in recorded
    assert LAID_OUT in laid_out
    (about,) = document["otherData"]["runs"]
    assert about["timelines"] == {TRACE_NAME: "synthetic readings, not measured", "the other cases": LAID_OUT}
    assert {
        event["args"]["case"] for event in events(document, "X") if event["pid"] == 2 and event["cat"] == "case"
    } == {"mohge-3b-t16-zipf:1.2"}


def test_without_a_trace_slices_are_as_long_as_medians_and_cases_begin_together(build: Any) -> None:
    records = [build.passed(name, build.case(n), us) for n in (16, 64) for name, us in (("a", 100.0), ("b", 250.0))]
    document = written(build.labelled(build.run(records)))
    assert_sound(document)
    slices = events(document, "X")
    assert {event["name"]: event["dur"] for event in slices[:6]} == pytest.approx(
        {
            "mohge-3b · 16 tokens · zipf:1.2 · float32": 100 * (0.91 + 2.2),
            "plan": 1,
            "gemm1": 60,
            "gemm2": 30,
            "layer, hot": 100,
            "layer, cold": 120,
        }
    )
    starts = [event["ts"] for event in slices if event["cat"] == "case"]
    assert starts == pytest.approx([0, 250 * 3.11 * 1.05, 0, 250 * 3.11 * 1.05])
    assert all(event["args"]["place"] == LAID_OUT for event in slices if event["cat"] != "case")
    assert document["otherData"]["runs"][0]["timelines"] == {"every case": LAID_OUT}


def test_a_lost_trace_is_named_and_its_cases_are_laid_out(seen: LabelledRun) -> None:
    (seen.folder / TRACE_NAME).unlink()
    document = written(seen)
    (about,) = document["otherData"]["runs"]
    assert TRACE_NAME in about["traces that could not be read"][0]
    assert about["timelines"] == {"every case": LAID_OUT}
    assert len([event for event in events(document, "X") if event["cat"] == "case"]) == 3
    assert not events(document, "C")


def test_runs_are_processes_of_their_own(seen: LabelledRun, build: Any) -> None:
    other = build.labelled(build.run([build.passed("triton", build.case(), 90.0)]), "other")
    document = written(seen, other, replace(seen, label="again"))
    assert_sound(document)
    assert [name.split(" · ")[0] for name in names(document, "process_name").values()] == [
        *("seen", "seen", "other", "again", "again")
    ]
    assert [about["run"] for about in document["otherData"]["runs"]] == ["seen", "other", "again"]


def test_runs_without_a_time_say_so(build: Any) -> None:
    document = written(build.labelled(build.run([build.failed("triton", build.case(), build.evil)])))
    assert_sound(document)
    assert [event["name"] for event in events(document, "i")] == [f"crashed: {build.evil}"]
    empty = written(build.labelled(build.run([])))
    assert_sound(empty)
    assert [event["name"] for event in events(empty, "i")] == ["this run holds no records"]
    assert empty["otherData"]["runs"][0]["records"] == 0
    assert empty["otherData"]["runs"][0]["timelines"] == "nothing was timed in this run"


def test_what_is_not_a_number_is_left_out(build: Any) -> None:
    hot = build.samples(100.0, median_us=math.nan)
    record = build.passed("a", build.case(), 100.0, hot=hot, tflops=math.inf, phases={"plan": build.samples(math.inf)})
    document = written(build.labelled(build.run([record])))
    assert_sound(document)
    assert [event["name"] for event in events(document, "X")][1:] == ["layer, cold"]


def test_a_window_left_open_by_a_killed_worker_does_not_cross_the_next() -> None:
    open_end, inner = Slice("layer", "phase", 0.0, 5.0), Slice("gemm1", "phase", 4.0, 7.0)
    assert [(item.begin, item.end) for item in _nested([inner, open_end])] == [(0.0, 5.0), (4.0, 5.0)]
