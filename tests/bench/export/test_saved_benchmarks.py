"""The file that pytest-benchmark reads: really read by it, with its own statistics and the suite's names."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.export import benchmark_json
from mohge.bench.plugin.machine import has_ours
from mohge.bench.records import Environment, LabelledRun, Provenance


def written(*runs: LabelledRun) -> dict[str, Any]:
    return json.loads("".join(benchmark_json(runs)))


def test_pytest_benchmark_compares_two_such_files(build: Any, tmp_path: Path) -> None:
    for name, factor in (("before", 1.0), ("after", 2.0)):
        run = build.run([build.passed(who, build.case(), us * factor) for who, us in (("a", 1000.0), ("b", 3000.0))])
        (tmp_path / f"{name}.json").write_text("".join(benchmark_json([build.labelled(run)])), encoding="utf-8")
    words = ["compare", "before.json", "after.json", "--columns=median,rounds", "--group-by=group", "--csv=out.csv"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", *words], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Failed to load" not in done.stderr + done.stdout
    assert "layer mohge-3b-64tokens-zipf-1.2-float32': 4 tests" in done.stdout
    assert "test_layer[mohge-3b-64tokens-zipf-1.2-float32-a]" in done.stdout
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        medians = [float(row["median"]) for row in csv.DictReader(file) if "test_layer[" in row["name"]]
    assert sorted(medians) == pytest.approx([0.001, 0.002, 0.003, 0.006])


def test_names_are_those_of_the_suite(build: Any) -> None:
    (record,) = written(build.labelled(build.run([build.passed("a", build.case(spec="mohge-3b/4"), 5.0)])))[
        "benchmarks"
    ][:1]
    assert record["fullname"] == "test_layer.py::test_layer[mohge-3b_4-64tokens-zipf-1.2-float32-a]"
    assert record["param"] == "mohge-3b_4-64tokens-zipf-1.2-float32-a"
    assert record["params"] == {"case": "mohge-3b_4-64tokens-zipf-1.2-float32", "implementation": "a"}
    assert record["group"] == "layer mohge-3b_4-64tokens-zipf-1.2-float32"


def test_a_record_gives_hot_cold_and_every_phase(build: Any) -> None:
    found = written(build.labelled(build.run([build.passed("a", build.case(), 100.0)])))["benchmarks"]
    assert [entry["group"].removesuffix(" mohge-3b-64tokens-zipf-1.2-float32") for entry in found] == [
        *("layer", "layer_cold", "phase plan", "phase gemm1", "phase gemm2")
    ]
    hot = found[0]
    assert hot["stats"]["data"] == pytest.approx([98e-6, 99e-6, 100e-6, 101e-6, 102e-6])
    assert hot["stats"]["median"] == 100e-6
    assert hot["extra_info"]["caches"] == "hot"
    assert hot["extra_info"]["tflops"] == pytest.approx(30.0)
    assert "tflops" not in found[2]["extra_info"]
    assert found[2]["params"]["phase"] == "plan"


def test_suspect_samples_are_left_out_as_in_the_median(build: Any) -> None:
    hot = build.samples(2.0, samples_us=[1.0, 2.0, 3.0, 4.0, 5.0, 99.0], suspects=[5])
    record = build.passed("a", build.case(), 2.0, hot=hot, cold=None, phases={})
    (entry,) = written(build.labelled(build.run([record])))["benchmarks"]
    assert entry["stats"]["max"] == 5e-6
    assert entry["extra_info"]["suspects"] == 1


def test_the_machine_is_what_the_plugin_compares(build: Any) -> None:
    document = written(build.labelled(build.run([])))
    assert has_ours(document["machine_info"])
    assert document["machine_info"]["cpu"] == {"brand_raw": "Some CPU", "count": 2}
    assert document["commit_info"] == {
        "id": "cafe0123cafe0123",
        "time": None,
        "author_time": None,
        "dirty": True,
        "project": "mohge",
        "branch": "(unknown)",
    }
    assert document["datetime"] == "2026-01-01T12:00:00+00:00"


def test_what_has_no_times_is_counted_and_left_out(build: Any) -> None:
    nothing = {"hot": build.samples(1.0, samples_us=[]), "cold": None, "phases": {}}
    records = [
        build.failed("a", build.case()),
        build.passed("b", build.case(), 1.0, **nothing),
        build.passed("c", build.case(), 1.0, hot=build.samples(float("nan")), cold=None, phases={}),
        replace(build.failed("d", build.case()), provenance=Provenance.COMPILED),
    ]
    document = written(build.labelled(build.run(records)))
    assert document["benchmarks"] == []
    assert document["mohge_runs"][0]["without_times"] == document["mohge_runs"][0]["records"] == 4


def test_several_runs_of_a_machine_are_told_apart_and_of_two_refused(build: Any) -> None:
    run = build.run([build.passed("a", build.case(), 1.0, cold=None, phases={})])
    first, second = build.labelled(run, "first"), build.labelled(run, "second")
    found = written(first, second)["benchmarks"]
    assert [entry["fullname"].rpartition("@")[2] for entry in found] == ["first", "second"]
    assert [entry["params"]["run"] for entry in found] == ["first", "second"]
    assert len({entry["group"] for entry in found}) == 1
    elsewhere = build.labelled(replace(run, environment=Environment(gpu={"name": "NVIDIA H200"})), "there")
    with pytest.raises(ValueError, match=r"expected runs of one machine.* got Some CPU and NVIDIA H200"):
        written(first, elsewhere)
