"""The run file: everything finished survives, everything written reads back, everything wrong is said in one line."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mohge.bench.records import (
    SCHEMA,
    CaseRecord,
    Environment,
    ErrorRecord,
    GitRecord,
    PlacementRecord,
    Provenance,
    Record,
    Roof,
    Run,
    RunWriter,
    Samples,
    Status,
    check_writable,
    load_run,
)
from mohge.bench.records import run_file as run_file_module

CASE = CaseRecord("mohge-3b", 64, "zipf:1.2", "float32", "cpu", id="abc", layer={"hidden": 1024})
SAMPLES = Samples([3.0, 1.0, 2.0], 2.0, 1.0, 3.0, "monotonic clock", "time limit 1 s")
PASSED = Record(
    implementation="torch_loop",
    provenance=Provenance.MEASURED,
    status=Status.PASSED,
    case=CASE,
    error=ErrorRecord(1e-7, 0.01, [3, 5], "every element against the reference"),
    cold=SAMPLES,
    hot=SAMPLES,
    phases={"gemm1": SAMPLES},
    useful_flops=10**15,
    executed_flops=2 * 10**15,
    bytes=123,
    tflops=1.5,
    share_of_roof=0.5,
)
UNTIMED = Record("numba", Provenance.SIMULATED, Status.INCORRECT, CASE, reason="row 3 is wrong")
PLACEMENT = PlacementRecord(
    case=CASE,
    policy="lpt",
    ranks=2,
    rank_of=[0, 1, [0, 1]],
    rows=[3.0, 4.0],
    work=[1e9, 2e9],
    provenance=Provenance.PREDICTED,
    bytes_matrix=[[0.0, 1.0], [1.0, 0.0]],
)
ENVIRONMENT = Environment(
    gpu=None, roof=Roof({"float32": 0.1}, 0.02, "how"), libraries={"torch": "2"}, cpu={"cores": 2}
)


def start(folder: Path, **options: Any) -> RunWriter:
    return RunWriter.create(
        folder / "runs", "my run", command=["mohge", "run"], environment=ENVIRONMENT, source_hash="f00", **options
    )


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    with start(tmp_path, git=GitRecord("abc", dirty=True), notes={"why": "test"}) as writer:
        writer.append(PASSED)
        writer.append(UNTIMED)
        writer.add_placement(PLACEMENT)
    run = load_run(writer.folder)
    assert run.records == [PASSED, UNTIMED]
    assert run.placements == [PLACEMENT]
    assert run.environment == ENVIRONMENT
    assert (run.schema, run.command, run.source_hash, run.git) == (
        SCHEMA,
        ["mohge", "run"],
        "f00",
        GitRecord("abc", True),
    )
    assert run.notes == {"why": "test"}
    assert run.finished is not None
    assert load_run(writer.path) == run


def test_readers_outside_find_the_names_of_the_design(tmp_path: Path) -> None:
    with start(tmp_path) as writer:
        writer.append(PASSED)
        writer.add_placement(PLACEMENT)
    table = json.loads(writer.path.read_text())
    assert {"schema", "command", "started", "git", "source_hash", "environment", "records", "placements"} <= set(table)
    assert {"gpu", "roof", "libraries"} <= set(table["environment"])
    assert {"matmul_tflops", "copy_tbps"} <= set(table["environment"]["roof"])
    record = table["records"][0]
    names = (
        "implementation provenance status reason case error cold hot phases useful_flops executed_flops bytes tflops"
    )
    assert {*names.split(), "share_of_roof", "clocks", "telemetry"} <= set(record)
    assert {"spec", "tokens", "routing", "dtype", "device"} <= set(record["case"])
    assert set(record["error"]) == {"relative", "worst", "where", "checked"}
    assert {"median_us", "low_us", "high_us", "samples_us", "method", "stop"} <= set(record["hot"])
    assert record["status"] == "passed"
    names = "case policy ranks rank_of rows work seconds memory bytes_matrix bound provenance"
    assert set(names.split()) <= set(table["placements"][0])


def test_the_folder_is_named_by_time_and_name_and_never_shared(tmp_path: Path) -> None:
    folders = [start(tmp_path).folder for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(re.fullmatch(r"\d{8}-\d{6}-my-run(-\d)?", folder.name) for folder in folders)


def test_every_addition_leaves_a_complete_file(tmp_path: Path) -> None:
    writer = start(tmp_path)
    assert load_run(writer.path).records == []
    for number in range(1, 4):
        writer.append(UNTIMED)
        assert len(load_run(writer.path).records) == number
    assert load_run(writer.path).finished is None
    assert [path.name for path in writer.folder.iterdir()] == ["run.json"]


def test_an_exception_keeps_what_was_finished_and_does_not_mark_the_end(tmp_path: Path) -> None:
    writer = start(tmp_path)

    def interrupted() -> None:
        with writer:
            writer.append(PASSED)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    run = load_run(writer.folder)
    assert run.records == [PASSED]
    assert run.finished is None


CHILD = """
import sys
from pathlib import Path
from mohge.bench.records import CaseRecord, Environment, Provenance, Record, RunWriter, Samples, Status
case = CaseRecord("s", 1, "uniform", "float32", "cpu")
samples = Samples([float(i) for i in range(2000)], 1.0, 1.0, 1.0, "m", "s")
writer = RunWriter.create(Path(sys.argv[1]), "killed", command=[], environment=Environment())
while True:
    writer.append(Record("x", Provenance.MEASURED, Status.PASSED, case, hot=samples))
    print("finished", flush=True)
"""


@pytest.mark.parametrize("after", [1, 7])
def test_a_kill_at_any_moment_loses_nothing_finished(tmp_path: Path, after: int) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(after):
            assert child.stdout.readline() == "finished\n"
        child.send_signal(signal.SIGKILL)
        finished = after + len(child.stdout.readlines())
    (folder,) = tmp_path.iterdir()
    assert len(load_run(folder).records) in (finished, finished + 1)
    resumed = RunWriter.resume(folder)
    resumed.append(UNTIMED)
    assert load_run(folder).records[-1] == UNTIMED
    assert len(load_run(folder).records) in (finished + 1, finished + 2)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = start(tmp_path)
    writer.append(PASSED)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_file_module.os, "fsync", full)
    with pytest.raises(ValueError, match=r"run\.json: cannot be written: No space left on device"):
        writer.append(UNTIMED)
    monkeypatch.undo()
    assert load_run(writer.folder).records == [PASSED]
    assert [path.name for path in writer.folder.iterdir()] == ["run.json"]


def test_resuming_reopens_a_finished_run(tmp_path: Path) -> None:
    with start(tmp_path) as writer:
        writer.append(PASSED)
    resumed = RunWriter.resume(writer.folder)
    resumed.append(UNTIMED)
    assert load_run(writer.folder).finished is None
    resumed.finish()
    assert load_run(writer.folder).records == [PASSED, UNTIMED]


def test_roofs_can_come_later(tmp_path: Path) -> None:
    writer = start(tmp_path)
    writer.set_environment(replace(ENVIRONMENT, roof=None))
    assert load_run(writer.path).environment.roof is None


def test_json_of_a_record_is_checked_and_kept_with_what_stands_beside(tmp_path: Path) -> None:
    writer = start(tmp_path)
    table = json.loads(json.dumps(asdict(UNTIMED)))
    writer.append({**table, "beside": [1, 2]})
    assert json.loads(writer.path.read_text())["records"][0]["beside"] == [1, 2]
    assert load_run(writer.path).records == [UNTIMED]
    with pytest.raises(ValueError, match=r"record\.status: expected one of passed, incorrect"):
        writer.append({**table, "status": "fine"})
    assert len(load_run(writer.path).records) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_numbers_that_are_not_finite_become_null(tmp_path: Path, bad: float) -> None:
    writer = start(tmp_path)
    error = ErrorRecord(relative=float(bad), worst=float(bad), where=None, checked="x")
    writer.append(replace(UNTIMED, error=error, notes={"value": bad, "list": [1.0, bad]}))
    text = writer.path.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    record = load_run(writer.path).records[0]
    assert record.error is not None
    assert record.error.relative is None
    assert record.notes == {"value": None, "list": [1.0, None]}


def test_numpy_values_are_written_as_plain_numbers(tmp_path: Path) -> None:
    writer = start(tmp_path)
    writer.append(replace(UNTIMED, notes={"a": np.int64(3), "b": np.arange(2), "c": np.float32(0.5), 4: True}))
    assert load_run(writer.path).records[0].notes == {"a": 3, "b": [0, 1], "c": 0.5, "4": True}
    with pytest.raises(ValueError, match="cannot be written to a run file: object"):
        writer.append(replace(UNTIMED, notes={"a": object()}))


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PASSED])
@pytest.mark.parametrize(
    "times", [{"hot": SAMPLES}, {"cold": SAMPLES}, {"phases": {"gemm1": SAMPLES}}, {"tflops": 1.0}]
)
def test_no_time_without_correctness(status: Status, times: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="only under passed"):
        replace(UNTIMED, status=status, **times)


def table_of(folder: Path) -> tuple[Path, dict[str, Any]]:
    writer = start(folder)
    writer.append(PASSED)
    return writer.path, json.loads(writer.path.read_text())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), SCHEMA + 1, f"schema {SCHEMA + 1}, newer than the {SCHEMA} this version reads: update mohge"),
        (("schema",), 0, "schema 0, which this version no longer reads: it reads 1, 2"),
        (("schema",), "1", "schema: expected a whole number, got '1'"),
        (("started",), 5, r"run\.started: expected a text, got 5"),
        (("records",), {}, r"run\.records: expected a list, got \{\}"),
        (("records", 0, "case", "tokens"), 1.5, r"run\.records\[0\]\.case\.tokens: expected a whole number, got 1\.5"),
        (("records", 0, "status"), "fine", r"run\.records\[0\]\.status: expected one of passed, .*, got \"fine\""),
        (("records", 0, "status"), "crashed", r"run\.records\[0\]: .*only under passed"),
        (("records", 0, "hot", "samples_us", 1), "x", r"run\.records\[0\]\.hot\.samples_us\[1\]: expected a number"),
        (("records", 0, "tflops"), True, r"run\.records\[0\]\.tflops: expected a number, got true"),
        (("environment", "libraries", "torch"), None, r"run\.environment\.libraries\.torch: expected a text, got null"),
        (("records", 0, "case"), None, r"run\.records\[0\]\.case: expected an object, got null"),
    ],
)
def test_a_value_that_does_not_fit_is_named(tmp_path: Path, path: tuple, value: Any, message: str) -> None:
    file, table = table_of(tmp_path)
    inner: Any = table
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file.write_text(json.dumps(table))
    with pytest.raises(ValueError, match=message) as caught:
        load_run(file)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_a_missing_value_is_named_and_an_unknown_one_skipped(tmp_path: Path) -> None:
    file, table = table_of(tmp_path)
    table["later"] = 1
    table["records"][0]["later"] = 1
    file.write_text(json.dumps(table))
    assert load_run(file).records == [PASSED]
    del table["records"][0]["case"]["device"]
    file.write_text(json.dumps(table))
    with pytest.raises(ValueError, match=r"run\.records\[0\]\.case\.device: expected a value, got none"):
        load_run(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a run file: Expecting value at line 1, column 1"),
        ('{"schema": 1,\n "rec', "not a run file: .* at line 2"),
        ("[1]", "expected an object with a field schema"),
        ('{"records": []}', "expected an object with a field schema"),
        ('{"schema": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "not a run file"),
    ],
)
def test_a_file_that_is_no_run(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_run(tmp_path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a run file"):
        load_run(tmp_path)


@pytest.mark.parametrize("name", ["absent", "."])
def test_a_run_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="expected a run"):
        load_run(tmp_path / name)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for runs in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(ValueError, match="runs cannot be written here"):
            RunWriter.create(runs, "x", command=[], environment=Environment())
        with pytest.raises(ValueError, match="runs cannot be written here"):
            check_writable(runs)
    check_writable(tmp_path / "new" / "runs")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="runs cannot be written here"):
        check_writable(tmp_path / "runs")


def test_a_name_of_odd_characters_stays_inside_the_folder(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "../../etc/ü", command=[], environment=Environment())
    assert writer.folder.parent == tmp_path
    assert load_run(writer.folder) == Run([], load_run(writer.folder).started, "", Environment(), name="../../etc/ü")
