"""What uses no tensor cores is held against the CUDA cores at the clock held; where that is not known, it says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mohge.bench.peers import CONTESTANTS
from mohge.bench.records import Clocks, Environment, Record, Roof, Run, Status
from mohge.bench.report.cases import main_case, measured_groups
from mohge.bench.report.figures_time import rate_against_tokens
from mohge.bench.report.own_ceiling import ON_CUDA_CORES, own_share
from mohge.bench.report.page import render
from mohge.bench.report.readings import rate_reading
from mohge.bench.report.verdict import table_rows

GPU = {"name": "Some GPU", "sms": 132, "capability": "9.0"}
HERE = Environment(gpu=GPU, roof=Roof({"bfloat16": 700.0}, 4.0))
HELD = Clocks("nvml", 12, 1000.0)  # 33.792 TFLOP/s
NO_TIME: dict[str, Any] = {"hot": None, "cold": None, "phases": {}, "tflops": None, "share_of_roof": None}


@pytest.fixture
def numba(build: Any) -> Record:
    return build.passed("numba", build.case(dtype="bfloat16", device="cuda"), 9.0, tflops=8.448, clocks=HELD)


def share(record: Record, environment: Environment = HERE) -> float | None:
    found = own_share(record, environment)
    assert found is not None
    return found.share


def test_the_share_is_of_the_lanes_at_the_clock_held(numba: Record) -> None:
    assert share(numba) == pytest.approx(0.25)
    assert share(replace(numba, clocks=replace(HELD, sm_mhz=2000.0))) == pytest.approx(0.125)
    ampere = replace(HERE, gpu={**GPU, "capability": "8.0"})  # half the lanes
    assert share(numba, ampere) == pytest.approx(0.5)
    found = own_share(numba, HERE)
    assert found is not None
    assert found.long == (
        "25 % of the CUDA cores' 33.8 TFLOP/s: 132 multiprocessors at 1\u202f000 MHz, the median while all were timed "
        "in turn"
    )


def test_where_the_timing_saw_no_clock_the_replay_s_stands_in(numba: Record, build: Any) -> None:
    seen = build.watched(replace(numba, clocks=None), sm_mhz=1000.0)
    found = own_share(seen, HERE)
    assert found is not None
    assert (found.share, found.words.rpartition(", ")[2]) == (
        pytest.approx(0.25),
        "the median while it was replayed alone",
    )


@pytest.mark.parametrize(
    ("gpu", "clocks", "why"),
    [
        (GPU, None, "the SM clock was not observed"),
        (GPU, Clocks("nvml", 0), "the SM clock was not observed"),
        ({"name": "an old run's GPU"}, HELD, "the run does not say how many multiprocessors"),
        ({**GPU, "capability": None}, HELD, "of which capability the GPU has"),
        ({**GPU, "capability": "6.1"}, HELD, "capability: expected one of 7.0"),
    ],
)
def test_what_is_not_known_is_said(numba: Record, gpu: dict[str, Any], clocks: Clocks | None, why: str) -> None:
    found = own_share(replace(numba, clocks=clocks), Environment(gpu=gpu))
    assert found is not None
    assert found.share is None
    assert why in found.long
    assert found.short == "CUDA cores: not known"


def test_it_is_for_what_was_timed_on_a_gpu_without_tensor_cores(numba: Record) -> None:
    assert own_share(replace(numba, implementation="numba_mma"), HERE) is None
    assert own_share(numba, Environment()) is None
    assert own_share(replace(numba, status=Status.CRASHED, **NO_TIME), HERE) is None
    assert set(ON_CUDA_CORES) <= set(CONTESTANTS)


def test_table_sentence_and_hover_say_it(numba: Record, build: Any) -> None:
    run: Run = build.run([numba, build.passed("triton", numba.case, 1.0, tflops=500.0)], environment=HERE)
    main = main_case(run)
    assert main is not None
    fast, slow = table_rows(main, HERE)
    assert (fast["own"], slow["own"]) == ("", "25 % of CUDA cores")
    said = rate_reading(measured_groups(run), HERE)
    assert said.endswith("same run. numba, which uses no tensor cores, at 256 tokens: " + slow["own_words"] + ".")
    figure = rate_against_tokens(measured_groups(run), HERE)
    assert figure is not None
    hovers = {trace["name"]: trace["customdata"][0][0] for trace in figure["data"] if trace.get("customdata")}
    assert "25 % of the CUDA cores" in hovers["numba"]
    assert "CUDA" not in hovers["triton"]
    assert 'title="25 % of the CUDA cores' in render(run)
