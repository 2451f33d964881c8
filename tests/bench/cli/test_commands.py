"""The commands as a user runs them, on a layer small enough to take seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mohge.bench.cli import main
from mohge.bench.cli.measuring import finish
from mohge.bench.records import (
    SCHEMA,
    CaseRecord,
    Provenance,
    Record,
    RunWriter,
    Status,
    collect_environment,
    load_run,
)

SPEC = "hidden = 64\nwidths = [16, 48, 96]\nexperts_per_group = 3\ntop_k = 3\ntop_groups = 2\n"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mohge", *arguments]
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, check=False)


@pytest.fixture(scope="module")
def bench_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    here = tmp_path_factory.mktemp("bench")
    (here / "small.toml").write_text(SPEC, encoding="utf-8")
    done = command(
        *("bench", "--spec", "small.toml", "--tokens", "0,1,40", "--routing", "uniform", "--routing", "router"),
        *("--seconds", "0.05", "--json", "result.json"),
        cwd=here,
    )
    assert done.returncode == 0, done.stderr
    return here, done.stderr


def test_bench_measures_every_case_and_writes_the_report(bench_run: tuple[Path, str]) -> None:
    here, printed = bench_run
    folder = next((here / "runs").iterdir())
    run = load_run(folder)
    assert run.finished is not None
    assert len(run.records) == 3 * 2 * 3
    assert {record.status for record in run.records} == {Status.PASSED}
    for record in run.records:
        assert record.provenance is Provenance.MEASURED
        assert record.error is not None
        assert "all" in record.error.checked
        if record.case.tokens:
            assert record.hot is not None
            assert record.cold is not None
            assert record.hot.low_us <= record.hot.median_us <= record.hot.high_us
            assert record.hot.timer == record.cold.timer == "cpu"
            assert ("route" in record.phases) == (record.case.routing == "router")
            assert list(record.phases)[-1] == "end_to_end"
            assert record.useful_flops is not None
            assert record.executed_flops is not None
            assert record.tflops == pytest.approx(record.useful_flops / record.hot.median_us * 1e-6)
            assert record.executed_flops >= record.useful_flops
            assert (record.speedup is None) == (record.implementation == "padded_bmm")
        else:
            assert record.hot is None
    assert (folder / "report.html").stat().st_size > 1_000_000
    assert "torch_grouped_mm" in printed
    assert "report:" in printed


def test_bench_places_the_experts_of_every_case(bench_run: tuple[Path, str]) -> None:
    run = load_run(next((bench_run[0] / "runs").iterdir()))
    cases = {record.case.id for record in run.records if record.case.tokens}
    assert {placement.case.id for placement in run.placements} == cases
    assert {placement.ranks for placement in run.placements} == {4, 8}
    assert all((placement.work_over_bound or 0) >= 1 - 1e-12 for placement in run.placements)


def test_bench_json_is_the_run(bench_run: tuple[Path, str]) -> None:
    here, _ = bench_run
    written = json.loads((here / "result.json").read_text(encoding="utf-8"))
    on_disk = json.loads((next((here / "runs").iterdir()) / "run.json").read_text(encoding="utf-8"))
    assert written["records"] == on_disk["records"]
    assert written["schema"] == SCHEMA


def test_interrupted_run_keeps_what_was_finished_and_can_be_drawn(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SPEC, encoding="utf-8")
    tokens = ",".join(str(count) for count in range(1, 200))
    words = [sys.executable, "-m", "mohge", "bench", "--spec", "small.toml", "--tokens", tokens, "--seconds", "0.2"]
    process = subprocess.Popen(
        words, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    with process.stderr:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            found = list(tmp_path.glob("runs/*/run.json"))
            if found and load_run(found[0]).records:
                break
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        errors = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "interrupted" in errors
    folder = next((tmp_path / "runs").iterdir())
    run = load_run(folder)
    assert run.finished is None
    assert 0 < len(run.records) < 3 * 199
    with pytest.raises(SystemExit) as ended:
        main(["report", str(folder)])
    assert ended.value.code == 0
    assert (folder / "report.html").exists()


def test_doctor_knows_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json", "-"])
    assert ended.value.code == 0
    parts = {part["part"]: part for part in json.loads(capsys.readouterr().out)["parts"]}
    for name in (
        "triton",
        "cupy",
        "numba",
        "numba_mma",
        "padded_bmm",
        "torch_loop",
        "torch_grouped_mm",
        "NVML",
        "report",
    ):
        assert parts[name]["detail"]
        assert parts[name]["mode"] in {"measured", "interpreted", "simulated", "compiled", "complete", "no"}
        assert parts[name]["mode"] != "no" or parts[name]["remedy"]


def test_place_rows(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loads = str(shared_data / "olmoe-1b-7b.counts.csv")
    with pytest.raises(SystemExit) as ended:
        main(["place", "--spec", "mohge-3b", "--loads", loads, "--ranks", "8", "--policy", "all", "--json", "-"])
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["domain"] for row in rows} == {"arxiv", "c4", "github"}
    assert {row["policy"] for row in rows} >= {"aga", "contiguous", "round_robin", "lpt"}
    for row in rows:
        assert len(row["rank_of"]) == 64
        assert len(row["work"]) == 8
        assert row["work_over_bound"] >= 1
    best = {(row["domain"], row["layer"]): row["work_over_bound"] for row in rows if row["policy"] == "lpt"}
    aga = {(row["domain"], row["layer"]): row["work_over_bound"] for row in rows if row["policy"] == "aga"}
    assert all(best[case] < aga[case] for case in best)
    assert all(row["memory_max_over_mean"] == 1 for row in rows if row["policy"] == "aga")


def code_of(words: list[str]) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


def test_place_writes_what_serving_engines_read(tmp_path: Path) -> None:
    """From a file of rows per expert to TensorRT-LLM's YAML and EPLB's map; all domains added up where one is asked."""
    loads, target = tmp_path / "loads.csv", tmp_path / "map.out"
    names = ",".join(f"expert_{expert}" for expert in range(64))
    counts = [",".join(str(1 + (expert * step) % 64) for expert in range(64)) for step in (1, 3, 5)]
    loads.write_text(f"domain,layer,{names}\na,3,{counts[0]}\nb,3,{counts[1]}\na,4,{counts[2]}\n")
    words = ["place", "--loads", str(loads), "--policy", "lpt", "--ranks", "4", "--export", str(target)]
    assert code_of(words) == 2
    assert not target.exists()
    assert code_of([*words, "--domain", "all"]) == 0
    written = json.loads(target.read_text())
    assert written["layers"] == [3, 4]
    assert [sorted(line) for line in written["phy2log"]] == [list(range(64))] * 2
    assert code_of([*words, "--domain", "all", "--export-format", "trtllm"]) == 0
    lines = target.read_text().splitlines()
    assert lines[1] == f"  3: {json.dumps(written['phy2log'][0])}"
    assert lines[-2:] == ["num_slots: 64", "layer_updates_per_iter: 0"]


@pytest.mark.parametrize("name", ["run", "doctor", "bench", "compare", "place", "trace", "report"])
def test_help_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"mohge {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "code"), [("passed", 0), ("unsupported", 0), ("incorrect", 1), ("crashed", 1), ("timeout", 1)]
)
def test_exit_code_says_whether_anything_failed(
    status: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = collect_environment()
    with RunWriter.create(tmp_path, "run", command=["mohge"], environment=environment) as writer:
        case = CaseRecord(spec="tiny", tokens=4, routing="uniform", dtype="float32", device="cpu")
        writer.append(Record("torch_loop", Provenance.MEASURED, Status(status), case, reason="why"))
    assert finish(writer.path, report=False, json=None) == code
    assert ("failed: torch_loop" in capsys.readouterr().err) == bool(code)
